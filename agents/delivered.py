"""What became of a provider call, on record: sent, refused or unknown, tried or looked up again, told to a person."""

from typing import Any

import asyncpg
import structlog

from agents.obstacles import staleness
from agents.outcomes import add_event, draft_outcome, envelope, row_of
from agents.outgoing import outgoing_of
from agents.persist import persist
from agents.ports import LOOK_UP_FAILED, ChannelAdapter, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from agents.rim import OutboxRow, Rim
from db import sql
from db.pool import Connection, transaction
from schemas.codes import Action, DecidedBy, DeliveryStatus, DraftStatus, OutcomeStatus
from schemas.events import DraftOutcome
from schemas.ids import derive, message_row_id
from schemas.limits import (
    DELIVERY_RETRY_BASE_S,
    DELIVERY_RETRY_CAP_S,
    LOOK_UP_CALL_S_MAX,
    LOOK_UP_PAUSE_S,
    LOOK_UP_S_MAX,
)

log = structlog.get_logger()


async def settle(
    rim: Rim,
    delivery: asyncpg.Record,
    now: asyncpg.Record,
    adapter: ChannelAdapter,
    result: SendResult,
    called_ms: int | None = None,
) -> None:
    """Record what the provider said; an unknown is looked up first, for as long as that may still tell something."""
    code = result.code if isinstance(result, SendUnknown) else None
    if code is not None:
        claimed_at = delivery["claimed_at"] if delivery["status"] == DeliveryStatus.CLAIMED else now["now"]
        claimed_s = (now["now"] - claimed_at).total_seconds()
        result = await _look_up(delivery, now, adapter, code, claimed_s)
        if isinstance(result, SendUnknown) and result.code == LOOK_UP_FAILED and claimed_s < LOOK_UP_S_MAX:
            await persist(rim, lambda: _ask_provider_later(rim, delivery, code))
            return
    match result:
        case Sent(provider_message_id):
            await persist(rim, lambda: _record_sent(rim, delivery, now, provider_message_id, called_ms))
        case SendRefused(reason, temporary=True, retry_after_s=retry_after_s):
            await later(rim, delivery, reason, retry_after_s)
        case SendRefused(reason):
            await finish(rim, delivery, DeliveryStatus.REFUSED, reason, called_ms)
        case SendUnknown(reason):
            await finish(rim, delivery, DeliveryStatus.UNKNOWN, code or reason, called_ms)


async def _look_up(
    delivery: asyncpg.Record, now: asyncpg.Record, adapter: ChannelAdapter, code: str, claimed_s: float
) -> SendResult:
    """What became of the key, `claimed_s` seconds after its claim. "Not there" means "send again" only while the
    provider enforces it."""
    capabilities = adapter.capabilities
    found = await _found(adapter, outgoing_of(delivery, now)) if capabilities.can_look_up else None
    if isinstance(found, Sent | SendUnknown):
        return found
    if claimed_s < capabilities.key_window_s and (found is not None or not capabilities.can_look_up):
        return SendRefused(code, temporary=True)
    return SendUnknown(code)


async def _found(adapter: ChannelAdapter, outgoing: Outgoing) -> SendResult | None:
    try:
        return await adapter.look_up(outgoing, LOOK_UP_CALL_S_MAX)
    except Exception as error:
        log.error("adapter_failed", channel=outgoing.channel, exc_info=error)
        return None


async def _ask_provider_later(rim: Rim, delivery: asyncpg.Record, reason: str) -> None:
    await sql.delivery.ask_provider_later.run(
        rim.pool,
        delivery_id=delivery["id"],
        epoch=delivery["lease_epoch"],
        reason=reason,
        retry_s=LOOK_UP_PAUSE_S,
    )


async def _record_sent(
    rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record, provider_message_id: str, called_ms: int | None
) -> None:
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
        claim_to_call_ms=called_ms,
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
    called_ms: int | None = None,
) -> Any:
    return await sql.delivery.finish_delivery.value(
        connection,
        delivery_id=delivery["id"],
        epoch=delivery["lease_epoch"],
        status=status,
        reason=reason,
        claim_to_call_ms=called_ms,
    )


async def finish(
    rim: Rim, delivery: asyncpg.Record, status: DeliveryStatus, reason: str, called_ms: int | None = None
) -> None:
    """Cancelled, refused or unknown: the delivery ends and a person is asked, with the reason.

    Nobody is asked about a reply that is surely unsent and not wanted any more: it has the fate that it would have had.
    """

    async def write() -> None:
        async with transaction(rim.pool) as connection:
            await sql.delivery.lock_lead.run(
                connection, workspace_id=delivery["workspace_id"], lead_id=delivery["lead_id"]
            )
            draft = await sql.draft.lock_draft.row(connection, draft_id=delivery["draft_id"])
            now = await sql.delivery.send_standing.row(connection, draft_id=delivery["draft_id"])
            finished = await _finish_row(connection, delivery, status, reason, called_ms)
            if draft is None or now is None or finished is None or draft["status"] == DraftStatus.SENT:
                return
            stale = staleness(delivery, now) if status is not DeliveryStatus.UNKNOWN else None
            if stale is not None and stale.status is not None:
                rows = await _retired(connection, draft, delivery, stale.status, stale.reason)
            else:
                rows = await _asked(connection, draft, delivery, status, reason, now["review_s_max"])
            await sql.delivery.settle_delivery_claim.run(connection, draft_id=draft["id"], outcome=status.value)
        rim.publisher.publish(rows)

    await persist(rim, write)


async def _retired(
    connection: Connection, draft: asyncpg.Record, delivery: asyncpg.Record, status: DraftStatus, reason: str
) -> list[OutboxRow]:
    """The draft is superseded or suppressed, and whoever was asked about it need not answer."""
    action = Action(draft["auto_send_action"] or Action.NONE)
    await sql.review.close_reviews.run(connection, draft_ids=[draft["id"]], status="superseded")
    return await _fate(connection, draft, delivery, status, OutcomeStatus(status), reason, action=action)


async def _asked(
    connection: Connection,
    draft: asyncpg.Record,
    delivery: asyncpg.Record,
    status: DeliveryStatus,
    reason: str,
    review_s: float,
) -> list[OutboxRow]:
    """A person decides what becomes of the draft."""
    outcome = {
        DeliveryStatus.CANCELLED: OutcomeStatus.AWAITING_REVIEW,
        DeliveryStatus.REFUSED: OutcomeStatus.REFUSED,
        DeliveryStatus.UNKNOWN: OutcomeStatus.UNKNOWN,
    }[status]
    fate = DraftStatus.UNKNOWN if status is DeliveryStatus.UNKNOWN else DraftStatus.PENDING
    await sql.review.open_review_if_absent.run(
        connection,
        review_id=derive("review", draft["id"]),
        draft_id=draft["id"],
        workspace_id=draft["workspace_id"],
        reason=reason,
        content_sha256=draft["content_sha256"],
        review_s=review_s,
    )
    return await _fate(connection, draft, delivery, fate, outcome, reason, action=Action.NEEDS_REVIEW)


async def later(rim: Rim, delivery: asyncpg.Record, reason: str, retry_after_s: float | None) -> None:
    """Try again with backoff, taking the claim again, until the age limit; then a person decides."""
    if await sql.delivery.is_past_age_limit.value(rim.pool, delivery_id=delivery["id"]):
        await finish(rim, delivery, DeliveryStatus.REFUSED, reason)
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
