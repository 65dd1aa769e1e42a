"""A delivery: fence, then one transaction that checks everything and takes the claim, then one call to the provider.

scheduled -> claimed -> sent | refused | unknown. A mail cannot be unsent: whatever is not certain is told to a person.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from agents.claiming import Ours, Settled, WriteFailed, claim
from agents.holding import meeting_obstacle
from agents.outcomes import add_event, draft_outcome, envelope, row_of, sha256_of
from agents.persist import persist
from agents.ports import ChannelAdapter, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from agents.rim import OutboxRow, Rim
from db import sql
from db.pool import Connection, transaction
from schemas.codes import Action, DecidedBy, DeliveryStatus, DraftStatus, KillSwitch, Mode, OutcomeStatus
from schemas.events import DraftOutcome
from schemas.ids import derive, message_row_id
from schemas.limits import (
    CLAIM_TO_CALL_S_MAX,
    DELIVERY_CALL_S_MAX,
    DELIVERY_LEASE_S,
    DELIVERY_RETRY_BASE_S,
    DELIVERY_RETRY_CAP_S,
    FENCE_S_MAX,
    REVIEW_S_MAX,
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Obstacle:
    """Why a send must not happen. `status` is the draft's fate; None: a person decides."""

    reason: str
    status: DraftStatus | None = None


def obstacle(rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record) -> Obstacle | None:
    """The first thing that stands against the send, as it is now. Pure but for the environment's switch."""
    automatic = delivery["automatic"]
    nobody_passes = (
        (now["status"] == DraftStatus.SENT and delivery["confirmed_by"] is None, Obstacle("already_sent")),
        (now["suppressed"], Obstacle("lead_suppressed", DraftStatus.SUPPRESSED)),
        (now["newer_inbound"], Obstacle("newer_inbound", DraftStatus.SUPERSEDED)),
        (now["answered"], Obstacle("answered", DraftStatus.SUPERSEDED)),
        (now["meeting_obstacle"] is not None, Obstacle(now["meeting_obstacle"] or "")),
        (delivery["content_sha256"] != sha256_of(delivery["content"]), Obstacle("text_changed")),
    )
    policy = (
        (now["send_off"] or rim.is_off(KillSwitch.AUTO_SEND_DISABLED), Obstacle("switched_off")),
        (now["content_sha256"] != delivery["content_sha256"], Obstacle("text_changed")),
        (bool(now["hard_blocks"]), Obstacle("hard_blocked")),
        (now["mode_now"] != Mode.AI_AUTO_SEND, Obstacle("mode_changed")),
        (now["newer_elsewhere"], Obstacle("newer_elsewhere")),
        ((now["auto_send_confidence"] or 0.0) < now["threshold_now"], Obstacle("policy_now_stricter")),
        (
            now["replies_last_hour"] >= now["auto_replies_per_hour_max"]
            or now["replies_last_day"] >= now["auto_replies_per_day_max"],
            Obstacle("too_many_replies"),
        ),
    )
    checks: tuple[tuple[bool, Obstacle], ...] = (*nobody_passes, *(policy if automatic else ()))
    return next((found for stands, found in checks if stands), None)


async def deliver(rim: Rim, delivery: asyncpg.Record) -> None:
    """Bring one leased delivery to its next status. Safe to call again after a crash at any point."""
    claimed = delivery["status"] == DeliveryStatus.CLAIMED
    adapter = rim.adapter(delivery["channel"], dict(delivery["channels"].get(delivery["channel"]) or {}))
    if adapter is None:
        await _finish(rim, delivery, DeliveryStatus.UNKNOWN if claimed else DeliveryStatus.CANCELLED, "no_adapter")
    elif claimed:
        await _recover(rim, delivery, adapter)
    elif not await rim.fence.passed(FENCE_S_MAX):
        await _later(rim, delivery, "fence_behind", None)
    else:
        await _claim_and_send(rim, delivery, adapter)


async def _claim_and_send(rim: Rim, delivery: asyncpg.Record, adapter: ChannelAdapter) -> None:
    found: list[Obstacle | None] = [None]
    seen: list[asyncpg.Record] = []

    async def write(connection: Connection, token: uuid.UUID) -> float | None:
        await sql.delivery.lock_lead.run(connection, workspace_id=delivery["workspace_id"], lead_id=delivery["lead_id"])
        standing = await sql.delivery.send_standing.row(connection, draft_id=delivery["draft_id"])
        found[0] = obstacle(rim, delivery, standing) if standing is not None else Obstacle("draft_erased")
        if standing is not None and found[0] is None and standing["scheduling"]:
            found[0] = await _about_meeting(connection, delivery, standing)
        if standing is None or found[0] is not None:
            return None
        seen[:] = [standing]
        claimed = await sql.delivery.claim_delivery_if_leased.value(
            connection,
            delivery_id=delivery["id"],
            epoch=delivery["lease_epoch"],
            token=token,
            owner=rim.process_id,
            lease_s=DELIVERY_LEASE_S,
        )
        return None if claimed is None else 0.0

    taken = await claim(rim, delivery["draft_id"], "delivery", write)
    claimed_at = time.monotonic()
    if isinstance(taken, Ours):
        await _send(rim, delivery, seen[-1], adapter, claimed_at - taken.age_s)
    elif found[0] is not None:
        await _obstructed(rim, delivery, found[0])
    elif isinstance(taken, Settled | WriteFailed):
        log.warning("delivery_claim_failed", delivery_id=str(delivery["id"]))


async def _about_meeting(connection: Connection, delivery: asyncpg.Record, standing: asyncpg.Record) -> Obstacle | None:
    code = await meeting_obstacle(connection, standing, delivery["content"], automatic=delivery["automatic"])
    return Obstacle(code) if code is not None else None


async def _send(
    rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record, adapter: ChannelAdapter, claimed_at: float
) -> None:
    """The provider call, with the idempotency key; refused when too much time passed since the claim."""
    outgoing = outgoing_of(delivery, now)
    waited_s = time.monotonic() - claimed_at
    result: SendResult
    if waited_s > CLAIM_TO_CALL_S_MAX:
        result = SendRefused("claim_too_old", temporary=True)
    else:
        result = await _call(adapter, outgoing)
    rim.crash_point("delivery.called")
    log.info("delivery_called", delivery_id=str(delivery["id"]), claim_to_call_ms=round(waited_s * 1000))
    await settle(rim, delivery, now, adapter, result)


async def _call(adapter: ChannelAdapter, outgoing: Outgoing) -> SendResult:
    """Whatever an adapter raises, the request may have gone out: nobody may take it for unsent."""
    try:
        return await adapter.send(outgoing, DELIVERY_CALL_S_MAX)
    except Exception as error:
        log.error("adapter_failed", channel=outgoing.channel, exc_info=error)
        return SendUnknown("adapter_failed")


async def _recover(rim: Rim, delivery: asyncpg.Record, adapter: ChannelAdapter) -> None:
    """A claimed delivery whose worker died: the provider may have it."""
    now = await sql.delivery.send_standing.row(rim.pool, draft_id=delivery["draft_id"])
    if now is not None:
        await settle(rim, delivery, now, adapter, SendUnknown("worker_died"))


async def settle(
    rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record, adapter: ChannelAdapter, result: SendResult
) -> None:
    """Record what the provider said; an unknown is looked up first."""
    if isinstance(result, SendUnknown):
        result = await _look_up(delivery, now, adapter, result)
    match result:
        case Sent(provider_message_id):
            await persist(rim, lambda: _record_sent(rim, delivery, now, provider_message_id))
        case SendRefused(code, temporary=True, retry_after_s=retry_after_s):
            await _later(rim, delivery, code, retry_after_s)
        case SendRefused(code):
            await _finish(rim, delivery, DeliveryStatus.REFUSED, code)
        case SendUnknown(code):
            await _finish(rim, delivery, DeliveryStatus.UNKNOWN, code)


async def _look_up(
    delivery: asyncpg.Record, now: asyncpg.Record, adapter: ChannelAdapter, unknown: SendUnknown
) -> SendResult:
    """What became of the key. "Not there" means "send again" only while the provider enforces it."""
    capabilities = adapter.capabilities
    found = None
    if capabilities.can_look_up:
        found = await _found(adapter, outgoing_of(delivery, now))
    if isinstance(found, Sent):
        return found
    claimed_at = delivery["claimed_at"] or now["now"]
    key_still_enforced = (now["now"] - claimed_at).total_seconds() < capabilities.key_window_s
    if key_still_enforced and (found is not None or not capabilities.can_look_up):
        return SendRefused(unknown.code, temporary=True)
    return unknown


async def _found(adapter: ChannelAdapter, outgoing: Outgoing) -> SendResult | None:
    try:
        return await adapter.look_up(outgoing, DELIVERY_CALL_S_MAX)
    except Exception as error:
        log.error("adapter_failed", channel=outgoing.channel, exc_info=error)
        return None


def outgoing_of(delivery: asyncpg.Record, now: asyncpg.Record) -> Outgoing:
    """The reply as it goes out. Recipient, thread and text come from the record, never from a model."""
    headers = {name.lower(): value for name, value in (now["headers"] or {}).items()}
    replied_to = headers.get("message-id")
    references = (*headers.get("references", "").split(), *([replied_to] if replied_to else []))
    return Outgoing(
        key=str(delivery["id"]),
        draft_id=uuid.UUID(int=delivery["draft_id"].int),
        workspace_id=delivery["workspace_id"],
        channel=delivery["channel"],
        recipient=delivery["recipient"],
        text=delivery["content"],
        subject=now["subject"],
        thread_id=delivery["thread_id"],
        in_reply_to=replied_to,
        references=references,
        automatic=delivery["automatic"],
        config=dict(now["channels"].get(delivery["channel"]) or {}),
        traceparent=now["traceparent"],
    )


async def _record_sent(rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record, provider_message_id: str) -> None:
    """Delivery, draft, outbound message, claim and event in one statement."""
    draft = await sql.draft.draft_by_id.row(rim.pool, draft_id=delivery["draft_id"])
    if draft is None:
        return
    event = _sent_event(draft, delivery, provider_message_id)
    written = envelope(event, event.event_id, draft["traceparent"])
    message = f"draft-pipeline:{delivery['id']}"
    outbox_id = await sql.delivery.record_sent.value(
        rim.pool,
        delivery_id=delivery["id"],
        epoch=delivery["lease_epoch"],
        provider_message_id=provider_message_id,
        draft_id=draft["id"],
        sequence=event.sequence,
        action=event.action,
        reason=event.reason,
        message_row_id=message_row_id(draft["workspace_id"], message),
        message_id=message,
        sent_by="reviewer" if delivery["edited"] else "ai",
        subject=now["subject"],
        **written,
    )
    rim.crash_point("delivery.settled")
    if outbox_id is not None:
        rim.publisher.publish([row_of(outbox_id, event.topic, written)])
        return
    standing = await sql.delivery.delivery_by_id.row(rim.pool, delivery_id=delivery["id"])
    if standing is not None and standing["status"] == "claimed" and standing["lease_epoch"] == delivery["lease_epoch"]:
        raise asyncpg.SerializationError  # the draft's sequence moved between: read it again and write again


def _sent_event(draft: asyncpg.Record, delivery: asyncpg.Record, provider_message_id: str) -> DraftOutcome:
    return draft_outcome(
        draft,
        run_id=draft["run_id"] or draft["id"],
        action=Action.SEND_DELAYED if delivery["delayed"] else Action.SEND_IMMEDIATE,
        status=OutcomeStatus.SENT,
        reason=draft["auto_send_reason"] or "sent",
        decided_by=DecidedBy.POLICY if delivery["automatic"] else DecidedBy.REVIEWER,
        delivery_id=delivery["id"],
        provider_message_id=provider_message_id,
    )


async def _fate(
    connection: Connection,
    draft: asyncpg.Record,
    delivery: asyncpg.Record,
    status: DraftStatus,
    outcome: OutcomeStatus,
    reason: str,
    *,
    action: Action,
) -> list[OutboxRow]:
    """The draft's new fate and its event."""
    await sql.draft.set_draft_fate.value(connection, draft_id=draft["id"], status=status, action=action, reason=reason)
    event = draft_outcome(
        draft,
        run_id=draft["run_id"] or draft["id"],
        action=action,
        status=outcome,
        reason=reason,
        decided_by=DecidedBy.POLICY if delivery["automatic"] else DecidedBy.REVIEWER,
        delivery_id=delivery["id"],
    )
    return await add_event(connection, event, draft["workspace_id"], draft["traceparent"])


async def _finish_row(
    connection: Connection,
    delivery: asyncpg.Record,
    status: DeliveryStatus,
    reason: str | None,
    provider_id: str | None,
) -> Any:
    return await sql.delivery.finish_delivery.value(
        connection,
        delivery_id=delivery["id"],
        epoch=delivery["lease_epoch"],
        status=status,
        reason=reason,
        provider_message_id=provider_id,
    )


async def _obstructed(rim: Rim, delivery: asyncpg.Record, found: Obstacle) -> None:
    if found.status is None:
        await _ask_person(rim, delivery, found.reason)
        return
    await persist(rim, lambda: _cancel(rim, delivery, found.reason, found.status or DraftStatus.SUPERSEDED))


async def _cancel(rim: Rim, delivery: asyncpg.Record, reason: str, status: DraftStatus) -> None:
    async with transaction(rim.pool) as connection:
        draft = await sql.draft.lock_draft.row(connection, draft_id=delivery["draft_id"])
        finished = await _finish_row(connection, delivery, DeliveryStatus.CANCELLED, reason, None)
        if draft is None or finished is None:
            return
        action = Action(draft["auto_send_action"] or Action.NONE)
        rows = await _fate(connection, draft, delivery, status, OutcomeStatus(status), reason, action=action)
        await sql.review.close_reviews.run(connection, draft_ids=[draft["id"]], status="superseded")
    rim.publisher.publish(rows)


async def _ask_person(rim: Rim, delivery: asyncpg.Record, reason: str) -> None:
    """The send is off; a person decides."""
    await _finish(rim, delivery, DeliveryStatus.CANCELLED, reason)


async def _finish(rim: Rim, delivery: asyncpg.Record, status: DeliveryStatus, reason: str) -> None:
    """Cancelled, refused or unknown: the delivery ends and a person is asked, with the reason."""
    outcome = {
        DeliveryStatus.CANCELLED: OutcomeStatus.AWAITING_REVIEW,
        DeliveryStatus.REFUSED: OutcomeStatus.REFUSED,
        DeliveryStatus.UNKNOWN: OutcomeStatus.UNKNOWN,
    }[status]
    draft_status = DraftStatus.UNKNOWN if status is DeliveryStatus.UNKNOWN else DraftStatus.PENDING

    async def write() -> None:
        async with transaction(rim.pool) as connection:
            draft = await sql.draft.lock_draft.row(connection, draft_id=delivery["draft_id"])
            finished = await _finish_row(connection, delivery, status, reason, None)
            if draft is None or finished is None or draft["status"] == DraftStatus.SENT:
                return
            action = Action.NEEDS_REVIEW
            rows = await _fate(connection, draft, delivery, draft_status, outcome, reason, action=action)
            await sql.review.open_review_if_absent.run(
                connection,
                review_id=derive("review", draft["id"]),
                draft_id=draft["id"],
                workspace_id=draft["workspace_id"],
                reason=reason,
                content_sha256=draft["content_sha256"],
                review_s=REVIEW_S_MAX,
            )
            await sql.delivery.settle_delivery_claim.run(connection, draft_id=draft["id"], outcome=status.value)
        rim.publisher.publish(rows)

    await persist(rim, write)


async def _later(rim: Rim, delivery: asyncpg.Record, reason: str, retry_after_s: float | None) -> None:
    """Try again with backoff, taking the claim again, until the age limit; then a person decides."""
    if await sql.delivery.is_past_age_limit.value(rim.pool, delivery_id=delivery["id"]):
        await _finish(rim, delivery, DeliveryStatus.REFUSED, reason)
        return
    attempts = delivery["attempts"]
    pause = max(min(DELIVERY_RETRY_CAP_S, DELIVERY_RETRY_BASE_S * 2.0 ** min(attempts, 10)), retry_after_s or 0.0)

    async def write() -> None:
        async with transaction(rim.pool) as connection:
            put_back = await sql.delivery.put_delivery_back.value(
                connection, delivery_id=delivery["id"], epoch=delivery["lease_epoch"], reason=reason, retry_s=pause
            )
            if put_back is not None:
                await sql.delivery.settle_delivery_claim.run(
                    connection, draft_id=delivery["draft_id"], outcome="refused"
                )

    await persist(rim, write)
