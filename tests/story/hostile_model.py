"""The scripted model, but a message chooses what is said at a stage: `answer STAGE FILE NUMBER` in its body.

The answers come from a JSON file beside the ledger, `{FILE: [text, ...]}`: raw texts, sent as they are, or for a stage
that writes text (`as text`) wrapped into a well-formed answer. Everything else is the scripted model's own.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Final

from app.stack.model_rules import Asked
from app.stack.model_server import NAME, Call, ScriptedModel
from app.stack.model_wire import Request, Said
from app.stack.serving import Arguments, http_protocol, read_arguments, run, serve

ANSWERS_FILE: Final = "hostile.json"
_ORDER: Final = re.compile(r"answer (\S+) (\w+) (\d+)( as text)?")
_BESIDE: Final[dict[str, dict[str, object]]] = {"draft_generation_step2": {}, "draft_verifier_step3": {"changes": []}}


class HostileModel(ScriptedModel):
    """Says what a message asks for."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(arguments)
        self._file = arguments.dir / ANSWERS_FILE

    @cached_property
    def _answers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads(self._file.read_text())
        return found

    def _said(self, call: Call, asked: Request) -> Said:
        order = _ORDER.search(Asked(call.stage, call.iteration, asked.user_text).message)
        if order is None:
            return super()._said(call, asked)
        stage, file, number, as_text = order.groups()
        text = self._answers[file][int(number)]
        if as_text and call.stage in _BESIDE:
            return Said(json.dumps({"text": text, **_BESIDE[call.stage]}))
        return Said(text) if call.stage == stage and not as_text else super()._said(call, asked)


async def main() -> None:
    """Serve until told to end."""
    arguments = read_arguments("hostile model")
    await serve(NAME, arguments, http_protocol(HostileModel(arguments).handle))


if __name__ == "__main__":
    run(main)
