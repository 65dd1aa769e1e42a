"""Verifier: the draft corrected against facts and policy."""

from agents.errors import expect
from agents.prompting import build_ask, context, draft, required_text, strategy
from agents.state import Ask, RunState
from schemas.answers import Answer, Verification
from schemas.codes import Stage

STAGE = Stage.VERIFIER


def ask(state: RunState) -> Ask:
    return build_ask(STAGE, state, context=context(state, "draft"), strategy=strategy(state), draft=draft(state))


def decide(state: RunState, answer: Answer) -> RunState:
    return state.with_text(required_text(expect(Verification, answer).text))
