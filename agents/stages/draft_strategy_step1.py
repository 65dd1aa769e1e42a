"""Strategy: what the lead wants, what the reply must achieve and must not say, whether scheduling is in play."""

from dataclasses import replace

from agents.errors import expect
from agents.prompting import build_ask, context
from agents.state import Ask, RunState
from schemas.answers import Answer, Strategy
from schemas.codes import Stage

STAGE = Stage.STRATEGY


def ask(state: RunState) -> Ask:
    return build_ask(STAGE, state, context=context(state, "draft"))


def decide(state: RunState, answer: Answer) -> RunState:
    return replace(state, strategy=expect(Strategy, answer))
