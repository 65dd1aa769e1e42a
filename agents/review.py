"""review-command -> draft-outcome: carry out what a person decided, on exactly what they saw."""

import uuid
from typing import Any

import asyncpg

from agents.fates import DONE, Dropped, Fate
from agents.hard_blocks import check_text, may_pass, pack_texts
from agents.holding import person_obstacle
from agents.outcomes import add_event, draft_outcome, sha256_of
from agents.persist import persist
from agents.rim import OutboxRow, Rim, Writer
from agents.starting import state_of
from agents.strangers import other_leads_in
from agents.undoing import UNDO, undo
from db import sql
from db.pool import Connection, transaction
from schemas.codes import Action, DecidedBy, DraftStatus, OutcomeStatus
from schemas.events import ReviewCommand
from schemas.ids import delivery_id

_DECIDABLE = (DraftStatus.PENDING, DraftStatus.SCHEDULED)


async def handle(event: ReviewCommand, rim: Rim) -> Fate:
    """One action, once: a repeated command finds it done."""
    outcome: list[tuple[list[OutboxRow], uuid.UUID | None]] = []

    async def write() -> str | None:
        async with transaction(rim.pool) as connection:
            action = await sql.review.review_action_by_id.row(connection, action_id=event.review_action_id)
            if action is None or action["done_at"] is not None:
                return "done_before"
            rows, delivery, result = await _carry_out(connection, action)
            await sql.review.finish_review_action.run(connection, action_id=action["id"], result=result)
            outcome[:] = [(rows, delivery)]
            return None

    dropped = await persist(rim, write)
    if dropped is not None:
        return Dropped(dropped)
    rows, delivery = outcome[0]
    rim.publisher.publish(rows)
    if delivery is not None:
        rim.deliver_soon()
    return DONE


async def _carry_out(connection: Connection, action: asyncpg.Record) -> tuple[list[OutboxRow], uuid.UUID | None, str]:
    """Returns the events, the delivery to make, and the result code."""
    unlocked = await sql.draft.draft_by_id.row(connection, draft_id=action["draft_id"])
    if unlocked is None:
        return [], None, "draft_erased"
    await sql.delivery.lock_lead.run(connection, workspace_id=unlocked["workspace_id"], lead_id=unlocked["lead_id"])
    draft = await sql.draft.lock_draft.one(connection, draft_id=action["draft_id"])
    if action["action"] == UNDO:
        result, rows = await undo(connection, draft)
        return rows, None, result
    now = await sql.delivery.send_standing.one(connection, draft_id=draft["id"])
    if action["action"] == "confirm_resend":
        return await _resend(connection, action, draft, now)
    if draft["auto_send_action"] == Action.NONE:
        return [], None, "refused_not_approvable"
    if draft["status"] not in _DECIDABLE:
        return [], None, f"refused_draft_{draft['status']}"
    if draft["status"] == DraftStatus.SCHEDULED and draft["auto_send_action"] == Action.SEND_IMMEDIATE:
        return [], None, "refused_already_approved"
    if action["action"] == "reject":
        rows = await _decided(
            connection, draft, action, DraftStatus.REJECTED, OutcomeStatus.REJECTED, Action.NONE, "rejected"
        )
        await sql.delivery.cancel_scheduled_deliveries.run(connection, draft_ids=[draft["id"]], reason="rejected")
        return rows, None, "rejected"
    obstacle = _changed(action, draft, now) or await _blocked(connection, action, draft)
    if obstacle is None and now["scheduling"]:
        obstacle = await person_obstacle(connection, now, action["edited_text"] if action["action"] == "edit" else None)
    if obstacle is not None:
        return [], None, f"refused_{obstacle}"
    return await _send(connection, action, draft)


def _changed(action: asyncpg.Record, draft: asyncpg.Record, now: asyncpg.Record) -> str | None:
    """What differs from what the person saw: text, recipient, newest inbound message, policy. Nobody passes these."""
    binding: dict[str, Any] = action["binding"] or {}
    if action["content_sha256"] is not None and action["content_sha256"] != draft["content_sha256"]:
        return "text_changed"
    if "recipient_sha256" in binding and binding["recipient_sha256"] != sha256_of(draft["recipient"] or ""):
        return "recipient_changed"
    if now["newer_inbound"]:
        return "newer_inbound"
    if now["answered"]:
        return "answered"
    if now["suppressed"]:
        return "lead_suppressed"
    if "policy_revision" in binding and binding["policy_revision"] != now["policy_now"]:
        return "policy_changed"
    return None


async def _blocked(connection: Connection, action: asyncpg.Record, draft: asyncpg.Record) -> str | None:
    """The rule that forbids even a person to send this text: safety always, a claim whose place was not shown."""
    context = await sql.run.run_with_context.row(connection, run_id=draft["run_id"])
    text = action["edited_text"] if action["action"] == "edit" else draft["content"]
    if context is None:
        return "context_gone"
    state = state_of(context)
    packed, scheduling = pack_texts(state.pack), draft["scheduling"]
    checked = check_text(text or "", state.snapshot, packed, language=draft["language"], scheduling=scheduling)
    blocks = (*await other_leads_in(connection, text or "", state, checked), *checked)
    shown = (
        {(block["start"], block["end"]) for block in draft["hard_blocks"]} if action["action"] == "approve" else set()
    )
    return next((str(block.rule) for block in blocks if not may_pass(block, automatic=False, shown_spans=shown)), None)


async def _send(
    connection: Connection, action: asyncpg.Record, draft: asyncpg.Record
) -> tuple[list[OutboxRow], uuid.UUID | None, str]:
    edited = action["action"] == "edit"
    text = action["edited_text"] if edited else draft["content"]
    await sql.delivery.cancel_scheduled_deliveries.run(connection, draft_ids=[draft["id"]], reason="approved")
    delivery = await _insert_delivery(connection, action, draft, text, edited=edited)
    if delivery is None:
        return [], None, "refused_delivery_exists"
    if edited:
        await sql.draft.set_draft_text.run(
            connection, draft_id=draft["id"], content=text, content_sha256=sha256_of(text)
        )
    status = OutcomeStatus.EDITED if edited else OutcomeStatus.APPROVED
    rows = await _decided(
        connection,
        draft,
        action,
        DraftStatus.SCHEDULED,
        status,
        Action.SEND_IMMEDIATE,
        status.value,
        edit_distance=_edit_distance(draft["content"] or "", text) if edited else None,
        delivery_id=delivery,
    )
    return rows, delivery, status.value


async def _insert_delivery(
    connection: Connection, action: asyncpg.Record, draft: asyncpg.Record, text: str, *, edited: bool
) -> uuid.UUID | None:
    confirmed = action["actor"] if action["action"] == "confirm_resend" else None
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


async def _resend(
    connection: Connection, action: asyncpg.Record, draft: asyncpg.Record, now: asyncpg.Record
) -> tuple[list[OutboxRow], uuid.UUID | None, str]:
    """A person confirmed a second send of a draft that may have been sent, as they were shown it."""
    if draft["status"] != DraftStatus.UNKNOWN:
        return [], None, f"refused_draft_{draft['status']}"
    if (changed := _changed(action, draft, now)) is not None:
        return [], None, f"refused_{changed}"
    edited = bool(await sql.delivery.text_was_edited.value(connection, draft_id=draft["id"]))
    delivery = await _insert_delivery(connection, action, draft, draft["content"], edited=edited)
    if delivery is None:
        return [], None, "refused_delivery_exists"
    rows = await _decided(
        connection,
        draft,
        action,
        DraftStatus.SCHEDULED,
        OutcomeStatus.APPROVED,
        Action.SEND_IMMEDIATE,
        "confirmed_resend",
        delivery_id=delivery,
    )
    return rows, delivery, "confirmed_resend"


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


def _edit_distance(before: str, after: str) -> int:
    """Levenshtein distance in characters (Wagner and Fischer, 1974), two rows at a time."""
    previous = list(range(len(after) + 1))
    for row, left in enumerate(before, 1):
        current = [row]
        for column, right in enumerate(after, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (left != right)))
        previous = current
    return previous[-1]


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
