"""Generation: the reply text, in the language of the lead."""

from agents.errors import expect
from agents.prompting import build_ask, context, required_text, strategy
from agents.state import Ask, RunState
from schemas.answers import Answer, Generation
from schemas.codes import Stage

STAGE = Stage.GENERATION


def ask(state: RunState) -> Ask:
    return build_ask(STAGE, state, context=context(state, "draft"), strategy=strategy(state))


def decide(state: RunState, answer: Answer) -> RunState:
    return state.with_text(required_text(expect(Generation, answer).text))
