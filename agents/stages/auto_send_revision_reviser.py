"""Reviser: the text again, with the sections that were selected and the evaluator's objections."""

from agents.errors import expect
from agents.prompting import assessment, build_ask, draft, guidance, required_text, selected_context
from agents.state import Ask, RunState
from schemas.answers import Answer, Revision
from schemas.codes import Stage

STAGE = Stage.REVISER


def ask(state: RunState) -> Ask:
    return build_ask(
        STAGE,
        state,
        state.iteration,
        context=selected_context(state),
        guidance=guidance(state),
        assessment=assessment(state),
        draft=draft(state),
    )


def decide(state: RunState, answer: Answer) -> RunState:
    return state.with_text(required_text(expect(Revision, answer).text))
