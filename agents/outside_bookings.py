"""Meetings that were booked outside: recorded once, by the name they have there. Holds give way to such facts."""

from dataclasses import dataclass
from typing import Final

from agents.holding import ALREADY_BOOKED
from db import sql
from db.pool import Connection, Pool, transaction
from schemas.booking import OutsideBooking
from schemas.codes import BookingStatus
from schemas.ids import derive

UNKNOWN_WORKSPACE: Final = "unknown_workspace"
OTHER_LEAD: Final = "external_id_of_another_lead"


@dataclass(frozen=True)
class Recorded:
    """The booking's id, whether this call changed anything, and how many holds of drafts gave way to it."""

    booking_id: str
    changed: bool
    displaced: int = 0


@dataclass(frozen=True)
class NotRecorded:
    """`code` says why; nothing was changed."""

    code: str


class _Refused(Exception):
    """Rolls back what was done; the argument is the code."""


async def record_outside_booking(pool: Pool, booking: OutsideBooking) -> Recorded | NotRecorded:
    """Record, move or cancel a booking made outside. Idempotent by workspace and `external_id`.

    What is confirmed, or may be on its way to its lead, is not displaced: no two bookings of a workspace overlap.
    """
    try:
        async with transaction(pool) as connection:
            return await _record(connection, booking)
    except _Refused as refused:
        return NotRecorded(str(refused))


async def _record(connection: Connection, booking: OutsideBooking) -> Recorded:
    workspace = booking.workspace_id
    if not await sql.booking.known_workspace.value(connection, workspace_id=workspace):
        raise _Refused(UNKNOWN_WORKSPACE)
    await sql.booking.insert_or_lock_lead.run(connection, workspace_id=workspace, lead_id=booking.lead_id)
    await sql.booking.lock_bookings.run(connection, workspace_id=workspace)
    known = await sql.booking.outside_booking.row(connection, workspace_id=workspace, external_id=booking.external_id)
    if known is not None and known["lead_id"] != booking.lead_id:
        raise _Refused(OTHER_LEAD)
    displaced = await _make_room(connection, booking) if booking.status == "confirmed" else 0
    return await _put(connection, booking, displaced)


async def _make_room(connection: Connection, booking: OutsideBooking) -> int:
    """Release the holds that overlap; returns how many. Raises when something overlaps that stays."""
    overlapping = await sql.booking.lock_overlapping.rows(
        connection,
        workspace_id=booking.workspace_id,
        external_id=booking.external_id,
        starts_at=booking.starts_at,
        ends_at=booking.ends_at,
    )
    gave_way = await sql.booking.displace_holds.rows(connection, booking_ids=[row["id"] for row in overlapping])
    if len(gave_way) < len(overlapping):
        raise _Refused(ALREADY_BOOKED)
    return len(gave_way)


async def _put(connection: Connection, booking: OutsideBooking, displaced: int) -> Recorded:
    identity = derive("outside-booking", booking.workspace_id, booking.external_id)
    changed = await sql.booking.put_outside_booking.value(
        connection,
        booking_id=identity,
        workspace_id=booking.workspace_id,
        lead_id=booking.lead_id,
        external_id=booking.external_id,
        starts_at=booking.starts_at,
        ends_at=booking.ends_at,
        status=BookingStatus.CONFIRMED if booking.status == "confirmed" else BookingStatus.RELEASED,
    )
    return Recorded(str(identity), changed is not None, displaced)
