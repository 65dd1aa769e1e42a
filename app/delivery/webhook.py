"""Any channel over an HTTPS webhook: signed, with an idempotency key, and a look-up for what became of it.

POST webhook_url       the reply as JSON, `Idempotency-Key: KEY`, `X-Draft-Signature: t=UNIX,v1=HEX`; 2xx is sent
GET webhook_url?key=   200 `{"found": true, "id": ...}` was sent, 404 `{"found": false}` was not; all else tells nothing

HEX is the HMAC-SHA256, under the channel's `webhook_secret`, of `UNIX.` and the body (a GET has none). A channel
without a secret gets no signature. The reply's `id` becomes the provider's message id, else the key does.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from agents.ports import LOOK_UP_FAILED, Capabilities, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from app.delivery.addresses import ForbiddenAddress, Pinned, resolve
from app.retry_after import retry_after_s
from schemas.limits import WEBHOOK_KEY_WINDOW_S

CONNECT_S_MAX: Final = 5.0
RESPONSE_BYTES_MAX: Final = 64 * 1024
_ID: Final = re.compile(r"[!-~]{1,200}")
_CLASS, _SUCCESS, _CLIENT_ERROR, _SERVER_ERROR = 100, 2, 4, 5  # a status by its first digit
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409  # "the same key is being worked on": the other attempt may well succeed
_NOT_DONE_YET: Final = frozenset({408, 425, 429, 503})

CAPABILITIES: Final = Capabilities(key_window_s=WEBHOOK_KEY_WINDOW_S, can_look_up=True)


@dataclass
class _Exchange:
    """What is known of one request. `opened`: from here on the receiver may have had it."""

    opened: bool = False
    status: int | None = None
    retry_after_s: float | None = None
    body: bytes = b""


@dataclass
class WebhookAdapter:
    """`url` is https://; http:// and addresses that are not public only with `allow_private`. No redirects."""

    url: str
    secret: str | None = field(repr=False)
    allow_private: bool = False
    now: Callable[[], float] = time.time
    capabilities: Capabilities = CAPABILITIES

    @property
    def route(self) -> str:
        return f"webhook {self.url}"

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult:
        """Deliver within `timeout_s` seconds. 429 and 503: temporary; other 4xx: permanent; once the connection was
        open, everything that is neither 2xx nor 4xx is unknown."""
        body = request_body(outgoing)
        headers = {"Content-Type": "application/json", "Idempotency-Key": outgoing.key, **self._signature(body)}
        if outgoing.traceparent is not None:
            headers["traceparent"] = outgoing.traceparent
        exchange = await self._exchange("POST", None, headers, body, timeout_s)
        if isinstance(exchange, SendRefused):
            return exchange
        return _send_result(exchange, outgoing.key)

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        """Sent or surely not sent where the receiver says so in so many words, else None. Unknown while it does not
        answer, or answers that it is out of order."""
        exchange = await self._exchange("GET", outgoing.key, self._signature(b""), None, timeout_s)
        if isinstance(exchange, SendRefused):
            return SendUnknown(LOOK_UP_FAILED) if exchange.temporary else None
        if exchange.status is None or exchange.status in _NOT_DONE_YET or exchange.status // _CLASS == _SERVER_ERROR:
            return SendUnknown(LOOK_UP_FAILED)
        found = _json_object(exchange.body).get("found")
        if exchange.status // _CLASS == _SUCCESS and found is True:
            return Sent(_provider_id(exchange.body, outgoing.key))
        if exchange.status == _NOT_FOUND and found is False:
            return SendRefused("not_found", temporary=True)
        return None

    def _signature(self, body: bytes) -> dict[str, str]:
        if self.secret is None:
            return {}
        return {"X-Draft-Signature": sign(self.secret, int(self.now()), body)}

    def _target(self, key: str | None) -> URL | None:
        """Where to send; None when that is no address a webhook may have."""
        try:
            url = URL(self.url) if key is None else URL(self.url).update_query(key=key)
        except ValueError:
            return None
        schemes = ("https", "http") if self.allow_private else ("https",)
        return url if url.scheme in schemes and url.host else None

    async def _exchange(
        self, method: str, key: str | None, headers: dict[str, str], body: bytes | None, timeout_s: float
    ) -> _Exchange | SendRefused:
        """One request. `SendRefused` when it surely never reached anybody."""
        url = self._target(key)
        if url is None:
            return SendRefused("bad_url", temporary=False)
        exchange = _Exchange()
        try:
            async with asyncio.timeout(timeout_s):
                await self._request(exchange, method, url, headers, body)
        except ForbiddenAddress:
            return SendRefused("forbidden_address", temporary=False)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if not exchange.opened:
                bad = isinstance(error, ValueError)
                return SendRefused("bad_url" if bad else "webhook_connection", temporary=not bad)
        return exchange

    async def _request(
        self, exchange: _Exchange, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> None:
        addresses = await resolve(str(url.host), int(url.port or 0), allow_private=self.allow_private)
        connector = aiohttp.TCPConnector(resolver=Pinned(addresses), use_dns_cache=False, force_close=True)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX),
            auto_decompress=False,
            trace_configs=[_tracing(exchange)],
        )
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "draft-pipeline",
            **headers,
        }
        async with session, session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            exchange.status = response.status
            exchange.retry_after_s = retry_after_s(response.headers)
            while len(exchange.body) < RESPONSE_BYTES_MAX and (part := await response.content.read(RESPONSE_BYTES_MAX)):
                exchange.body += part


def _tracing(exchange: _Exchange) -> aiohttp.TraceConfig:
    async def opened(*_: Any) -> None:
        exchange.opened = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(opened)
    return tracing


def request_body(outgoing: Outgoing) -> bytes:
    """The JSON of a delivery: nothing in it changes between attempts. `text` is the exact draft."""
    fields = ("draft_id", "workspace_id", "channel", "recipient", "thread_id", "text", "subject", "key")
    return orjson.dumps({name: getattr(outgoing, name) for name in fields})


def sign(secret: str, unix_s: int, body: bytes) -> str:
    """The value of `X-Draft-Signature`."""
    digest = hmac.new(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={unix_s},v1={digest}"


def _send_result(exchange: _Exchange, key: str) -> SendResult:
    status = exchange.status
    if status is None:
        return SendUnknown("webhook_cut")
    code = f"http_{status}"
    if status // _CLASS == _SUCCESS:
        return Sent(_provider_id(exchange.body, key))
    if status in _NOT_DONE_YET:
        return SendRefused(code, temporary=True, retry_after_s=exchange.retry_after_s)
    if status // _CLASS == _CLIENT_ERROR and status != _CONFLICT:
        return SendRefused(code, temporary=False)
    return SendUnknown(code)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _provider_id(body: bytes, key: str) -> str:
    content = _json_object(body)
    found = content.get("id", content.get("message_id"))
    return found if isinstance(found, str) and _ID.fullmatch(found) else key
