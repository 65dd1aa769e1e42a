"""The events on our topics. Frozen, versioned, without any message or draft text except `InboundMessage.body`."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator

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

# What the data dictionary says beside a field's meaning.
_UTC: dict[str, JsonValue] = {"unit": "UTC"}
_MS: dict[str, JsonValue] = {"unit": "ms"}
_USD: dict[str, JsonValue] = {"unit": "USD"}
_TOKENS: dict[str, JsonValue] = {"unit": "tokens"}
_BCP47: dict[str, JsonValue] = {"unit": "BCP 47"}
# Language, script and region (RFC 5646): what a model says may be anything, and no text of it goes on a topic.
LANGUAGE_TAG: Final = r"^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-[A-Za-z]{2})?(-[0-9]{3})?$"
_IANA: dict[str, JsonValue] = {"unit": "IANA time zone"}
_EVENT_ID = "The same for every repeat of this event: drop duplicates by it"


class Event(BaseModel):
    """One fact. Consumers ignore fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    topic: ClassVar[str]
    schema_version: Literal[1] = Field(default=1, description="Version of this contract")

    @property
    def key(self) -> bytes:
        """The Kafka key: the lead's id, for locality only; order on a topic is not promised."""
        return str(getattr(self, "lead_id")).encode()  # noqa: B009 - every event has it, the base does not declare it

    def value(self) -> bytes:
        return self.model_dump_json().encode()


class LeadFields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    name: ShortText | None = Field(default=None, description="What the lead is called")
    email: ShortText | None = Field(default=None, description="The lead's mail address")
    phone: ShortText | None = Field(default=None, description="The lead's phone number")
    timezone: ShortText | None = Field(default=None, description="Where the lead's clock is", json_schema_extra=_IANA)
    locale: ShortText | None = Field(default=None, description="The lead's language", json_schema_extra=_BCP47)


class InboundMessage(Event):
    """Somebody wrote to a workspace (`inbound`), or somebody else answered for it (`outbound`)."""

    topic: ClassVar[str] = "inbound-message"
    schema_version: Literal[1] = Field(description="Version of this contract")
    message_id: Identifier = Field(description="The producer's own id, unique in the workspace; a repeat is dropped")
    workspace_id: Identifier = Field(description="The tenant; an unknown one makes a dead letter")
    lead_id: Identifier = Field(description="Who wrote, or was written to; opaque, the same for all their messages")
    channel: Channel = Field(description="How the message travels")
    received_at: AwareDatetime = Field(description="When it arrived at the producer", json_schema_extra=_UTC)
    body: Text = Field(description="The message itself, may be empty", json_schema_extra={"maxBytes": BODY_BYTES_MAX})
    direction: Literal["inbound", "outbound"] = Field(
        default="inbound", description="`outbound` says that a person or another system answered"
    )
    sent_by: ShortText | None = Field(default=None, description="Who sent it, of outbound records")
    source: ShortText | None = Field(default=None, description="Which system sent it, of outbound records")
    thread_id: OptionalIdentifier = Field(default=None, description="The conversation within lead and channel")
    campaign_id: OptionalIdentifier = Field(default=None, description="The campaign, which may set the mode")
    subject: ShortText | None = Field(default=None, description="Subject of a mail")
    from_address: ShortText | None = Field(default=None, description="Where it came from, and a reply goes to")
    to_address: ShortText | None = Field(default=None, description="Where it was sent to")
    headers: dict[Header, Header] | None = Field(
        default=None, max_length=HEADER_COUNT_MAX, description="Mail headers, names in any case"
    )
    lead: LeadFields | None = Field(default=None, description="What is known of the lead")

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
    event_id: UUID = Field(description=_EVENT_ID)
    occurred_at: AwareDatetime = Field(description="When it became true", json_schema_extra=_UTC)
    workspace_id: Identifier = Field(description="The tenant")
    lead_id: Identifier = Field(description="Who wrote; opaque")
    channel: Channel = Field(description="How the message travels")
    trigger_message_id: Identifier = Field(description="The message that wants a draft")
    draft_id: UUID = Field(description="The draft to be")
    attempt: int = Field(default=1, description="Above 1: a failed run is tried again")
    retry_of: UUID | None = Field(default=None, description="The run that failed")


class _DraftIds(Event):
    event_id: UUID = Field(description=_EVENT_ID)
    occurred_at: AwareDatetime = Field(description="When it became true", json_schema_extra=_UTC)
    workspace_id: Identifier = Field(description="The tenant")
    lead_id: Identifier = Field(description="Who wrote; opaque")
    channel: Channel = Field(description="How the message travels")
    campaign_id: OptionalIdentifier = Field(default=None, description="The campaign, null without one")
    mode: Mode = Field(description="The mode in force for the message")
    run_id: UUID = Field(description="The run that did it")
    draft_id: UUID = Field(description="The draft, the same in all its events")
    trigger_message_id: Identifier = Field(description="The message that the draft answers")


class DraftEvaluated(_DraftIds):
    """A draft was judged. `confidence` is null when the evaluator gave no usable answer."""

    topic: ClassVar[str] = "draft-evaluated"
    confidence: Probability | None = Field(description="Confidence of the first text, null without a usable answer")
    threshold: Probability = Field(description="Confidence that the policy asks for")
    policy_revision: int = Field(description="Policy revision in force for the run")
    hard_blocks: list[str] = Field(description="Codes of the rules that forbid sending the text, each once")
    reasons: list[str] = Field(description="Codes of what the judgement says")
    needs_revision: bool = Field(description="Below the threshold, and no rule forbids the text")
    language: str | None = Field(
        pattern=LANGUAGE_TAG, description="Language of the lead as the strategy names it", json_schema_extra=_BCP47
    )
    draft_sha256: Sha256 = Field(description="SHA-256 of the text, hexadecimal")
    draft_chars: int = Field(description="Length of the text", json_schema_extra={"unit": "characters"})
    model: str = Field(description="The model that wrote the text")
    input_tokens: int = Field(description="Tokens read so far in this run", json_schema_extra=_TOKENS)
    output_tokens: int = Field(description="Tokens written so far in this run", json_schema_extra=_TOKENS)
    cost_usd: float | None = Field(description="What that cost, null when a price is unknown", json_schema_extra=_USD)
    latency_ms: int = Field(description="From the start of the run to the judgement", json_schema_extra=_MS)


class RevisionResult(_DraftIds):
    """What became of the one revision that a draft may have. Exactly one per evaluated draft."""

    topic: ClassVar[str] = "revision-result"
    policy_revision: int = Field(description="Policy revision in force for the run")
    outcome: RevisionOutcome = Field(
        description="What became of the revision; where several fit, the first of a fixed order"
    )
    attempted: bool = Field(description="The revision was claimed")
    applied: bool = Field(description="A revised text took the place of the first")
    iterations: int = Field(ge=0, le=3, description="Iterations that were judged")
    original_confidence: Probability | None = Field(description="Confidence of the first text")
    revision_confidence: Probability | None = Field(description="Best confidence of a revised text, null without one")
    confidence: Probability | None = Field(description="Confidence of the text that goes on")
    threshold: Probability = Field(description="Confidence that the policy asks for")
    selector_calls: int = Field(ge=0, description="Calls of the selector, definite refusals not counted")
    reviser_calls: int = Field(ge=0, description="Calls of the reviser, definite refusals not counted")
    evaluation_calls: int = Field(ge=0, description="Re-evaluations, definite refusals not counted")
    hard_blocks: list[str] = Field(description="Codes of the rules that forbid sending the text that goes on")
    draft_sha256: Sha256 = Field(description="SHA-256 of the text that goes on, hexadecimal")
    model: str | None = Field(description="The model of the revision, null when none was attempted")
    reasoning_effort: str | None = Field(description="Its effort, null when none was attempted")
    input_tokens: int = Field(description="Tokens read for the revision", json_schema_extra=_TOKENS)
    output_tokens: int = Field(description="Tokens written for the revision", json_schema_extra=_TOKENS)
    cost_usd: float | None = Field(
        description="What the revision cost, null when a price is unknown", json_schema_extra=_USD
    )
    latency_ms: int = Field(
        description="From the judgement to this result, 0 when none was attempted", json_schema_extra=_MS
    )


class DraftOutcome(_DraftIds):
    """A change of a draft's fate. `sequence` orders the outcomes of one draft."""

    topic: ClassVar[str] = "draft-outcome"
    sequence: int = Field(ge=1, description="Numbers the outcomes of one draft; order on the topic is not promised")
    action: Action = Field(description="The decision in force")
    status: OutcomeStatus = Field(description="What became of the draft")
    decided_by: DecidedBy = Field(description="The policy, or a person")
    reason: str = Field(description="Code of the reason")
    confidence: Probability | None = Field(description="Confidence that drove the decision")
    threshold: Probability | None = Field(description="Confidence that the policy asks for")
    policy_revision: int | None = Field(description="Policy revision that decided")
    revision_applied: bool = Field(description="The text is a revised one")
    delivery_id: UUID | None = Field(default=None, description="The delivery, when there is one")
    provider_message_id: str | None = Field(default=None, description="What the provider calls what it took")
    edit_distance: int | None = Field(
        default=None, description="How much a person changed (Levenshtein)", json_schema_extra={"unit": "characters"}
    )
    scheduled_for: AwareDatetime | None = Field(
        default=None, description="When a delayed send is due", json_schema_extra=_UTC
    )


class ReviewCommand(Event):
    """A person decided (internal). What they wrote is in `review_action`; the event carries ids only."""

    topic: ClassVar[str] = "review-command"
    event_id: UUID = Field(description=_EVENT_ID)
    occurred_at: AwareDatetime = Field(description="When the person decided", json_schema_extra=_UTC)
    workspace_id: Identifier = Field(description="The tenant")
    lead_id: Identifier = Field(description="Who wrote; opaque")
    draft_id: UUID = Field(description="The draft that was decided on")
    review_action_id: UUID = Field(description="The action, with what the person wrote, in Postgres")


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
