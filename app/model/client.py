"""`agents.ports.ModelPort` over the openai client: one request, one attempt, one deadline, one word for its fate."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Final

import aiohttp
import httpx2
import openai

from agents.ports import Answered, CallIdentity, Failed, ModelResult, Refused, Unusable, Usage
from agents.state import Ask
from app.config import Config
from app.metrics.catalogue import WorkerMetrics
from app.model import prices, wire
from app.model.breaker import Breaker, Verdict
from app.model.telling import Telling
from app.retry_after import retry_after_s
from app.tracing import Tracing
from schemas.limits import EVENTS_IN_FLIGHT_MAX, OUTPUT_TOKENS_MAX
from schemas.settings import MODEL_DEFAULT, ModelChoice

# The provider's own; said here so that an empty variable in the environment is not taken for an address.
PROVIDER_URL: Final = "https://api.openai.com/v1"
CONNECT_S_MAX: Final = 5.0
IDLE_S_MAX: Final = 15.0

_NEVER_OPENED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
# The transport lets some of aiohttp's errors through as they are, a status line that is none for example.
_CONNECTION_ERRORS: Final = (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)
_REFUSING: Final = frozenset({429, 503})
_SERVER_ERROR: Final = 500
_PATIENCE: Final = frozenset({408, 409, 425})  # the same request may do better later
_MS: Final = 1000


class ModelClient:
    """All model calls of a process. Call `close` at the end.

    `clock` is monotonic, in seconds. The breaker hears of every call; `available` must be awaited before one.
    """

    def __init__(
        self,
        config: Config,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
        metrics: WorkerMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        config.require(frozenset({"OPENAI_API_KEY"}))
        self.breaker = breaker or Breaker()
        self._telling = Telling(metrics or WorkerMetrics(), tracing or Tracing(), clock)
        self._clock = clock
        self._api: wire.Api = config.openai_api
        self._extra = config.models_extra
        limits = httpx2.Limits(max_connections=2 * EVENTS_IN_FLIGHT_MAX, keepalive_expiry=IDLE_S_MAX)
        timeout = httpx2.Timeout(None, connect=CONNECT_S_MAX, pool=CONNECT_S_MAX)
        self._openai = openai.AsyncOpenAI(
            api_key=config.openai_api_key,
            base_url=config.openai_base_url or PROVIDER_URL,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout, follow_redirects=False),
        )

    async def close(self) -> None:
        await self._openai.close()

    async def call(self, ask: Ask, choice: ModelChoice, identity: CallIdentity, timeout_s: float) -> ModelResult:
        """One request within `timeout_s` seconds. Cancelling it closes the connection and frees a probe's slot."""
        body = wire.request_body(self._api, ask, choice)
        ticket = self.breaker.begin(choice.model)
        started = self._clock()
        result: ModelResult | None = None
        with self._telling.span(ask, choice.model, identity) as span:
            try:
                result = await self._ask(body, ask, choice, identity, timeout_s, started)
            finally:
                wanted_s = result.retry_after_s if isinstance(result, Refused) else None
                self.breaker.end(ticket, _verdict(result), wanted_s)
                self._telling.call(ask.stage, choice.model, result, started, span)
        return result

    def worst_case_usd(self, ask: Ask, choice: ModelChoice) -> float | None:
        """The most this call can cost: nothing cached, the longest answer. None when the price is unknown."""
        tokens = prices.estimated_tokens(ask.system, ask.user, wire.schema_text(ask.answer))
        return prices.cost_usd(choice.model, Usage(input_tokens=tokens, output_tokens=OUTPUT_TOKENS_MAX))

    async def available(self, model: str) -> None:
        await self.breaker.available(model)

    def is_down(self, model: str) -> bool:
        return self.breaker.is_down(model)

    @cached_property
    def known_models(self) -> frozenset[str]:
        return prices.table_models() | self._extra | {MODEL_DEFAULT}

    async def _ask(
        self, body: bytes, ask: Ask, choice: ModelChoice, identity: CallIdentity, timeout_s: float, started: float
    ) -> ModelResult:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._post(body, ask, identity)
        except TimeoutError:
            return Failed("timeout", self._spent(started))
        except openai.APIStatusError as error:
            return _status_result(error, self._spent(started))
        except _CONNECTION_ERRORS as error:
            return _connection_result(error, self._spent(started))
        reply = wire.read_reply(self._api, response.content)
        usage = self._usage(choice.model, reply.tokens, started)
        if reply.failed:
            return Failed(reply.failed, usage)
        answer = reply.unusable or wire.parse_answer(ask, reply.text)
        return Unusable(answer, usage) if isinstance(answer, str) else Answered(answer, usage)

    async def _post(self, body: bytes, ask: Ask, identity: CallIdentity) -> httpx2.Response:
        """The raw response: validating the provider's whole envelope costs a millisecond, and we read five fields."""
        headers = {
            "X-Draft-Stage": ask.stage.value,
            "X-Draft-Iteration": str(ask.iteration),
            "X-Draft-Run": str(identity.run_id),
            "X-Draft-Call": str(identity.call_id),
        }
        path = wire.PATHS[self._api]
        return await self._openai.post(path, cast_to=httpx2.Response, content=body, options={"headers": headers})

    def _spent(self, started: float) -> Usage:
        return Usage(latency_ms=round((self._clock() - started) * _MS))

    def _usage(self, model: str, tokens: wire.Tokens, started: float) -> Usage:
        counted = replace(
            self._spent(started),
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cached_tokens=tokens.cached,
            reasoning_tokens=tokens.reasoning,
        )
        return replace(counted, cost_usd=prices.cost_usd(model, counted))


def _verdict(result: ModelResult | None) -> Verdict:
    """A server that answers, whatever it answers, is up. No result: the call was cancelled."""
    match result:
        case None:
            return Verdict.UNKNOWN
        case Refused() | Failed(retryable=True):
            return Verdict.OUTAGE
        case Answered() | Unusable() | Failed():
            return Verdict.UP


def _status_result(error: openai.APIStatusError, usage: Usage) -> ModelResult:
    """429 and 503 did no work; 5xx may have; the rest will never work, but for a few that ask for patience."""
    status = error.status_code
    code = "insufficient_quota" if error.code == "insufficient_quota" else f"http_{status}"
    if status in _REFUSING:
        return Refused(code, usage, retry_after_s(error.response.headers))
    return Failed(code, usage, retryable=status >= _SERVER_ERROR or status in _PATIENCE)


def _connection_result(error: Exception, usage: Usage) -> ModelResult:
    """Refused when the chain of causes shows that no connection was ever open. httpx names are no guide here: its
    aiohttp transport calls a connection cut after the request a connect time-out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _NEVER_OPENED):
            return Refused("connection", usage)
        cause = cause.__cause__
    return Failed("cut", usage)
