"""Selector: which sections of the context would help the reviser, and what to do with them."""

from dataclasses import replace
from typing import Final

from agents.errors import expect
from agents.prompting import assessment, build_ask, context, draft, offered, offered_sections
from agents.state import Ask, RunState
from schemas.answers import Answer, Selection
from schemas.codes import Stage

STAGE = Stage.SELECTOR
ITERATION: Final = 1


def ask(state: RunState) -> Ask:
    return build_ask(
        STAGE,
        state,
        ITERATION,
        context=context(state, "draft"),
        offered=offered(state),
        assessment=assessment(state),
        draft=draft(state),
    )


def decide(state: RunState, answer: Answer) -> RunState:
    """Names that were not offered are dropped, and so are repetitions."""
    selection = expect(Selection, answer)
    chosen = [name for name in offered_sections(state) if name in selection.sections]
    return replace(state, selection=selection.model_copy(update={"sections": chosen}))
