"""The events on our topics. Frozen, versioned, without any message or draft text except `InboundMessage.body`."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from schemas.codes import Action, Channel, DecidedBy, Mode, OutcomeStatus, RevisionOutcome
from schemas.limits import (
    BODY_BYTES_MAX,
    HEADER_CHARS_MAX,
    HEADER_COUNT_MAX,
    ID_CHARS_MAX,
    TEXT_FIELD_CHARS_MAX,
)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(value: str) -> str:
    """Postgres stores neither NUL nor lone surrogates."""
    if _UNSTORABLE.search(value):
        raise ValueError("holds NUL or a lone surrogate")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Identifier = Annotated[Text, Field(min_length=1, max_length=ID_CHARS_MAX)]
OptionalIdentifier = Annotated[Text, Field(max_length=ID_CHARS_MAX)] | None
ShortText = Annotated[Text, Field(max_length=TEXT_FIELD_CHARS_MAX)]
Header = Annotated[Text, Field(max_length=HEADER_CHARS_MAX)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Event(BaseModel):
    """One fact. Consumers ignore fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    topic: ClassVar[str]
    schema_version: Literal[1] = 1

    @property
    def key(self) -> bytes:
        """The Kafka key: the lead's id, for locality only; order on a topic is not promised."""
        return str(getattr(self, "lead_id")).encode()  # noqa: B009 - every event has it, the base does not declare it

    def value(self) -> bytes:
        return self.model_dump_json().encode()


class LeadFields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    name: ShortText | None = None
    email: ShortText | None = None
    phone: ShortText | None = None
    timezone: ShortText | None = None
    locale: ShortText | None = None


class InboundMessage(Event):
    """Somebody wrote to a workspace (`inbound`), or somebody else answered for it (`outbound`)."""

    topic: ClassVar[str] = "inbound-message"
    schema_version: Literal[1]
    message_id: Identifier
    workspace_id: Identifier
    lead_id: Identifier
    channel: Channel
    received_at: AwareDatetime
    body: Text
    direction: Literal["inbound", "outbound"] = "inbound"
    sent_by: ShortText | None = None
    source: ShortText | None = None
    thread_id: OptionalIdentifier = None
    campaign_id: OptionalIdentifier = None
    subject: ShortText | None = None
    from_address: ShortText | None = None
    to_address: ShortText | None = None
    headers: dict[Header, Header] | None = Field(default=None, max_length=HEADER_COUNT_MAX)
    lead: LeadFields | None = None

    @field_validator("received_at", mode="before")
    @classmethod
    def _rfc3339(cls, value: object) -> object:
        if not isinstance(value, str | datetime):
            raise ValueError("is no RFC 3339 timestamp")
        return value

    @field_validator("received_at")
    @classmethod
    def _to_utc(cls, value: datetime) -> datetime:
        try:
            return value.astimezone(UTC)
        except OverflowError as error:  # year 1 or 9999 with an offset
            raise ValueError("is outside the calendar") from error

    @field_validator("body")
    @classmethod
    def _bounded(cls, value: str) -> str:
        if len(value) > BODY_BYTES_MAX or len(value.encode()) > BODY_BYTES_MAX:
            raise ValueError(f"is longer than {BODY_BYTES_MAX} bytes")
        return value


class DraftRequested(Event):
    """A message waits for a draft (internal)."""

    topic: ClassVar[str] = "draft-requested"
    event_id: UUID
    occurred_at: AwareDatetime
    workspace_id: Identifier
    lead_id: Identifier
    channel: Channel
    trigger_message_id: Identifier
    draft_id: UUID
    attempt: int = 1
    retry_of: UUID | None = None


class _DraftIds(Event):
    event_id: UUID
    occurred_at: AwareDatetime
    workspace_id: Identifier
    lead_id: Identifier
    channel: Channel
    campaign_id: OptionalIdentifier = None
    mode: Mode
    run_id: UUID
    draft_id: UUID
    trigger_message_id: Identifier


class DraftEvaluated(_DraftIds):
    """A draft was judged. `confidence` is null when the evaluator gave no usable answer."""

    topic: ClassVar[str] = "draft-evaluated"
    confidence: Probability | None
    threshold: Probability
    policy_revision: int
    hard_blocks: list[str]
    reasons: list[str]
    needs_revision: bool
    language: str | None
    draft_sha256: Sha256
    draft_chars: int
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    latency_ms: int


class RevisionResult(_DraftIds):
    """What became of the one revision that a draft may have. Exactly one per evaluated draft."""

    topic: ClassVar[str] = "revision-result"
    policy_revision: int
    outcome: RevisionOutcome
    attempted: bool
    applied: bool
    iterations: int = Field(ge=0, le=3)
    original_confidence: Probability | None
    revision_confidence: Probability | None
    confidence: Probability | None
    threshold: Probability
    selector_calls: int = Field(ge=0)
    reviser_calls: int = Field(ge=0)
    evaluation_calls: int = Field(ge=0)
    hard_blocks: list[str]
    draft_sha256: Sha256
    model: str | None
    reasoning_effort: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    latency_ms: int


class DraftOutcome(_DraftIds):
    """A change of a draft's fate. `sequence` orders the outcomes of one draft."""

    topic: ClassVar[str] = "draft-outcome"
    sequence: int = Field(ge=1)
    action: Action
    status: OutcomeStatus
    decided_by: DecidedBy
    reason: str
    confidence: Probability | None
    threshold: Probability | None
    policy_revision: int | None
    revision_applied: bool
    delivery_id: UUID | None = None
    provider_message_id: str | None = None
    edit_distance: int | None = None
    scheduled_for: AwareDatetime | None = None


class ReviewCommand(Event):
    """A person decided (internal). What they wrote is in `review_action`; the event carries ids only."""

    topic: ClassVar[str] = "review-command"
    event_id: UUID
    occurred_at: AwareDatetime
    workspace_id: Identifier
    lead_id: Identifier
    draft_id: UUID
    review_action_id: UUID


PUBLIC_EVENTS: dict[str, type[Event]] = {
    event.topic: event for event in (InboundMessage, DraftEvaluated, RevisionResult, DraftOutcome)
}
EVENTS: dict[str, type[Event]] = PUBLIC_EVENTS | {event.topic: event for event in (DraftRequested, ReviewCommand)}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the event on topic `name`. Raises KeyError for a topic without one."""
    schema = EVENTS[name].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": name}


def supported_versions() -> tuple[int, ...]:
    return get_args(InboundMessage.model_fields["schema_version"].annotation)
