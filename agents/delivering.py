"""A delivery: fence, then one transaction that checks everything and takes the claim, then one call to the provider.

scheduled -> claimed -> sent | refused | unknown. A mail cannot be unsent: whatever is not certain is told to a person.
"""

import time
import uuid
from dataclasses import dataclass

import asyncpg
import structlog

from agents.claiming import Ours, Settled, WriteFailed, claim
from agents.delivered import finish, later, settle
from agents.holding import meeting_obstacle
from agents.obstacles import Obstacle, obstacle, switched_off
from agents.outcomes import sha256_of
from agents.outgoing import outgoing_of
from agents.ports import ChannelAdapter, Outgoing, SendRefused, SendResult, SendUnknown
from agents.rechecking import blocked_now
from agents.rim import Rim
from db import sql
from db.pool import Connection
from schemas.codes import DeliveryStatus
from schemas.limits import (
    CLAIM_TO_CALL_S_MAX,
    DELIVERY_CALL_S_MAX,
    DELIVERY_LEASE_S,
    FENCE_S_MAX,
    PACE_AHEAD_S_MAX,
)

log = structlog.get_logger()


async def deliver(rim: Rim, delivery: asyncpg.Record) -> None:
    """Bring one leased delivery to its next status. Safe to call again after a crash at any point."""
    claimed = delivery["status"] == DeliveryStatus.CLAIMED
    adapter = rim.adapter(delivery["channel"], dict(delivery["channels"].get(delivery["channel"]) or {}))
    if adapter is None:
        await finish(rim, delivery, DeliveryStatus.UNKNOWN if claimed else DeliveryStatus.CANCELLED, "no_adapter")
    elif claimed:
        await _recover(rim, delivery, adapter)
    elif (reason := switched_off(rim, delivery) or await blocked_now(rim, delivery)) is not None:
        await finish(rim, delivery, DeliveryStatus.CANCELLED, reason)
    else:
        await _fence_and_send(rim, delivery, adapter)


async def _fence_and_send(rim: Rim, delivery: asyncpg.Record, adapter: ChannelAdapter) -> None:
    """Fence, claim, send; a workspace with a pace waits for its turn and begins again at the fence."""
    turn_ends: float | None = None
    while True:
        if not await rim.fence.passed(FENCE_S_MAX):
            await later(rim, delivery, "fence_behind", None)
            return
        has_turn = turn_ends is not None and time.monotonic() < turn_ends
        waits = await _claim_and_send(rim, delivery, adapter, has_turn=has_turn)
        if waits is None:
            return
        if waits.turn_s > PACE_AHEAD_S_MAX:
            await later(rim, delivery, "pace", waits.turn_s)
            return
        await rim.wait(waits.turn_s)
        turn_ends = time.monotonic() + waits.spacing_s


@dataclass(frozen=True)
class Waits:
    """The workspace's pace: the turn comes in `turn_s` seconds and is one's own for `spacing_s`."""

    turn_s: float
    spacing_s: float


@dataclass
class _Claiming:
    """What the claim's transaction found: an obstacle, or a wait, or the standing it was claimed on and since when."""

    obstacle: Obstacle | None = None
    waits: Waits | None = None
    standing: asyncpg.Record | None = None
    began: float = 0.0


async def _claim_and_send(
    rim: Rim, delivery: asyncpg.Record, adapter: ChannelAdapter, *, has_turn: bool
) -> Waits | None:
    """One transaction that locks the lead, checks everything and takes the claim; then the call. Returns how long the
    workspace's pace makes it wait instead."""
    found = _Claiming()

    async def write(connection: Connection, token: uuid.UUID) -> float | None:
        await sql.delivery.lock_lead.run(connection, workspace_id=delivery["workspace_id"], lead_id=delivery["lead_id"])
        standing = await sql.delivery.send_standing.row(connection, draft_id=delivery["draft_id"])
        found.began = time.monotonic()
        found.obstacle = obstacle(rim, delivery, standing) if standing is not None else Obstacle("draft_erased")
        if standing is not None and found.obstacle is None and standing["scheduling"]:
            found.obstacle = await _about_meeting(connection, delivery, standing)
        if standing is None or found.obstacle is not None:
            return None
        if standing["sends_per_s_max"] is not None and not has_turn:
            found.waits = await _turn(connection, delivery["workspace_id"], standing["sends_per_s_max"])
            if found.waits is not None:
                return None
        found.standing = standing
        claimed = await sql.delivery.claim_delivery_if_leased.value(
            connection,
            delivery_id=delivery["id"],
            epoch=delivery["lease_epoch"],
            token=token,
            owner=rim.process_id,
            lease_s=DELIVERY_LEASE_S,
            route_sha256=sha256_of(adapter.route),
        )
        return None if claimed is None else 0.0

    taken = await claim(rim, delivery["draft_id"], "delivery", write)
    if isinstance(taken, Ours) and found.standing is not None:
        await _send(rim, delivery, found.standing, adapter, found.began)
    elif found.waits is not None:
        return found.waits
    elif found.obstacle is not None:
        await finish(rim, delivery, DeliveryStatus.CANCELLED, found.obstacle.reason)
    elif isinstance(taken, Settled | WriteFailed):
        log.warning("delivery_claim_failed", delivery_id=str(delivery["id"]))
    return None


async def _turn(connection: Connection, workspace_id: str, sends_per_s: float) -> Waits | None:
    """Take the workspace's next turn over all workers; None when it is now."""
    turn_s = await sql.delivery.take_send_turn.value(
        connection, workspace_id=workspace_id, sends_per_s=sends_per_s, ahead_s=PACE_AHEAD_S_MAX
    )
    spacing_s = 1.0 / sends_per_s
    if turn_s is None:
        return Waits(PACE_AHEAD_S_MAX + spacing_s, spacing_s)
    return Waits(turn_s, spacing_s) if turn_s > 0.0 else None


async def _about_meeting(connection: Connection, delivery: asyncpg.Record, standing: asyncpg.Record) -> Obstacle | None:
    code = await meeting_obstacle(connection, standing, delivery["content"], automatic=delivery["automatic"])
    return Obstacle(code) if code is not None else None


async def _send(
    rim: Rim, delivery: asyncpg.Record, now: asyncpg.Record, adapter: ChannelAdapter, checked_at: float
) -> None:
    """The provider call, with the idempotency key; refused when too much time passed since everything was checked."""
    outgoing = outgoing_of(delivery, now)
    waited_s = time.monotonic() - checked_at
    result: SendResult
    if waited_s > CLAIM_TO_CALL_S_MAX:
        result = SendRefused("claim_too_old", temporary=True)
    else:
        result = await _call(adapter, outgoing)
    rim.crash_point("delivery.called")
    called_ms = round(waited_s * 1000)
    log.info("delivery_called", delivery_id=str(delivery["id"]), claim_to_call_ms=called_ms)
    await settle(rim, delivery, now, adapter, result, called_ms)


async def _call(adapter: ChannelAdapter, outgoing: Outgoing) -> SendResult:
    """Whatever an adapter raises, the request may have gone out: nobody may take it for unsent."""
    try:
        return await adapter.send(outgoing, DELIVERY_CALL_S_MAX)
    except Exception as error:
        log.error("adapter_failed", channel=outgoing.channel, exc_info=error)
        return SendUnknown("adapter_failed")


async def _recover(rim: Rim, delivery: asyncpg.Record, adapter: ChannelAdapter) -> None:
    """A claimed delivery whose worker died, or of which nothing could be learned yet: the provider may have it. Another
    provider, where the channel leads by now, cannot say so."""
    if delivery["route_sha256"] not in (None, sha256_of(adapter.route)):
        await finish(rim, delivery, DeliveryStatus.UNKNOWN, "channel_changed")
        return
    now = await sql.delivery.send_standing.row(rim.pool, draft_id=delivery["draft_id"])
    if now is not None:
        await settle(rim, delivery, now, adapter, SendUnknown(delivery["reason"] or "worker_died"))
