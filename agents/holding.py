"""Slots in the hands of drafts: held when the lead's time is known, confirmed or released with the draft.

A hold is confirmed by the transaction that records `sent`, not by the one that takes the delivery claim: a claim may
end refused, and a booking taken back is one that somebody may have seen. Nothing is lost by waiting: a hold keeps
everybody else out exactly as a booking does, nothing releases it while a send is under way or may have gone out, and
the claim is not taken unless it stands.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
import structlog

from agents.booking import Plan, keeps_booking, names_slot, planned, slots_named, wished_slot
from agents.calling import ActiveRun
from agents.persist import persist
from agents.rim import Interrupted
from agents.starting import state_of
from db import sql
from db.pool import Connection, Executor, Pool, transaction
from schemas.codes import BookingStatus, MeetingOutcome, Mode
from schemas.ids import derive

T = TypeVar("T")
log = structlog.get_logger()

ALREADY_BOOKED: Final = "meeting_already_booked"
TIME_GONE: Final = "meeting_time_gone"
NOT_HELD: Final = "meeting_time_not_held"


# ---- while the draft is made


async def hold_slot(run: ActiveRun) -> None:
    """Hold the slot that the lead accepted, if scheduling is in play and there is one. Again for the same draft it
    changes nothing. Raises Interrupted when the run is not ours any more.
    """
    if run.wish is not None or run.state.strategy is None or not run.state.strategy.scheduling:
        return
    run.wish = wish = wished_slot(run.state)
    slot = wish.slot
    if slot is None or run.state.snapshot.mode is Mode.LEGACY_AUTO_REPLY:
        return

    async def write() -> str | None:
        async with transaction(run.rim.pool) as connection:
            await sql.booking.lock_bookings.run(connection, workspace_id=run.workspace_id)
            await sql.booking.release_superseded_holds.run(connection, run_id=run.run_id)
            status: str | None = await sql.booking.hold_slot_if_leased.value(
                connection,
                booking_id=derive("booking", run.draft_id),
                run_id=run.run_id,
                epoch=run.lease.epoch,
                slot_id=slot.id,
                starts_at=slot.starts_at,
                ends_at=slot.ends_at,
            )
            return status

    status = await persist(run.rim, write)
    run.rim.crash_point("slot.held")
    if status is None:
        run.lease.check()
        raise Interrupted("lease_lost")
    run.held = status == BookingStatus.HELD
    log.info("slot_held" if run.held else "slot_taken", draft_id=str(run.draft_id), run_id=str(run.run_id))


async def record_meeting(run: ActiveRun) -> None:
    """The overseer's word and what the rules make of it, when scheduling is in play. An error of it is not fatal."""
    if run.wish is None:
        return
    gate, plan = run.state.gate, planned(run.state, run.wish, held=run.held)
    await sql.booking.record_meeting_if_leased.run(
        run.rim.pool,
        decision_id=derive("meeting", run.draft_id),
        run_id=run.run_id,
        epoch=run.lease.epoch,
        decision="error" if gate is None else gate.decision,
        reason="no_usable_answer" if gate is None else gate.reason,
        outcome=plan.outcome,
        outcome_reason=plan.reason,
        accepted_at=run.wish.slot.starts_at if run.wish.slot is not None else None,
        keeps_booking=keeps_booking(plan, run.wish),
    )


def slot_is_taken(run: ActiveRun) -> bool:
    """Whether the text agrees to a time that another run has."""
    if run.wish is None or run.wish.slot is None or run.state.snapshot.mode is Mode.LEGACY_AUTO_REPLY:
        return False
    return planned(run.state, run.wish, held=run.held).reason == "slot_taken"


# ---- when it is decided


async def with_followup(
    pool: Pool, draft_id: uuid.UUID, plan: Plan | None, write: Callable[[Executor], Awaitable[T]]
) -> T:
    """`write` by itself, or in one transaction with what becomes of the meeting; `booked` is recorded when it is.

    `write` returns None when it wrote nothing.
    """
    if plan is None or plan.outcome is MeetingOutcome.BOOKED:
        return await write(pool)
    async with transaction(pool) as connection:
        written = await write(connection)
        if written is not None:
            await sql.booking.record_followup.run(
                connection, draft_id=draft_id, outcome=plan.outcome, reason=plan.reason
            )
        return written


def failed_meeting(run: ActiveRun, reason: str) -> Plan | None:
    """What becomes of the meeting when the run fails: a person is to see to it."""
    scheduling = run.state.strategy is not None and run.state.strategy.scheduling
    return Plan(MeetingOutcome.ERROR, reason) if scheduling else None


# ---- when it is sent


async def meeting_obstacle(connection: Connection, draft: asyncpg.Record, text: str, *, automatic: bool) -> str | None:
    """What else than its standing is against a send that is about a meeting; a hold that stands is locked.

    `draft` is a `send_standing` of a draft with `scheduling`, read after the lead's row was locked.
    """
    if draft["booking_status"] == BookingStatus.RELEASED:
        return NOT_HELD
    held = draft["booking_status"] == BookingStatus.HELD
    if held and not await sql.booking.lock_hold.value(connection, draft_id=draft["id"]):
        return ALREADY_BOOKED
    return await _stale_offer(connection, draft, text) if automatic else None


async def _stale_offer(connection: Connection, draft: asyncpg.Record, text: str) -> str | None:
    """Whether the text offers a time that was free when it was written and is not any more."""
    context = await sql.run.run_with_context.row(connection, run_id=draft["run_id"])
    if context is None:
        return TIME_GONE
    offered = slots_named(text, state_of(context).snapshot)
    if not offered:
        return None
    rows = await sql.booking.slots_still_free.rows(
        connection,
        workspace_id=draft["workspace_id"],
        draft_id=draft["id"],
        slot_ids=[slot.id for meant in offered for slot in meant],
    )
    free = {row["id"] for row in rows}
    return None if all(any(slot.id in free for slot in meant) for meant in offered) else TIME_GONE


async def person_obstacle(connection: Connection, draft: asyncpg.Record, edited_text: str | None) -> str | None:
    """What stands against a person's send that is about a meeting. Its time is held again where it was given back; an
    edited text that no longer names it gives it up."""
    standing = draft
    if edited_text is not None and await _gives_up(connection, draft, edited_text):
        await sql.booking.drop_booking.run(connection, draft_id=draft["id"])
        standing = await sql.delivery.send_standing.one(connection, draft_id=draft["id"])
    if standing["meeting_obstacle"] is not None:
        return str(standing["meeting_obstacle"])
    if standing["booking_status"] == BookingStatus.RELEASED:
        await sql.booking.lock_bookings.run(connection, workspace_id=draft["workspace_id"])
        if await sql.booking.hold_again_if_free.value(connection, draft_id=draft["id"]) is None:
            return ALREADY_BOOKED
    return None


async def _gives_up(connection: Connection, draft: asyncpg.Record, edited_text: str) -> bool:
    if draft["booking_status"] is None:
        return False
    context = await sql.run.run_with_context.row(connection, run_id=draft["run_id"])
    if context is None:
        return False
    snapshot, starts_at = state_of(context).snapshot, draft["booking_starts_at"]
    return names_slot(draft["content"], starts_at, snapshot) and not names_slot(edited_text, starts_at, snapshot)
