"""The local webhook receiver: enforces `Idempotency-Key`, answers look-ups, syncs each request to disk, then answers.

`POST` any path: 200, the same answer again for the same key (outcome `repeat`), 422 for the same key with another body
(`conflict`), 400 without a key (`no_key`). `GET` any path`?key=KEY`: 200 `{"found": true, ...}` or 404. Behaviour in
`webhook.json`: `latency_ms` and the shares `p_cut_after` (accepted, then cut), `p_cut_before`, `p500`; `times` bounds
how many are injected. Ledger: `webhook.jsonl`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from app.stack.behaviour import BehaviourFile, latency_s
from app.stack.ledger import Ledger, now, read_ledger
from app.stack.serving import Arguments, cut, http_protocol, json_answer, read_arguments, run, serve

NAME: Final = "webhook"
FAULTS: Final = ("_cut_after", "_cut_before", "500")
KEPT_HEADERS: Final = frozenset({"content-type", "idempotency-key", "user-agent", "traceparent"})
KEPT_PREFIXES: Final = ("x-", "webhook-")
TAKEN: Final = frozenset({"accepted", "cut_after"})


class WebhookSink:
    """The request handler. What was accepted is read back from the ledger, so a restart forgets no key."""

    def __init__(self, arguments: Arguments) -> None:
        path = arguments.dir / "webhook.jsonl"
        self._accepted = {line["key"]: line["body_sha256"] for line in read_ledger(path) if line["outcome"] in TAKEN}
        self._ledger = Ledger(path)
        self._behaviour = BehaviourFile(arguments.dir / "webhook.json")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A delivery or a look-up."""
        if request.method == "GET":
            key = request.query.get("key", "")
            found = key in self._accepted
            return json_answer(receipt(key) | {"found": True} if found else {"found": False}, 200 if found else 404)
        if request.method != "POST":
            return json_answer({"error": "POST or GET"}, 405)
        return await self._receive(request, await request.read())

    async def _receive(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        settings, key = self._behaviour.current(), request.headers.get("Idempotency-Key", "")
        fault = self._behaviour.draw(settings, FAULTS)
        await asyncio.sleep(latency_s(settings))
        digest = hashlib.sha256(body).hexdigest()
        outcome = self._outcome(key, digest, fault)
        await self._ledger.append(
            {
                "time": now(),
                "path": request.path_qs,
                "key": key,
                "headers": kept(request.headers),
                "body": body.decode(errors="replace"),
                "body_sha256": digest,
                "outcome": outcome,
            }
        )
        if fault in ("_cut_after", "_cut_before"):
            cut(request)
        match outcome:
            case "500":
                return json_answer({"error": "injected failure"}, 500)
            case "no_key":
                return json_answer({"error": "Idempotency-Key is required"}, 400)
            case "conflict":
                return json_answer({"error": "this Idempotency-Key came with another body before"}, 422)
            case _:
                return json_answer(receipt(key))

    def _outcome(self, key: str, digest: str, fault: str | None) -> str:
        """What becomes of a request; nothing awaits in here, so of two equal requests one is the repeat."""
        if not key:
            return "no_key"
        if fault in ("_cut_before", "500"):
            return fault.removeprefix("_")
        if key in self._accepted:
            return "repeat" if self._accepted[key] == digest else "conflict"
        self._accepted[key] = digest
        return "cut_after" if fault else "accepted"


def receipt(key: str) -> dict[str, Any]:
    """The answer to an accepted delivery, always the same for the same key."""
    return {"ok": True, "id": f"wh-{hashlib.sha256(key.encode()).hexdigest()[:16]}", "key": key}


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping: those of the delivery protocol, no credentials."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name in KEPT_HEADERS or name.startswith(KEPT_PREFIXES)}


async def main() -> None:
    """Serve until told to end."""
    arguments = read_arguments("webhook receiver")
    await serve(NAME, arguments, http_protocol(WebhookSink(arguments).handle))


if __name__ == "__main__":
    run(main)
