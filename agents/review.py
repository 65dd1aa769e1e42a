"""review-command -> draft-outcome: carry out what a person decided, on exactly what they saw."""

import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from agents.approval import binding_in, blocks_of, changed, forbidding
from agents.draft import blocks_as_rows
from agents.edit_distance import edit_distance
from agents.fates import DONE, Dropped, Fate
from agents.hard_blocks import HardBlock
from agents.holding import person_obstacle
from agents.outcomes import add_event, draft_outcome, sha256_of
from agents.persist import persist
from agents.rim import OutboxRow, Rim, Writer
from agents.undoing import undo
from db import sql
from db.pool import Connection, transaction
from schemas.codes import Action, DecidedBy, DeliveryStatus, DraftStatus, OutcomeStatus, ReviewAction
from schemas.events import ReviewCommand
from schemas.ids import delivery_id

_DECIDABLE: Final = (DraftStatus.PENDING, DraftStatus.SCHEDULED)


@dataclass(frozen=True)
class Carried:
    """What came of an action: its result code, the events, the delivery to make, the blocks that the person passed."""

    result: str
    rows: list[OutboxRow] = field(default_factory=list)
    delivery: uuid.UUID | None = None
    passed: tuple[HardBlock, ...] = ()


async def handle(event: ReviewCommand, rim: Rim) -> Fate:
    """One action, once: a repeated command finds it done."""

    async def write() -> Carried | None:
        async with transaction(rim.pool) as connection:
            action = await sql.review.review_action_by_id.row(connection, action_id=event.review_action_id)
            if action is None or action["done_at"] is not None:
                return None
            carried = await _carry_out(connection, action)
            await sql.review.finish_review_action.run(connection, action_id=action["id"], result=carried.result)
            if carried.passed:
                passed = blocks_as_rows(carried.passed)
                await sql.review.keep_passed_blocks.run(connection, action_id=action["id"], passed=passed)
            return carried

    carried = await persist(rim, write)
    if carried is None:
        return Dropped("done_before")
    rim.publisher.publish(carried.rows)
    if carried.delivery is not None:
        rim.deliver_soon()
    return DONE


async def _carry_out(connection: Connection, action: asyncpg.Record) -> Carried:
    unlocked = await sql.draft.draft_by_id.row(connection, draft_id=action["draft_id"])
    if unlocked is None:
        return Carried("draft_erased")
    await sql.delivery.lock_lead.run(connection, workspace_id=unlocked["workspace_id"], lead_id=unlocked["lead_id"])
    draft = await sql.draft.lock_draft.one(connection, draft_id=action["draft_id"])
    if action["action"] == ReviewAction.UNDO:
        result, rows = await undo(connection, draft)
        return Carried(result, rows)
    sending = await sql.review.lock_send_under_way.row(connection, draft_id=draft["id"])
    obstacle = _undecidable(action, draft, sending)
    if obstacle is not None:
        return Carried(f"refused_{obstacle}")
    if action["action"] == ReviewAction.REJECT:
        return await _reject(connection, action, draft)
    now = await sql.delivery.send_standing.one(connection, draft_id=draft["id"])
    binding = binding_in(action)
    if binding is None:
        return Carried("refused_not_bound")
    obstacle = changed(binding, action["created_at"], draft, now)
    if obstacle is not None:
        return Carried(f"refused_{obstacle}")
    edited = action["action"] == ReviewAction.EDIT
    text = action["edited_text"] if edited else draft["content"] or ""
    blocks = await blocks_of(connection, draft["id"], text)
    if blocks is None:
        return Carried("refused_context_gone")
    forbidden = forbidding(blocks, binding, text, edited=edited)
    if forbidden is not None:
        return Carried(f"refused_{forbidden.rule}")
    obstacle = await person_obstacle(connection, now, text if edited else None) if now["scheduling"] else None
    if obstacle is not None:
        return Carried(f"refused_{obstacle}")
    return await _send(connection, action, draft, text, blocks)


def _undecidable(action: asyncpg.Record, draft: asyncpg.Record, sending: asyncpg.Record | None) -> str | None:
    """Why this cannot be done to a draft in this state. What a person decided or a provider may have is not undone."""
    if sending is not None and sending["status"] == DeliveryStatus.CLAIMED:
        return "being_sent"
    if draft["status"] == DraftStatus.UNKNOWN:
        settles = (ReviewAction.CONFIRM_RESEND, ReviewAction.REJECT)
        return None if action["action"] in settles else "draft_unknown"
    if action["action"] == ReviewAction.CONFIRM_RESEND or draft["status"] not in _DECIDABLE:
        return f"draft_{draft['status']}"
    approved = draft["status"] == DraftStatus.SCHEDULED and draft["auto_send_action"] == Action.SEND_IMMEDIATE
    if approved or (sending is not None and not sending["automatic"]):
        return "already_approved"
    return "not_approvable" if draft["auto_send_action"] == Action.NONE else None


async def _reject(connection: Connection, action: asyncpg.Record, draft: asyncpg.Record) -> Carried:
    """The draft ends unsent. One that may have been sent stays what it is; only the question is closed."""
    if draft["status"] == DraftStatus.UNKNOWN:
        await sql.review.close_reviews.run(connection, draft_ids=[draft["id"]], status="decided")
        return Carried("left_unknown")
    await sql.delivery.cancel_scheduled_deliveries.run(connection, draft_ids=[draft["id"]], reason="rejected")
    rows = await _decided(
        connection, draft, action, DraftStatus.REJECTED, OutcomeStatus.REJECTED, Action.NONE, "rejected"
    )
    return Carried("rejected", rows)


async def _send(
    connection: Connection, action: asyncpg.Record, draft: asyncpg.Record, text: str, blocks: tuple[HardBlock, ...]
) -> Carried:
    """A delivery of the text in the person's name; `confirm_resend` makes a second one of what may have been sent."""
    edited = action["action"] == ReviewAction.EDIT
    resent = action["action"] == ReviewAction.CONFIRM_RESEND
    await sql.delivery.cancel_scheduled_deliveries.run(connection, draft_ids=[draft["id"]], reason="approved")
    own_text = edited or (resent and bool(await sql.delivery.text_was_edited.value(connection, draft_id=draft["id"])))
    delivery = await _insert_delivery(connection, action, draft, text, edited=own_text)
    if delivery is None:
        return Carried("refused_delivery_exists")
    if edited:
        await sql.draft.set_draft_text.run(
            connection,
            draft_id=draft["id"],
            content=text,
            content_sha256=sha256_of(text),
            hard_blocks=blocks_as_rows(blocks),
        )
    status = OutcomeStatus.EDITED if edited else OutcomeStatus.APPROVED
    result = "confirmed_resend" if resent else status.value
    rows = await _decided(
        connection,
        draft,
        action,
        DraftStatus.SCHEDULED,
        status,
        Action.SEND_IMMEDIATE,
        result,
        edit_distance=edit_distance(draft["content"] or "", text) if edited else None,
        delivery_id=delivery,
    )
    return Carried(result, rows, delivery, blocks)


async def _insert_delivery(
    connection: Connection, action: asyncpg.Record, draft: asyncpg.Record, text: str, *, edited: bool
) -> uuid.UUID | None:
    confirmed = action["actor"] if action["action"] == ReviewAction.CONFIRM_RESEND else None
    inserted: uuid.UUID | None = await sql.delivery.insert_delivery.value(
        connection,
        delivery_id=delivery_id(draft["id"], 1_000 + draft["outcome_sequence"]),
        draft_id=draft["id"],
        workspace_id=draft["workspace_id"],
        lead_id=draft["lead_id"],
        trigger_message_id=draft["trigger_message_id"],
        channel=draft["channel"],
        thread_id=draft["thread_id"],
        recipient=draft["recipient"],
        content=text,
        content_sha256=sha256_of(text),
        approved_by=action["actor"],
        approved_via=action["via"],
        edited=edited,
        confirmed_by=confirmed,
    )
    return inserted


async def _decided(
    connection: Connection,
    draft: asyncpg.Record,
    action: asyncpg.Record,
    status: DraftStatus,
    outcome: OutcomeStatus,
    what: Action,
    reason: str,
    **more: Any,
) -> list[OutboxRow]:
    await sql.draft.set_draft_fate.value(connection, draft_id=draft["id"], status=status, action=what, reason=reason)
    await sql.review.close_reviews.run(connection, draft_ids=[draft["id"]], status="decided")
    event = draft_outcome(
        draft,
        run_id=draft["run_id"] or draft["id"],
        action=what,
        status=outcome,
        reason=reason,
        decided_by=DecidedBy.REVIEWER,
        **more,
    )
    return await add_event(connection, event, draft["workspace_id"], draft["traceparent"])


async def expire_reviews(rim: Writer, limit: int) -> int:
    """Requests nobody answered in time: the draft is expired and stays in the queue as such; returns how many."""
    async with transaction(rim.pool) as connection:
        rows: list[OutboxRow] = []
        expired = await sql.review.take_expired_reviews.rows(connection, limit=limit)
        for request in expired:
            draft = await sql.draft.lock_draft.row(connection, draft_id=request["draft_id"])
            if draft is None or draft["status"] != DraftStatus.PENDING:
                continue
            await sql.draft.set_draft_fate.value(
                connection,
                draft_id=draft["id"],
                status=DraftStatus.EXPIRED,
                action=Action.NEEDS_REVIEW,
                reason="review_expired",
            )
            event = draft_outcome(
                draft,
                run_id=draft["run_id"] or draft["id"],
                action=Action.NEEDS_REVIEW,
                status=OutcomeStatus.EXPIRED,
                reason="review_expired",
            )
            rows += await add_event(connection, event, draft["workspace_id"], draft["traceparent"])
    rim.publisher.publish(rows)
    return len(expired)
