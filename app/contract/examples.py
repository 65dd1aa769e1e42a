"""One valid event per public topic: the story of one message. Every name in it is invented."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agents.rim import headers_of
from schemas.codes import Action, Channel, DecidedBy, Mode, OutcomeStatus, RevisionOutcome
from schemas.events import DraftEvaluated, DraftOutcome, Event, InboundMessage, RevisionResult
from schemas.ids import derive, event_id

_ARRIVED: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_DRAFT: Final = derive("draft", "example")
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_IDS: Final[dict[str, Any]] = {
    "workspace_id": "ws-1",
    "lead_id": "lead-7",
    "channel": Channel.EMAIL,
    "campaign_id": None,
    "mode": Mode.AI_AUTO_SEND,
    "run_id": derive("run", "example"),
    "draft_id": _DRAFT,
    "trigger_message_id": "m-1001",
}

EXAMPLES: Final[dict[str, Event]] = {
    example.topic: example
    for example in (
        InboundMessage.model_validate(
            {
                "schema_version": 1,
                "message_id": "m-1001",
                "workspace_id": "ws-1",
                "lead_id": "lead-7",
                "channel": "email",
                "received_at": _ARRIVED,
                "body": "Hello, can a board be shared with people who have no account?",
                "thread_id": "t-55",
                "subject": "Sharing a board",
                "from_address": "ann@example.org",
                "to_address": "hello@example.com",
                "lead": {"name": "Ann Example", "email": "ann@example.org", "locale": "en"},
            }
        ),
        DraftEvaluated(
            event_id=event_id("draft-evaluated", _DRAFT),
            occurred_at=_ARRIVED + timedelta(seconds=12),
            **_IDS,
            confidence=0.86,
            threshold=0.9,
            policy_revision=2,
            hard_blocks=[],
            reasons=["confidence_below_threshold"],
            needs_revision=True,
            language="en",
            draft_sha256=_SHA256,
            draft_chars=214,
            model="gpt-5.2",
            input_tokens=4120,
            output_tokens=380,
            cost_usd=0.0125,
            latency_ms=6840,
        ),
        RevisionResult(
            event_id=event_id("revision-result", _DRAFT),
            occurred_at=_ARRIVED + timedelta(seconds=19),
            **_IDS,
            policy_revision=2,
            outcome=RevisionOutcome.APPLIED,
            attempted=True,
            applied=True,
            iterations=1,
            original_confidence=0.86,
            revision_confidence=0.95,
            confidence=0.95,
            threshold=0.9,
            selector_calls=1,
            reviser_calls=1,
            evaluation_calls=1,
            hard_blocks=[],
            draft_sha256=_SHA256,
            model="gpt-5.2",
            reasoning_effort="high",
            input_tokens=3050,
            output_tokens=260,
            cost_usd=0.0089,
            latency_ms=7010,
        ),
        DraftOutcome(
            event_id=event_id("draft-outcome", _DRAFT, 1),
            occurred_at=_ARRIVED + timedelta(seconds=20),
            **_IDS,
            sequence=1,
            action=Action.SEND_IMMEDIATE,
            status=OutcomeStatus.SENT,
            decided_by=DecidedBy.POLICY,
            reason="confident",
            confidence=0.95,
            threshold=0.9,
            policy_revision=2,
            revision_applied=True,
            delivery_id=derive("delivery", "example"),
            provider_message_id="provider-1",
        ),
    )
}


def payload(topic: str) -> dict[str, Any]:
    """The example as JSON. A producer leaves out what it does not know; we write every field."""
    return EXAMPLES[topic].model_dump(mode="json", exclude_defaults=topic == InboundMessage.topic)


def headers(topic: str) -> dict[str, str]:
    """The headers of the example's record."""
    event = EXAMPLES[topic]
    if isinstance(event, InboundMessage):
        return {
            "ce_id": f"{event.workspace_id}/{event.message_id}",
            "ce_type": "com.example.message.received",
            "ce_source": "/example/mailbox",
            "ce_specversion": "1.0",
            "ce_time": "2026-03-02T09:00:00Z",
            "content-type": "application/json",
            "traceparent": _TRACE,
        }
    return headers_of(event, getattr(event, "event_id"), _TRACE)  # noqa: B009 - every event of ours has it
