"""What a model must answer, by stage. A strict structured output each; anything else is no answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.codes import Stage


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Confidence = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Strategy(Answer):
    intent: str
    goals: list[str]
    must_avoid: list[str]
    scheduling: bool
    language: str


class Generation(Answer):
    text: str


class Verification(Answer):
    text: str
    changes: list[str]


class MeetingExtract(Answer):
    proposed_times: list[str]
    timezone: str | None
    accepted_time: str | None


class MeetingGate(Answer):
    decision: Literal["approve", "revise"]
    text: str | None
    reason: str


class Evaluation(Answer):
    confidence: Confidence
    reasons: list[str]
    categories: list[str]


class Selection(Answer):
    sections: list[str]
    guidance: str


class Revision(Answer):
    text: str
    changes: list[str]


ANSWER_OF: dict[Stage, type[Answer]] = {
    Stage.STRATEGY: Strategy,
    Stage.GENERATION: Generation,
    Stage.VERIFIER: Verification,
    Stage.MEETING_EXTRACT: MeetingExtract,
    Stage.MEETING_GATE: MeetingGate,
    Stage.EVALUATION: Evaluation,
    Stage.SELECTOR: Selection,
    Stage.REVISER: Revision,
}
