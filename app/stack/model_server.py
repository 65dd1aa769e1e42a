"""The scripted model: a real HTTP server that speaks the Responses and the Chat Completions API.

It answers by stage (`X-Draft-Stage`) from rules on the message, or as `model.json` says:
`{"default": FAULTS, "stages": {STAGE: FAULTS}, "answers": {STAGE: object, or text sent as it is}}`, where a key STAGE
may be `name@iteration`, which goes before `name`. `"cases": {ID: {STAGE: answer}}` are answers for messages that hold
`!!case:ID`. FAULTS: `latency_ms` (with `latency_ms_max`: anything between), the
shares `p429` `p500` `p503` `phang` `pcut` `pnonsense` `pmalice`, `retry_after_s`, `nonsense` (always this kind), and
`times` (inject at most so often after the file changed). The ledger `model.jsonl` has one line a request, synced before
anything is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from app.stack.behaviour import BehaviourFile, latency_s
from app.stack.ledger import Ledger, now
from app.stack.model_rules import STAGES, Asked, answer
from app.stack.model_texts import MALICE
from app.stack.model_wire import CHAT, RESPONSES, BadRequest, Request, Said, read_request, write_answer, write_error
from app.stack.serving import Arguments, cut, hang, http_protocol, json_answer, read_arguments, run, serve

NAME: Final = "model"
_CASE: Final = re.compile(r"!!case:([\w.-]+)")
FAULTS: Final = ("429", "500", "503", "hang", "cut", "nonsense", "malice")
APIS: Final = {"/v1/responses": RESPONSES, "/v1/chat/completions": CHAT}
NONSENSE: Final = {
    "not_json": Said("Sure! Here is the answer you asked for:"),
    "wrong_fields": Said('{"answer": 42}'),
    "wrong_types": Said('{"confidence": "very", "reasons": 1, "categories": null, "text": 7, "changes": {}}'),
    "out_of_range": Said('{"confidence": 7.5, "reasons": ["certain"], "categories": []}'),
    "empty": Said(""),
    "refused": Said("I cannot help with that.", refused=True),
    "cut_off": Said('{"text": "Thank you for your mess', cut_off=True),
}
ERRORS: Final = {
    "429": (429, "Rate limit reached for requests", "requests", "rate_limit_exceeded"),
    "500": (500, "The server had an error while processing your request", "server_error", None),
    "503": (503, "The engine is currently overloaded", "server_error", "service_unavailable"),
}


@dataclass(frozen=True)
class Call:
    """The headers that every request of the pipeline carries."""

    stage: str
    iteration: int
    run_id: str
    call_id: str


class ScriptedModel:
    """The request handler with its ledger and its behaviour."""

    def __init__(self, arguments: Arguments) -> None:
        self._ledger = Ledger(arguments.dir / "model.jsonl")
        self._behaviour = BehaviourFile(arguments.dir / "model.json")
        self._ids = map("{}{:08x}".format, itertools.repeat(secrets.token_hex(4)), itertools.count())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Route, authorise, read, answer."""
        api = APIS.get(request.path)
        if api is None or request.method != "POST":
            return self._other(request)
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return json_answer(write_error("You did not provide an API key", "invalid_request_error"), 401)
        call = read_call(request.headers)
        body = await request.read()
        try:
            asked = read_request(api, orjson.loads(body))
            said = self._said(call, asked)
        except (BadRequest, orjson.JSONDecodeError) as error:
            await self._record(call, "bad_request", api)
            return json_answer(write_error(str(error), "invalid_request_error"), 400)
        return await self._answer(request, call, asked, said)

    async def _answer(self, request: web.BaseRequest, call: Call, asked: Request, said: Said) -> web.StreamResponse:
        settings = self._settings(call)
        fault = self._behaviour.draw(settings, FAULTS, call.stage)
        await self._record(call, fault or "ok", asked.api, asked.model)
        delay_s = latency_s(settings)
        if delay_s:
            await asyncio.sleep(delay_s)
        match fault:
            case "cut":
                cut(request)
            case "hang":
                await hang(request)
            case "429" | "500" | "503":
                status, message, kind, code = ERRORS[fault]
                retry_after = {} if fault == "500" else {"Retry-After": str(settings.get("retry_after_s", 1))}
                return json_answer(write_error(message, kind, code), status, retry_after)
            case "nonsense":
                said = NONSENSE.get(str(settings.get("nonsense"))) or random.choice(list(NONSENSE.values()))
            case "malice":
                said = malicious(said)
            case _:
                pass
        return json_answer(write_answer(asked, said, next(self._ids)))

    def _said(self, call: Call, asked: Request) -> Said:
        content = self._behaviour.current()
        marked = _CASE.search(asked.user_text) if "cases" in content else None
        answers = {**(content.get("answers") or {}), **(content["cases"].get(marked[1], {}) if marked else {})}
        chosen = answers.get(f"{call.stage}@{call.iteration}", answers.get(call.stage))
        if chosen is None:
            if not call.stage:
                return Said("ok")
            if call.stage not in STAGES:
                raise BadRequest(f"X-Draft-Stage: unknown stage {call.stage[:80]!r}")
            chosen = answer(Asked(call.stage, call.iteration, asked.user_text))
        return Said(chosen if isinstance(chosen, str) else orjson.dumps(chosen).decode())

    def _settings(self, call: Call) -> Mapping[str, Any]:
        """Default, then the stage's, then those of the stage's iteration."""
        content = self._behaviour.current()
        stages = content.get("stages") or {}
        layers = (content.get("default"), stages.get(call.stage), stages.get(f"{call.stage}@{call.iteration}"))
        return {name: value for layer in layers for name, value in (layer or {}).items()}

    async def _record(self, call: Call, outcome: str, api: str, model: str | None = None) -> None:
        await self._ledger.append(
            {
                "call_id": call.call_id,
                "stage": call.stage,
                "iteration": call.iteration,
                "run_id": call.run_id,
                "time": now(),
                "outcome": outcome,
                "model": model,
                "api": api,
            }
        )

    def _other(self, request: web.BaseRequest) -> web.Response:
        """`GET /v1/models/NAME` knows every model, so that a check of the set-up has something to ask."""
        prefix = "/v1/models"
        if request.method == "GET" and request.path.startswith(prefix):
            name = request.path.removeprefix(prefix).strip("/")
            model = {"id": name or "gpt-5.2", "object": "model", "created": 0, "owned_by": "scripted"}
            return json_answer(model if name else {"object": "list", "data": [model]})
        return json_answer(write_error(f"Invalid URL ({request.method} {request.path})", "invalid_request_error"), 404)


def read_call(headers: Mapping[str, str]) -> Call:
    """The call's headers; an iteration that is no number counts as 0."""
    iteration = headers.get("X-Draft-Iteration", "0")
    return Call(
        stage=headers.get("X-Draft-Stage", ""),
        iteration=int(iteration) if iteration.isdecimal() else 0,
        run_id=headers.get("X-Draft-Run", ""),
        call_id=headers.get("X-Draft-Call", ""),
    )


def malicious(said: Said) -> Said:
    """A well-formed answer with hostile words: full confidence, marks of the fence, a script, a link."""
    try:
        content = orjson.loads(said.text)
    except ValueError:
        return Said(MALICE)
    hostile = {"confidence": 1.0, "text": MALICE, "guidance": MALICE, "reasons": [MALICE], "changes": [MALICE]}
    return Said(orjson.dumps({name: hostile.get(name, value) for name, value in content.items()}).decode())


async def main() -> None:
    """Serve until told to end."""
    arguments = read_arguments("scripted model")
    await serve(NAME, arguments, http_protocol(ScriptedModel(arguments).handle))


if __name__ == "__main__":
    run(main)
