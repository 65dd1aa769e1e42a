"""Slack's Web API: post, update, tell one user, open a view, answer a response_url.

Plain aiohttp, not slack_sdk's client: that one repeats a request whose connection was cut, which posts twice, and hands
bodies to its logger. A 429 holds back every call of this client for as long as Retry-After says.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from agents.ports import SendRefused, SendUnknown
from app.config import Config
from app.retry_after import retry_after_s
from app.slack.blocks import SlackMessage

SLACK_URL: Final = "https://slack.com/api/"
RESPONSE_HOST: Final = "hooks.slack.com"
CALL_S_MAX: Final = 10.0
CONNECT_S_MAX: Final = 3.0
RETRY_AFTER_S_DEFAULT: Final = 1.0

_CODE: Final = re.compile(r"[a-z_]{1,80}")
_OK: Final = 200
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_RATE_LIMITED: Final = "ratelimited"
# Slack: "some aspect of the operation may have succeeded before the error was raised".
_UNCERTAIN: Final = frozenset({"internal_error", "fatal_error", "request_timeout", "service_unavailable"})


@dataclass(frozen=True)
class Posted:
    """Done. `channel` and `ts` name the message, for `update`; `team` is our own. Empty where Slack gives none."""

    channel: str = ""
    ts: str = ""
    team: str = ""


SlackResult = Posted | SendRefused | SendUnknown


class SlackClient:
    """All Slack calls of a process. Call `close` at the end. `clock` is monotonic, in seconds."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        config.require(frozenset({"SLACK_BOT_TOKEN"}))
        self._token = config.slack_bot_token
        self._base = URL((config.slack_api_url or SLACK_URL).rstrip("/") + "/")
        self._clock = clock
        self._held_until = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, channel: str, message: SlackMessage, timeout_s: float = CALL_S_MAX) -> SlackResult:
        """chat.postMessage. A result that is unknown may have been posted: posting again may show it twice."""
        return await self._method("chat.postMessage", {"channel": channel, **message.fields(), **_QUIET}, timeout_s)

    async def team(self, timeout_s: float = CALL_S_MAX) -> SlackResult:
        """auth.test: the team that our token is for."""
        return await self._method("auth.test", {}, timeout_s)

    async def tell(self, channel: str, user: str, message: SlackMessage, timeout_s: float = CALL_S_MAX) -> SlackResult:
        """chat.postEphemeral: seen by this user only, and not kept by Slack."""
        return await self._method(
            "chat.postEphemeral", {"channel": channel, "user": user, **message.fields()}, timeout_s
        )

    async def update(self, channel: str, ts: str, message: SlackMessage, timeout_s: float = CALL_S_MAX) -> SlackResult:
        """chat.update; may be repeated."""
        return await self._method("chat.update", {"channel": channel, "ts": ts, **message.fields()}, timeout_s)

    async def open_view(self, trigger_id: str, view: Mapping[str, Any], timeout_s: float = CALL_S_MAX) -> SlackResult:
        """views.open, within 3 s of the click that `trigger_id` came with."""
        return await self._method("views.open", {"trigger_id": trigger_id, "view": dict(view)}, timeout_s)

    async def respond(
        self, response_url: str, message: SlackMessage, timeout_s: float = CALL_S_MAX, *, replace: bool = True
    ) -> SlackResult:
        """Replace the clicked message, or tell whoever clicked, through the click's response_url.

        It must be Slack's (or the stand-in's) own, and is good for 30 minutes and 5 uses.
        """
        try:
            url = URL(response_url)
            ours = url.origin() == self._base.origin() or (url.scheme == "https" and url.host == RESPONSE_HOST)
        except ValueError:
            ours = False
        if not ours:
            return SendRefused("foreign_response_url", temporary=False)
        how = {"replace_original": True} if replace else {"response_type": "ephemeral", "replace_original": False}
        return await self._call(url, {**how, **message.fields()}, {}, timeout_s)

    async def _method(self, method: str, payload: dict[str, Any], timeout_s: float) -> SlackResult:
        return await self._call(self._base / method, payload, {"Authorization": f"Bearer {self._token}"}, timeout_s)

    async def _call(self, url: URL, payload: dict[str, Any], headers: dict[str, str], timeout_s: float) -> SlackResult:
        """One call, again after each 429 while the deadline allows it."""
        deadline = self._clock() + timeout_s
        while True:
            held_s = self._held_until - self._clock()
            if held_s > deadline - self._clock():
                return SendRefused(_RATE_LIMITED, temporary=True, retry_after_s=held_s)
            await asyncio.sleep(max(held_s, 0.0))
            result = await self._once(url, payload, headers, deadline - self._clock())
            if not (isinstance(result, SendRefused) and result.code == _RATE_LIMITED):
                return result
            wait_s = RETRY_AFTER_S_DEFAULT if result.retry_after_s is None else result.retry_after_s
            self._held_until = max(self._held_until, self._clock() + wait_s)

    async def _once(self, url: URL, payload: dict[str, Any], headers: dict[str, str], timeout_s: float) -> SlackResult:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX)
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)
        headers = {"Content-Type": "application/json; charset=utf-8", **headers}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(url, data=orjson.dumps(payload), headers=headers, allow_redirects=False) as response,
            ):
                return _read(response.status, response.headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return SendRefused("slack_connection", temporary=True)
        except TimeoutError:
            return SendUnknown("slack_timeout")
        except (aiohttp.ClientError, OSError):
            return SendUnknown("slack_cut")


# The draft is not ours to decorate, and links in it are not to be fetched.
_QUIET: Final = {"unfurl_links": False, "unfurl_media": False}


def _read(status: int, headers: Mapping[str, str], body: bytes) -> SlackResult:
    if status == _TOO_MANY:
        return SendRefused(_RATE_LIMITED, temporary=True, retry_after_s=retry_after_s(headers))
    if status == _UNAVAILABLE:
        return SendRefused("slack_503", temporary=True, retry_after_s=retry_after_s(headers))
    if status != _OK:
        return SendUnknown(f"slack_{status}")
    if body.strip() == b"ok":  # what a response_url answers
        return Posted()
    try:
        content = orjson.loads(body)
    except ValueError:
        return SendUnknown("slack_body")
    if not isinstance(content, dict):
        return SendUnknown("slack_body")
    if content.get("ok") is True:
        channel, ts, team = (content.get(name) for name in ("channel", "ts", "team_id"))
        return Posted(str(channel or ""), str(ts or ""), str(team or ""))
    code = content.get("error")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else "slack_error"
    if code in _UNCERTAIN:
        return SendUnknown(code)
    return SendRefused(code, temporary=code == _RATE_LIMITED, retry_after_s=retry_after_s(headers))
