"""Evaluation: how sure one may be that the current text can go out. The same prompt for drafts and revisions."""

from agents.errors import expect
from agents.prompting import build_ask, context, draft
from agents.state import Ask, RunState
from schemas.answers import Answer, Evaluation
from schemas.codes import Stage

STAGE = Stage.EVALUATION


def ask(state: RunState) -> Ask:
    """Depends on the current text, not on how it came about: a revision is judged as if it were a first draft."""
    return build_ask(STAGE, state, state.iteration, context=context(state, "evaluator"), draft=draft(state))


def decide(state: RunState, answer: Answer) -> RunState:
    return state.with_judgement(expect(Evaluation, answer))
