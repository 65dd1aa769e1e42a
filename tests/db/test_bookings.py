"""A free slot is booked at most once, whoever wants it at the same time, and follows its draft to the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from agents.outside_bookings import NotRecorded, Recorded, record_outside_booking
from agents.rim import Interrupted
from db import sql
from db.pool import Pool, create_pool, transaction
from schemas.booking import OutsideBooking
from tests.conftest import Database
from tests.db.meeting_rows import (
    OVERLAPS,
    TOMORROW,
    WORKSPACE,
    Want,
    add_slot,
    add_want,
    add_workspace,
    booking_of,
    deliver,
    followup_of,
    hold,
    settle,
)

CONNECTIONS = 32
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Many connections to a database with one workspace."""
    opened = await create_pool(database.url, size=CONNECTIONS, application="bookings")
    await add_workspace(opened)
    yield opened
    await opened.close()


def outside(
    lead: str = "lead-outside", name: str = "cal-1", minutes: int = 0, status: str = "confirmed"
) -> OutsideBooking:
    """Half an hour booked elsewhere, `minutes` after the slot begins."""
    begin = TOMORROW + timedelta(minutes=minutes)
    return OutsideBooking.model_validate(
        {"workspace_id": WORKSPACE, "lead_id": lead, "external_id": name, "starts_at": begin,
         "ends_at": begin + HALF_HOUR, "status": status}
    )  # fmt: skip


async def standing(pool: Pool, want: Want) -> asyncpg.Record:
    return await sql.delivery.send_standing.one(pool, draft_id=want.draft)


# ---- at most once


async def test_of_many_who_want_one_slot_at_once_one_has_it(pool: Pool) -> None:
    """32 connections, 64 drafts of 64 leads: one hold, 63 that know that it is taken."""
    slot = await add_slot(pool)
    wants = [await add_want(pool) for _ in range(2 * CONNECTIONS)]
    got = await asyncio.gather(*(hold(pool, want, slot) for want in wants))
    assert Counter(got) == {"held": 1, "released": 2 * CONNECTIONS - 1}
    holder = wants[got.index("held")]
    for want in wants[:5]:
        taken = (await standing(pool, want))["meeting_obstacle"]
        assert taken == (None if want is holder else "meeting_already_booked")


async def test_of_slots_that_overlap_no_two_are_taken(pool: Pool) -> None:
    """A chain of half hours, each a quarter after the one before, wanted all at once."""
    begins = [TOMORROW + timedelta(minutes=15 * n) for n in range(12)]
    slots = [await add_slot(pool, begin) for begin in begins]
    wants = [await add_want(pool) for _ in slots]
    got = await asyncio.gather(
        *(hold(pool, want, slot, begin) for want, slot, begin in zip(wants, slots, begins, strict=True))
    )
    assert 4 <= Counter(got)["held"] <= 6
    assert await pool.fetchval(OVERLAPS) == 0


async def test_whatever_happens_at_the_same_time_no_two_bookings_overlap(pool: Pool) -> None:
    """Holds, ends of drafts and bookings from outside, in any order on many connections."""
    chance = random.Random(20)
    begins = [TOMORROW + timedelta(minutes=30 * n) for n in range(4)]
    slots = [await add_slot(pool, begin) for begin in begins]
    wants = [await add_want(pool) for _ in range(24)]

    async def draft(number: int, want: Want) -> None:
        place = number % len(slots)
        for end in (chance.choice(["sent", "rejected", "expired", "superseded"]), "sent"):
            if await hold(pool, want, slots[place], begins[place]) == "held":
                await settle(pool, want, end)
                if end == "sent":
                    return
                await settle(pool, want, "pending")  # undone: what is settled takes no time

    async def elsewhere(number: int) -> None:
        for status in ("confirmed", "cancelled"):
            await record_outside_booking(pool, outside(f"o{number}", f"cal-{number}", 30 * (number % 4) + 10, status))

    await asyncio.gather(
        *(draft(number, want) for number, want in enumerate(wants)), *(elsewhere(number) for number in range(16))
    )
    assert await pool.fetchval(OVERLAPS) == 0
    booked = await pool.fetchval("SELECT count(*) FROM booking WHERE status = 'confirmed' AND draft_id IS NOT NULL")
    assert 1 <= booked <= len(slots)
    assert booked == await pool.fetchval("SELECT count(*) FROM followup_task WHERE outcome = 'booked'")


async def test_holding_again_changes_nothing_and_a_lost_lease_holds_nothing(pool: Pool) -> None:
    """The same draft finds its own hold; a worker whose lease was taken over writes none."""
    slot, want = await add_slot(pool), await add_want(pool)
    assert [await hold(pool, want, slot) for _ in range(2)] == ["held", "held"]
    want.epoch = 0
    with pytest.raises(Interrupted):
        await hold(pool, want, slot)
    assert await pool.fetchval("SELECT count(*) FROM booking") == 1


async def test_a_slot_that_left_the_calendar_or_has_begun_is_not_held(pool: Pool) -> None:
    """Gone, moved or past: the draft knows that it does not have it."""
    want, past = await add_want(pool), TOMORROW - timedelta(days=2)
    assert await hold(pool, want, await add_slot(pool, past), past) == "released"
    slot = await add_slot(pool)
    assert await hold(pool, want, slot, TOMORROW + HALF_HOUR) == "released"
    assert await hold(pool, want, slot) == "held"
    await pool.execute("DELETE FROM availability_slot WHERE id = $1", slot)
    assert (await standing(pool, want))["meeting_obstacle"] == "meeting_time_gone"
    assert not await sql.booking.lock_hold.value(pool, draft_id=want.draft)


# ---- with its draft


@pytest.mark.parametrize(
    ("end", "booking", "followup"),
    [
        ("sent", ("confirmed", "sent"), ("booked", "sent")),
        ("rejected", ("released", "rejected"), ("task_created", "rejected")),
        ("expired", ("released", "expired"), ("task_created", "expired")),
        ("superseded", ("released", "superseded"), None),
        ("suppressed", ("released", "suppressed"), None),
        ("unknown", ("held", ""), None),
        ("scheduled", ("held", ""), None),
    ],
)
async def test_a_hold_follows_its_draft(
    pool: Pool, end: str, booking: tuple[str, str], followup: tuple[str, str] | None
) -> None:
    """Sent confirms it, every other end releases it, and what may have been sent keeps it."""
    want = await add_want(pool)
    await hold(pool, want, await add_slot(pool))
    await settle(pool, want, end)
    assert await booking_of(pool, want) == booking
    assert await followup_of(pool, want) == followup


@pytest.mark.parametrize("status", ["claimed", "unknown"])
async def test_a_hold_stays_while_its_reply_may_be_on_its_way(pool: Pool, status: str) -> None:
    """Neither a late rejection nor a booking from outside takes the slot of a reply that may have gone out."""
    want = await add_want(pool)
    await hold(pool, want, await add_slot(pool))
    await deliver(pool, want, status)
    await settle(pool, want, "rejected")
    assert await booking_of(pool, want) == ("held", "")
    assert await record_outside_booking(pool, outside()) == NotRecorded("meeting_already_booked")
    await settle(pool, want, "sent")
    assert await booking_of(pool, want) == ("confirmed", "sent")


async def test_a_newer_run_of_the_lead_takes_over_what_a_superseded_one_held(pool: Pool) -> None:
    """Only from a run that can send nothing any more."""
    slot, older = await add_slot(pool), await add_want(pool, "ann")
    newer = await add_want(pool, "ann")
    await hold(pool, older, slot)
    assert await hold(pool, newer, slot) == "released"
    assert (await standing(pool, newer))["meeting_obstacle"] == "meeting_already_booked"
    await pool.execute("UPDATE draft_pipeline_run SET superseded_at = now() WHERE id = $1", older.run)
    assert await hold(pool, newer, slot) == "held"
    assert await booking_of(pool, older) == ("released", "superseded")


async def test_a_person_who_sends_after_all_has_the_time_if_it_is_still_free(pool: Pool) -> None:
    """A time that was given back is held again; one that somebody else has is not."""
    slot, want = await add_slot(pool), await add_want(pool)
    await hold(pool, want, slot)
    await pool.execute("UPDATE booking SET status = 'released' WHERE draft_id = $1", want.draft)

    async def again() -> bool:
        async with transaction(pool) as connection:
            await sql.booking.lock_bookings.run(connection, workspace_id=WORKSPACE)
            return await sql.booking.hold_again_if_free.value(connection, draft_id=want.draft) is not None

    assert await again()
    await pool.execute("UPDATE booking SET status = 'released' WHERE draft_id = $1", want.draft)
    other = await add_want(pool)
    await hold(pool, other, slot)
    assert not await again()


async def test_a_person_who_sends_what_lost_its_time_has_it_when_it_is_free_again(pool: Pool) -> None:
    """Two leads accept one slot; the winner's draft is rejected: the loser's takes the slot, and nothing stands in its way."""
    slot, winner, loser = await add_slot(pool), await add_want(pool), await add_want(pool)
    assert [await hold(pool, want, slot) for want in (winner, loser)] == ["held", "released"]
    await settle(pool, winner, "rejected")
    async with transaction(pool) as connection:
        await sql.booking.lock_bookings.run(connection, workspace_id=WORKSPACE)
        assert await sql.booking.hold_again_if_free.value(connection, draft_id=loser.draft) is not None
    found = await standing(pool, loser)
    assert (found["booking_status"], found["meeting_obstacle"]) == ("held", None)
    async with transaction(pool) as connection:
        assert await sql.booking.lock_hold.value(connection, draft_id=loser.draft)


# ---- what is offered


async def test_only_what_nobody_has_and_is_to_come_is_offered(pool: Pool) -> None:
    """Past, held, confirmed and overlapped slots are left out; what the lead's own older message holds is offered."""
    begins = [TOMORROW + timedelta(minutes=30 * n) for n in range(5)]
    slots = [await add_slot(pool, begin) for begin in begins]
    await add_slot(pool, TOMORROW - timedelta(days=3))
    mine, other = await add_want(pool, "ann"), await add_want(pool, "ben")
    await hold(pool, mine, slots[0], begins[0])
    await hold(pool, other, slots[1], begins[1])
    assert isinstance(
        await record_outside_booking(pool, outside(minutes=70)), Recorded
    )  # into the third and the fourth

    async def offered(lead: str) -> list[int]:
        rows = await sql.run.context_rows.one(
            pool,
            workspace_id=WORKSPACE,
            lead_id=lead,
            channel="chat",
            thread_id="",
            ingest_seq=10**9,
            words="",
            limit=30,
        )
        return [each["id"] for each in rows["slots"] or []]

    assert await offered("ann") == [slots[0], slots[4]]
    assert await offered("ben") == [slots[1], slots[4]]
    assert await offered("eve") == [slots[4]]
    free = await sql.booking.slots_still_free.rows(pool, workspace_id=WORKSPACE, draft_id=mine.draft, slot_ids=slots)
    assert [row["id"] for row in free] == [slots[0], slots[4]]


# ---- outside


async def test_a_booking_made_outside_is_recorded_once(pool: Pool) -> None:
    """The same report again changes nothing; moved and cancelled it is the same booking."""
    first = await record_outside_booking(pool, outside())
    again = await record_outside_booking(pool, outside())
    assert isinstance(first, Recorded)
    assert isinstance(again, Recorded)
    assert (first.booking_id, first.changed, again.changed) == (again.booking_id, True, False)
    moved = await record_outside_booking(pool, outside(minutes=60))
    gone = await record_outside_booking(pool, outside(minutes=60, status="cancelled"))
    assert isinstance(moved, Recorded)
    assert isinstance(gone, Recorded)
    assert (moved.changed, gone.changed) == (True, True)
    rows = await pool.fetch("SELECT status, starts_at, source FROM booking")
    assert [tuple(row) for row in rows] == [("released", TOMORROW + 2 * HALF_HOUR, "outside")]


async def test_many_reports_of_one_booking_at_once_make_one(pool: Pool) -> None:
    """Delivered sixteen times in parallel, by a caller that retries."""
    got = await asyncio.gather(*(record_outside_booking(pool, outside()) for _ in range(16)))
    assert sum(isinstance(each, Recorded) and each.changed for each in got) == 1
    assert await pool.fetchval("SELECT count(*) FROM booking") == 1


async def test_what_was_booked_outside_displaces_a_hold_and_forbids_the_send(pool: Pool) -> None:
    """The draft that agreed to the time is stopped, as state; a confirmed booking is not displaced."""
    slot, want = await add_slot(pool), await add_want(pool)
    await hold(pool, want, slot)
    recorded = await record_outside_booking(pool, outside(minutes=10))
    assert isinstance(recorded, Recorded)
    assert recorded.displaced == 1
    assert await booking_of(pool, want) == ("released", "booked_outside")
    assert (await standing(pool, want))["meeting_obstacle"] == "meeting_already_booked"
    assert await record_outside_booking(pool, outside(name="cal-2")) == NotRecorded("meeting_already_booked")


async def test_a_meeting_that_the_lead_booked_elsewhere_meanwhile_stops_the_reply(pool: Pool) -> None:
    """Another time, the same lead, after the draft was begun: nobody may send it. An earlier booking stops nothing."""
    early = await record_outside_booking(pool, outside("ann", "early", minutes=-300))
    assert isinstance(early, Recorded)
    want = await add_want(pool, "ann")
    await hold(pool, want, await add_slot(pool))
    assert (await standing(pool, want))["meeting_obstacle"] is None
    await record_outside_booking(pool, outside("ann", "late", minutes=300))
    assert (await standing(pool, want))["meeting_obstacle"] == "meeting_already_booked"


async def test_reports_that_make_no_sense_change_nothing(pool: Pool) -> None:
    """An unknown workspace, and a name that another lead's booking has."""
    unknown = outside().model_copy(update={"workspace_id": "nobody"})
    assert await record_outside_booking(pool, unknown) == NotRecorded("unknown_workspace")
    await record_outside_booking(pool, outside("ann"))
    assert await record_outside_booking(pool, outside("ben")) == NotRecorded("external_id_of_another_lead")
    assert await pool.fetchval("SELECT count(*) FROM booking") == 1
    assert await pool.fetchval("SELECT count(*) FROM lead WHERE lead_id = 'ben'") == 0
