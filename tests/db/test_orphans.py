"""Runs that a worker left behind: another one takes them over without Kafka, and none that somebody may still work on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agents.fates import DONE, Fate, Retry
from app.kafka.engine import UNKNOWN, Record
from app.kafka.pool import EventPool
from app.orphans import LOOK_S, TRUST_S, UNOWNED_S_MAX, Orphans, event_behind
from db import sql
from db.pool import Pool, connect, create_pool, transaction
from schemas.topics import DRAFT_EVALUATED, DRAFT_REQUESTED, REVISION_RESULT
from tests.conftest import Database
from tests.db.rows import Seeded, seed

VALUE = b'{"as": "it was written"}'
LOOKS = round(TRUST_S / LOOK_S)  # that are not trusted


class Clock:
    """Seconds that pass when told to; `each` more whenever it is read."""

    def __init__(self) -> None:
        self.now, self.each = 1_000.0, 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


class Worker:
    """As much of a worker as takes over: agents' pools that note what they are given."""

    def __init__(self, pool: Pool, events_max: int = 10) -> None:
        self.clock, self.busy = Clock(), asyncio.Event()
        self.given: list[Record] = []
        self.fate: Fate = DONE
        self.pools = {
            topic.name: EventPool(topic.name, self._handle, self._never, events_max=events_max)
            for topic in (DRAFT_REQUESTED, DRAFT_EVALUATED, REVISION_RESULT)
        }
        self.orphans = Orphans(pool, self.pools, clock=self.clock)

    async def _handle(self, record: Record) -> Fate:
        self.given.append(record)
        await self.busy.wait()
        return self.fate

    async def _never(self, record: Record, code: str, error: str, attempts: int) -> None:
        raise AssertionError(code)

    async def look(self, seconds: float = LOOK_S) -> int:
        """Let time pass, then look."""
        self.clock.now += seconds
        return await self.orphans.look()

    async def look_until_trusted(self) -> int:
        """Look every second until the answers are trusted; what was taken over, in all."""
        return sum([await self.look() for _ in range(LOOKS + 1)])

    async def ended(self) -> None:
        """Everything that was taken up is done with."""
        self.busy.set()
        _, late = await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() in self.pools], timeout=5)
        assert not late


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.url)
    yield pool
    await pool.close()


@pytest.fixture
async def run(pool: Pool, database: Database) -> Seeded:
    """A run with a lease that ended a moment ago, and the events behind each of its phases."""
    connection = await connect(database.url)
    seeded = await seed(connection)
    await connection.close()
    for phase in ("draft", "revise", "dispatch"):
        topic, event = event_behind({**await standing(pool), "phase": phase})
        await pool.execute(
            "INSERT INTO outbox (event_id, topic, key, value, headers, published_at) VALUES ($1, $2, $3, $4, $5, now())",
            event, topic, phase.encode(), VALUE, {"traceparent": "as written"},
        )  # fmt: skip
    return seeded


async def standing(pool: Pool) -> dict[str, Any]:
    async with pool.acquire() as connection:
        [row] = await connection.fetch("SELECT * FROM draft_pipeline_run")
    return dict(row)


@pytest.mark.parametrize("phase", ["draft", "revise", "dispatch"])
async def test_a_run_that_was_left_behind_is_taken_up_with_the_event_of_its_phase(
    pool: Pool, run: Seeded, phase: str
) -> None:
    """The agent gets the event as it was written; while it works on it no second look gives it again."""
    await pool.execute("UPDATE draft_pipeline_run SET phase = $1", phase)
    worker = Worker(pool)
    assert await worker.look_until_trusted() == 1
    await worker.ended()
    [record] = worker.given
    assert (record.key, record.value, record.headers) == (phase.encode(), VALUE, {"traceparent": b"as written"})
    assert (record.partition, record.offset) == (UNKNOWN, UNKNOWN)


async def test_what_somebody_holds_or_gave_back_is_left_alone(pool: Pool, run: Seeded) -> None:
    """A live lease, a run that was given back or handed over, and one that has ended."""
    worker = Worker(pool)
    await pool.execute("UPDATE draft_pipeline_run SET lease_until = now() + interval '1 minute'")
    assert await worker.look_until_trusted() == 0
    await sql.run.release_lease.run(pool, run_id=run.run, epoch=1)
    assert await worker.look() == 0
    assert (await standing(pool))["lease_owner"] is None
    await pool.execute(
        "UPDATE draft_pipeline_run SET lease_owner = 'w', status = 'ABORTED', phase = 'done', reason = 'superseded',"
        " finished_at = now()"
    )
    assert await worker.look() == 0
    assert worker.given == []


async def test_nothing_is_taken_over_before_the_living_could_renew(pool: Pool, run: Seeded) -> None:
    """Leases end while the database is away. After it is back, as after the start, everybody first has time to renew."""
    worker = Worker(pool)
    assert [await worker.look() for _ in range(LOOKS)] == [0] * LOOKS
    assert await worker.look(seconds=30.0) == 0  # a gap: it was away, or this process was frozen
    assert [await worker.look() for _ in range(LOOKS)] == [0] * (LOOKS - 1) + [1]
    await worker.ended()


async def test_an_answer_that_took_long_proves_nothing(pool: Pool, run: Seeded) -> None:
    """The database stood still meanwhile, for those who renew as well."""
    worker = Worker(pool)
    await pool.execute("UPDATE draft_pipeline_run SET lease_until = now() + interval '1 minute'")
    assert await worker.look_until_trusted() == 0
    await pool.execute("UPDATE draft_pipeline_run SET lease_until = now()")
    worker.clock.each = 25.0
    assert await worker.look() == 0
    worker.clock.each = 0.0
    assert await worker.look_until_trusted() == 1
    await worker.ended()


async def test_a_standby_that_answers_proves_nothing(database: Database, run: Seeded) -> None:
    """While another server is promoted it answers to reads, and nobody can renew."""
    standby = await create_pool(f"{database.url}?default_transaction_read_only=on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await Worker(standby).look()
    await standby.close()


async def test_a_run_whose_renewal_is_under_way_is_left_alone(pool: Pool, run: Seeded) -> None:
    """It may hang in its COMMIT; whoever took the run then would take it from a living worker."""
    worker = Worker(pool)
    async with transaction(pool) as connection:
        await connection.execute("UPDATE draft_pipeline_run SET lease_until = now() + interval '8 seconds'")
        assert await worker.look_until_trusted() == 0
    assert worker.given == []


async def test_what_nobody_took_for_long_has_lost_its_event(pool: Pool, run: Seeded) -> None:
    """A run that was handed over or given back waits for its event; after UNOWNED_S_MAX it is taken up without."""
    worker = Worker(pool)
    await pool.execute("UPDATE draft_pipeline_run SET lease_owner = NULL, lease_until = now() - interval '10 seconds'")
    assert await worker.look_until_trusted() == 0
    await pool.execute(
        "UPDATE draft_pipeline_run SET lease_until = now() - make_interval(secs => $1)", UNOWNED_S_MAX + 1
    )
    assert await worker.look() == 1
    await worker.ended()


async def test_a_run_that_its_workers_die_of_does_not_go_round(pool: Pool, run: Seeded) -> None:
    """After many takings it is left to the one that reads its event."""
    worker = Worker(pool)
    await pool.execute("UPDATE draft_pipeline_run SET lease_epoch = 31")
    assert await worker.look_until_trusted() == 0


async def test_what_has_no_room_is_taken_over_later(pool: Pool, run: Seeded) -> None:
    """An agent at its limit takes nothing up; the next look finds the run again."""
    worker = Worker(pool, events_max=1)
    agent = worker.pools[DRAFT_REQUESTED.name]
    await agent.consume(Record(agent.topic, 0, 0, None, b"busy", {}, 0.0), lambda: None)
    assert await worker.look_until_trusted() == 0
    await worker.ended()
    assert await worker.look() == 1
    await worker.ended()


async def test_what_was_taken_over_is_tried_once(pool: Pool, run: Seeded) -> None:
    """Retries and dead letters belong to the redelivery: the one that was taken over ends with its first fate."""
    worker = Worker(pool)
    worker.fate = Retry(60.0, "leased_elsewhere")
    assert await worker.look_until_trusted() == 1
    await worker.ended()
    assert len(worker.given) == 1
    assert worker.pools[DRAFT_REQUESTED.name].counts == {"done": 0, "dropped": 0, "retried": 0, "dead": 0}


async def test_a_worker_that_stops_takes_nothing_over(pool: Pool, run: Seeded) -> None:
    """While it drains, what was left behind is for others."""
    worker = Worker(pool)
    for each in worker.pools.values():
        await each.drain(0)
    assert await worker.look_until_trusted() == 0
