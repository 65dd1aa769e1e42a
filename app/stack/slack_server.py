"""A stand-in for Slack's Web API: posts, updates, ephemeral words and views with real response shapes, token checked.

Every request is a line of `slack.jsonl` (time, method, channel, ts, outcome, body), synced before the answer; what was
posted is read back on a restart. `POST /response/ID` is a response_url. Behaviour in `slack.json`: `latency_ms`, the
shares `p429` `p500` `p_cut_after` `p_cut_before`, `retry_after_s`, `times`. The token it accepts is in
DRAFT_STACK_SLACK_TOKEN (unset: any).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from app.stack.behaviour import BehaviourFile, latency_s
from app.stack.ledger import Ledger, now, read_ledger
from app.stack.serving import Arguments, cut, http_protocol, json_answer, read_arguments, run, serve

NAME: Final = "slack"
TOKEN_VARIABLE: Final = "DRAFT_STACK_SLACK_TOKEN"  # noqa: S105  (a variable's name)
FAULTS: Final = ("429", "500", "_cut_after", "_cut_before")
NOT_PROCESSED: Final = frozenset({"429", "500", "_cut_before"})
TEAM, BOT_USER, BOT = "T0LOCAL", "U0LOCALBOT", "B0LOCAL"
TEXT_CHARS_MAX: Final = 40_000
BLOCKS_MAX: Final = 50
SECTION_CHARS_MAX: Final = 3_000

Body = dict[str, Any]


class SlackServer:
    """The request handler and the messages that exist: (channel, ts)."""

    def __init__(self, arguments: Arguments) -> None:
        path = arguments.dir / "slack.jsonl"
        posted = (line for line in read_ledger(path) if line["method"] == "chat.postMessage" and line.get("ts"))
        self._messages = {(line["channel"], line["ts"]) for line in posted}
        self._ledger = Ledger(path)
        self._behaviour = BehaviourFile(arguments.dir / "slack.json")
        self._token = os.environ.get(TOKEN_VARIABLE)
        self._count = itertools.count(len(self._messages))
        self._methods: dict[str, Callable[[Body], Body]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.postEphemeral": self._tell,
            "chat.update": self._update,
            "views.open": self._open_view,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One method call or one use of a response_url."""
        method = request.path.removeprefix("/api/").strip("/")
        body = read_body(request.headers.get("Content-Type", ""), await request.read())
        settings = self._behaviour.current()
        fault = self._behaviour.draw(settings, FAULTS)
        answer = self._answer(request, method, body) if fault not in NOT_PROCESSED else {}
        outcome = fault.removeprefix("_") if fault else "ok" if answer["ok"] else str(answer["error"])
        shown = {name: value for name, value in body.items() if name != "token"}
        ledger_line = {"time": now(), "method": method, "channel": answer.get("channel"), "ts": answer.get("ts")}
        await self._ledger.append({**ledger_line, "outcome": outcome, "body": shown})
        await asyncio.sleep(latency_s(settings))
        match fault:
            case "429":
                error, wait = {"ok": False, "error": "ratelimited"}, str(settings.get("retry_after_s", 1))
                return json_answer(error, 429, {"Retry-After": wait})
            case "500":
                return json_answer({"ok": False, "error": "internal_error"}, 500)
            case "_cut_after" | "_cut_before":
                cut(request)
            case _:
                pass
        return json_answer(answer)

    def _answer(self, request: web.BaseRequest, method: str, body: Body) -> Body:
        if request.method == "POST" and request.path.startswith("/response/"):
            return {"ok": True}
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or str(body.get("token") or "")
        if not token or (self._token is not None and token != self._token):
            return failure("invalid_auth" if token else "not_authed")
        act = self._methods.get(method)
        return act(body) if act else failure("unknown_method")

    def _auth_test(self, _: Body) -> Body:
        who = {"team": "Local", "team_id": TEAM, "user": "draft-pipeline", "user_id": BOT_USER, "bot_id": BOT}
        return {"ok": True, "url": "https://local.slack.invalid/", **who, "is_enterprise_install": False}

    def _post(self, body: Body) -> Body:
        problem = problem_of(body)
        if problem:
            return failure(problem)
        channel, ts = str(body["channel"]), f"{int(time.time())}.{next(self._count):06d}"
        self._messages.add((channel, ts))
        return {"ok": True, "channel": channel, "ts": ts, "message": message_of(body, ts)}

    def _tell(self, body: Body) -> Body:
        problem = problem_of(body) or ("user_not_in_channel" if not body.get("user") else None)
        if problem:
            return failure(problem)
        return {"ok": True, "message_ts": f"{int(time.time())}.{next(self._count):06d}"}

    def _update(self, body: Body) -> Body:
        channel, ts = str(body.get("channel")), str(body.get("ts"))
        problem = problem_of(body)
        if problem:
            return failure(problem)
        if (channel, ts) not in self._messages:
            return failure("message_not_found")
        text = body.get("text") or ""
        return {"ok": True, "channel": channel, "ts": ts, "text": text, "message": message_of(body, ts)}

    def _open_view(self, body: Body) -> Body:
        view = decoded(body.get("view"))
        if not body.get("trigger_id") or not isinstance(view, dict):
            return failure("invalid_arguments")
        return {"ok": True, "view": {"id": f"V{next(self._count):09d}", "team_id": TEAM, "hash": "1", **view}}


def read_body(content_type: str, body: bytes) -> Body:
    """JSON or a form, as Slack takes both; anything else reads as empty."""
    if content_type.startswith("application/json"):
        content = decoded(body)
        return content if isinstance(content, dict) else {}
    return dict(parse_qsl(body.decode(errors="replace")))


def decoded(value: Any) -> Any:
    """A value that a form carries as JSON text."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return orjson.loads(value)
    except ValueError:
        return None


def problem_of(body: Body) -> str | None:
    """Slack's error code for a message it would not take."""
    text, blocks = str(body.get("text") or ""), decoded(body.get("blocks")) or []
    if not body.get("channel"):
        return "channel_not_found"
    if not text and not blocks:
        return "no_text"
    if len(text) > TEXT_CHARS_MAX:
        return "msg_too_long"
    sections = [b.get("text") for b in blocks if isinstance(b, dict) and b.get("type") == "section"]
    lengths = [len(str(section.get("text") or "")) for section in sections if isinstance(section, dict)]
    if len(blocks) > BLOCKS_MAX or any(not 0 < length <= SECTION_CHARS_MAX for length in lengths):
        return "invalid_blocks"
    return None


def message_of(body: Body, ts: str) -> Body:
    """The message object inside an answer."""
    blocks = decoded(body.get("blocks")) or []
    return {
        "type": "message",
        "text": body.get("text") or "",
        "blocks": blocks,
        "ts": ts,
        "user": BOT_USER,
        "bot_id": BOT,
    }


def failure(code: str) -> Body:
    """Slack says no with status 200."""
    return {"ok": False, "error": code}


async def main() -> None:
    """Serve until told to end."""
    arguments = read_arguments("Slack stand-in")
    await serve(NAME, arguments, http_protocol(SlackServer(arguments).handle))


if __name__ == "__main__":
    run(main)
