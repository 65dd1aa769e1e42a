"""The stages: what to ask, and what follows. A new one is a module, a prompt, an answer class and a line here."""

from typing import Final, Protocol

from agents.stages import (
    auto_send_evaluation,
    auto_send_revision_reviser,
    auto_send_revision_selector,
    draft_generation_step2,
    draft_strategy_step1,
    draft_verifier_step3,
    meeting_overseer_extract,
    meeting_overseer_gate,
)
from agents.state import Ask, RunState
from schemas.answers import Answer
from schemas.codes import Stage


class StageModule(Protocol):
    """Both functions are pure. `decide` raises `UnusableAnswer` when an answer that parsed is still none."""

    STAGE: Stage

    def ask(self, state: RunState) -> Ask: ...

    def decide(self, state: RunState, answer: Answer) -> RunState: ...


STAGES: Final[dict[Stage, StageModule]] = {
    Stage.STRATEGY: draft_strategy_step1,
    Stage.GENERATION: draft_generation_step2,
    Stage.VERIFIER: draft_verifier_step3,
    Stage.MEETING_EXTRACT: meeting_overseer_extract,
    Stage.MEETING_GATE: meeting_overseer_gate,
    Stage.EVALUATION: auto_send_evaluation,
    Stage.SELECTOR: auto_send_revision_selector,
    Stage.REVISER: auto_send_revision_reviser,
}

DRAFT_ORDER: Final = (
    Stage.STRATEGY,
    Stage.GENERATION,
    Stage.VERIFIER,
    Stage.MEETING_EXTRACT,
    Stage.MEETING_GATE,
    Stage.EVALUATION,
)
MEETING_STAGES: Final = frozenset({Stage.MEETING_EXTRACT, Stage.MEETING_GATE})


def next_draft_stage(state: RunState, done: frozenset[Stage]) -> Stage | None:
    """The first stage of the draft that is not in `done`, None after the last. A skipped stage counts as done."""
    scheduling = state.strategy is not None and state.strategy.scheduling
    wanted = (stage for stage in DRAFT_ORDER if scheduling or stage not in MEETING_STAGES)
    return next((stage for stage in wanted if stage not in done), None)


def skip(state: RunState, stage: Stage) -> RunState:
    """What follows when `stage` has no usable answer and the run may go on. Raises ValueError where it may not.

    A meeting stage leaves everything as it is; an evaluation without an answer is one without confidence.
    """
    if stage in MEETING_STAGES:
        return state
    if stage is Stage.EVALUATION:
        return state.with_judgement(None)
    raise ValueError(f"a run cannot go on without {stage}")
