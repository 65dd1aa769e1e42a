"""The events that tell what was decided, built from what is recorded. No text of a message or a draft gets in."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg

from agents.rim import OutboxRow, headers_of
from db import sql
from db.pool import Connection
from schemas.codes import Action, DecidedBy, OutcomeStatus
from schemas.events import DraftOutcome, Event
from schemas.ids import event_id
from schemas.limits import OUTBOX_TAKEN_S


def sha256_of(text: str) -> str:
    """Hash of the exact bytes of a text; hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def envelope(event: Event, identity: uuid.UUID, traceparent: str | None) -> dict[str, Any]:
    """The arguments with which every statement that writes an event names it."""
    return {
        "event_id": identity,
        "key": event.key,
        "value": event.value(),
        "headers": headers_of(event, identity, traceparent),
        "taken_s": OUTBOX_TAKEN_S,
    }


def row_of(outbox_id: int, topic: str, written: dict[str, Any]) -> OutboxRow:
    return OutboxRow(outbox_id, topic, written["key"], written["value"], written["headers"])


def draft_outcome(
    draft: asyncpg.Record | dict[str, Any],
    *,
    run_id: uuid.UUID,
    action: Action,
    status: OutcomeStatus,
    reason: str,
    decided_by: DecidedBy = DecidedBy.POLICY,
    sequence: int | None = None,
    **more: Any,
) -> DraftOutcome:
    """The next outcome of a draft, from its row; `sequence` is one more than the row's."""
    number = sequence if sequence is not None else draft["outcome_sequence"] + 1
    return DraftOutcome(
        event_id=event_id("draft-outcome", draft["id"], number),
        occurred_at=datetime.now(UTC),
        workspace_id=draft["workspace_id"],
        lead_id=draft["lead_id"],
        channel=draft["channel"],
        campaign_id=draft["campaign_id"],
        mode=draft["mode"],
        run_id=run_id,
        draft_id=draft["id"],
        trigger_message_id=draft["trigger_message_id"],
        sequence=number,
        action=action,
        status=status,
        decided_by=decided_by,
        reason=reason,
        confidence=draft["auto_send_confidence"],
        threshold=draft["auto_send_threshold"],
        policy_revision=draft["policy_revision"],
        revision_applied=draft["auto_send_revision_applied"],
        **more,
    )


async def add_event(connection: Connection, event: Any, workspace_id: str, traceparent: str | None) -> list[OutboxRow]:
    """Write an event into the outbox within the caller's transaction; publish the row after the commit."""
    written = envelope(event, event.event_id, traceparent)
    row_id = await sql.outbox.add_event.value(connection, topic=event.topic, workspace_id=workspace_id, **written)
    return [OutboxRow(row_id, event.topic, written["key"], written["value"], written["headers"])] if row_id else []
