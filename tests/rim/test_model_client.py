"""Promises of the model client, over real sockets: the scripted server, and servers that break HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from agents.ports import Answered, Failed, ModelPort, ModelResult, Refused, Unusable
from app.config import Config
from app.model import Breaker, ModelClient
from app.stack.stand_in import StandIn
from schemas.answers import ANSWER_OF
from schemas.codes import Stage
from schemas.limits import BREAKER_FAILURES, OUTPUT_TOKENS_MAX, RETRY_AFTER_S_MAX
from schemas.settings import ModelChoice
from tests.rim.model_calls import CALL_S, CHOICE, SHORT_S, Api, answered_with, ask, call, client, identity, reply
from tests.rim.servers import LOOPBACK, raw, serving


@pytest.fixture(scope="module")
async def scripted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIn]:
    """The local stack's model server."""
    server = StandIn("model", "app.stack.model_server", tmp_path_factory.mktemp("model"))
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("stage", list(Stage))
async def test_every_stage_is_answered(scripted: StandIn, api: Api, stage: Stage) -> None:
    """Over both APIs each stage gives its answer class, tokens and a cost, and the server saw all four headers."""
    model, who = client(scripted.url, api), identity()
    result = await model.call(ask(stage, 2), CHOICE, who, CALL_S)
    await model.close()
    assert isinstance(result, Answered)
    assert type(result.answer) is ANSWER_OF[stage]
    assert result.usage.input_tokens > 0
    assert result.usage.cost_usd
    line = next(line for line in scripted.ledger() if line["call_id"] == str(who.call_id))
    assert (line["stage"], line["iteration"], line["run_id"]) == (stage.value, 2, str(who.run_id))


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"p429": 1, "retry_after_s": 7}, (Refused, "http_429")),
        ({"p503": 1, "retry_after_s": 7}, (Refused, "http_503")),
        ({"p500": 1}, (Failed, "http_500")),
        ({"pcut": 1}, (Failed, "cut")),
        ({"phang": 1}, (Failed, "timeout")),
        ({"pnonsense": 1, "nonsense": "not_json"}, (Unusable, "does_not_parse")),
        ({"pnonsense": 1, "nonsense": "wrong_fields"}, (Unusable, "does_not_parse")),
        ({"pnonsense": 1, "nonsense": "wrong_types"}, (Unusable, "does_not_parse")),
        ({"pnonsense": 1, "nonsense": "out_of_range"}, (Unusable, "does_not_parse")),
        ({"pnonsense": 1, "nonsense": "empty"}, (Unusable, "empty")),
        ({"pnonsense": 1, "nonsense": "refused"}, (Unusable, "refused")),
        ({"pnonsense": 1, "nonsense": "cut_off"}, (Unusable, "cut_off")),
    ],
)
async def test_faults_get_their_word(
    tmp_path: Path, api: Api, fault: dict[str, Any], expected: tuple[type, str]
) -> None:
    """What the scripted server can do wrong comes back under the one word that says what may have happened."""
    server = StandIn("model", "app.stack.model_server", tmp_path)
    server.behave({"default": fault})
    await server.start()
    try:
        result = await call(server.url, ask(Stage.EVALUATION), api, 1.0)
    finally:
        await server.stop()
    assert not isinstance(result, Answered)
    assert (type(result), result.code) == expected
    if isinstance(result, Refused):
        assert result.retry_after_s == 7.0
    if isinstance(result, Failed):
        assert result.retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422])
async def test_bad_requests_are_not_retried(status: int) -> None:
    """A request that the server does not take fails for good."""
    result = await answered_with({"error": {"message": "no", "code": "x"}}, status=status)
    assert isinstance(result, Failed)
    assert (result.code, result.retryable) == (f"http_{status}", False)


async def test_redirects_are_not_followed() -> None:
    """A server cannot send the prompt on to another address."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with serving(handler) as url:
        result = await call(url)
    assert isinstance(result, Failed)
    assert (result.code, result.retryable) == ("http_307", False)
    assert paths == ["/v1/responses"]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 504, 529])
async def test_server_errors_may_be_retried(status: int) -> None:
    """After these the work may have been done; another attempt makes sense where one is allowed."""
    result = await answered_with(b"<html>bad gateway", status=status)
    assert isinstance(result, Failed)
    assert result.retryable


async def test_an_empty_purse_has_its_own_word() -> None:
    """429 for a spent quota is told apart, so that ops see what to do."""
    result = await answered_with({"error": {"message": "quota", "code": "insufficient_quota"}}, status=429)
    assert isinstance(result, Refused)
    assert result.code == "insufficient_quota"


async def test_no_connection_is_a_refusal() -> None:
    """A port where nobody listens and a name that does not exist: certainly no call."""
    for url in (f"http://{LOOPBACK}:1", "http://nowhere.invalid", f"https://{LOOPBACK}:1"):
        result = await call(url)
        assert isinstance(result, Refused)
        assert result.code == "connection"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nabc",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
        b"\x00\xff\xfe" * 100,
    ],
)
async def test_broken_http_is_a_failed_attempt(said: bytes) -> None:
    """A connection that was open when it broke may have done work: never a refusal, never an exception."""
    async with raw(said) as url:
        result = await call(url)
    assert isinstance(result, Failed)
    assert result.retryable


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_one_deadline_bounds_all_of_it(said: bytes) -> None:
    """Before the head or in the middle of the body: the deadline ends the call."""
    async with raw(said, hold=True) as url:
        started = asyncio.get_running_loop().time()
        result = await call(url, timeout_s=SHORT_S)
        spent = asyncio.get_running_loop().time() - started
    assert isinstance(result, Failed)
    assert result.code == "timeout"
    assert SHORT_S <= spent < 2 * SHORT_S
    assert result.usage.latency_ms >= SHORT_S * 1000 - 1


async def seen_request(api: Api, choice: ModelChoice = CHOICE) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append({"path": request.path, "headers": request.headers.copy(), **await request.json()})
        return web.json_response(reply({"text": "Hello"}, api))

    async with serving(handler) as url:
        model = client(url, api)
        assert isinstance(await model.call(ask(), choice, identity(), CALL_S), Answered)
        await model.close()
    (request,) = seen
    return request


async def test_request_over_responses() -> None:
    """Not stored, strict schema, effort, bounded output; the system part goes first, alone."""
    request = await seen_request("responses")
    assert request["path"] == "/v1/responses"
    assert (request["store"], request["reasoning"]) == (False, {"effort": "high"})
    assert request["max_output_tokens"] == OUTPUT_TOKENS_MAX
    assert request["instructions"] == ask().system
    assert request["input"] == [{"role": "user", "content": ask().user}]
    assert request["text"]["format"]["strict"] is True
    assert request["headers"]["Authorization"] == "Bearer key"
    UUID(request["headers"]["X-Draft-Call"])


async def test_request_over_chat() -> None:
    """The same over Chat Completions."""
    request = await seen_request("chat")
    assert request["path"] == "/v1/chat/completions"
    assert (request["store"], request["reasoning_effort"]) == (False, "high")
    assert request["max_completion_tokens"] == OUTPUT_TOKENS_MAX
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["response_format"]["json_schema"]["strict"] is True


async def test_effort_is_not_sent_to_models_that_do_not_reason() -> None:
    """gpt-4o answers 400 to a reasoning effort, so it gets none."""
    assert "reasoning" not in await seen_request("responses", ModelChoice(model="gpt-4o", effort="high"))


async def test_cancelling_closes_the_connection() -> None:
    """A superseded run's call ends at once, and the server sees its client go."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.sleep(60)
        finally:
            gone.set()
        return web.Response()

    async with serving(handler) as url:
        model = client(url)
        task = asyncio.create_task(model.call(ask(), CHOICE, identity(), 60.0))
        await asyncio.wait_for(arrived.wait(), 2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 2.0)
        await model.close()


async def test_an_outage_opens_the_breaker_and_its_end_closes_it() -> None:
    """Enough failures in a row stop the calls; when the server is back the probe lets everybody on, by itself."""
    down = True

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({}, status=503) if down else web.json_response(reply({"text": "Hello"}))

    async with serving(handler) as url:
        model = client(url, breaker=Breaker(open_s=0.1))
        for _ in range(BREAKER_FAILURES):
            assert not model.is_down(CHOICE.model)
            await model.call(ask(), CHOICE, identity(), CALL_S)
        assert model.is_down(CHOICE.model)
        down = False

        async def work() -> ModelResult:
            await model.available(CHOICE.model)
            return await model.call(ask(), CHOICE, identity(), CALL_S)

        results = await asyncio.wait_for(asyncio.gather(*(work() for _ in range(50))), 3.0)
        assert all(isinstance(result, Answered) for result in results)
        assert not model.is_down(CHOICE.model)
        await model.close()


async def test_nonsense_is_no_outage() -> None:
    """A server that answers, however badly, is up."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(reply("nonsense"))

    async with serving(handler) as url:
        model = client(url)
        for _ in range(BREAKER_FAILURES + 1):
            await model.call(ask(), CHOICE, identity(), CALL_S)
        assert not model.is_down(CHOICE.model)
        await model.close()


async def test_no_hidden_retries() -> None:
    """One call is one request, also when it fails."""
    seen = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        return web.json_response({}, status=500, headers={"x-should-retry": "true"})

    async with serving(handler) as url:
        await call(url)
    assert seen == 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("9999", RETRY_AFTER_S_MAX),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        *((nonsense, None) for nonsense in ("nan", "inf", "soon", "Wed, 99 Oct 2015", "")),
    ],
)
async def test_retry_after_is_read_and_bounded(header: str, expected: float | None) -> None:
    """Seconds or a date, within the limit; what makes no sense is ignored."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": header})

    async with serving(handler) as url:
        result = await call(url)
    assert isinstance(result, Refused)
    assert result.retry_after_s == expected


async def test_worst_case_covers_the_call(scripted: StandIn) -> None:
    """The reserve is never below what the call then costs."""
    model = client(scripted.url)
    for stage in Stage:
        result = await model.call(ask(stage), CHOICE, identity(), CALL_S)
        worst = model.worst_case_usd(ask(stage), CHOICE)
        assert worst is not None
        assert result.usage.cost_usd is not None
        assert result.usage.cost_usd <= worst
    assert model.worst_case_usd(ask(), ModelChoice(model="unknown", effort="low")) is None
    await model.close()


def test_known_models() -> None:
    """The price table, the default and the extra names."""
    config = Config(_env_file=None, openai_api_key="key", openai_models_extra="house-model")
    model: ModelPort = ModelClient(config)
    assert {"gpt-5.2", "gpt-5.2-2025-12-11", "house-model"} <= model.known_models
