"""A lease belongs to one task: what an earlier holder still writes is refused, what it gives back is free at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from app.leases import LeaseKeeper
from db import sql
from db.pool import Pool, connect, create_pool, transaction
from tests.conftest import Database
from tests.db.rows import Seeded, seed

LEASE_S = 8.0


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.url)
    yield pool
    await pool.close()


@pytest.fixture
async def run(database: Database) -> Seeded:
    connection = await connect(database.url)
    seeded = await seed(connection)
    await connection.close()
    return seeded


async def take(pool: Pool, run: Seeded, owner: str) -> int | None:
    row = await sql.run.take_lease_if_free.row(pool, run_id=run.run, owner=owner, lease_s=LEASE_S, phase="draft")
    return None if row is None else row["lease_epoch"]


async def renew(pool: Pool, run: Seeded, epoch: int) -> bool:
    rows = await sql.run.renew_leases.rows(pool, run_ids=[run.run], epochs=[epoch], lease_s=LEASE_S, tokens=[])
    return bool(rows)


async def test_a_live_lease_is_taken_by_nobody_else(pool: Pool, run: Seeded) -> None:
    """The first one has it until it ends or is given back."""
    epoch = await take(pool, run, "one")
    assert epoch is not None
    assert await take(pool, run, "two") is None
    assert await renew(pool, run, epoch)


async def test_a_renewal_under_way_does_not_extend_a_lease_that_is_given_back(pool: Pool, run: Seeded) -> None:
    """The renewal waits for the row while the lease is given back; the next worker need not wait for its end."""
    epoch = await take(pool, run, "one")
    assert epoch is not None
    await sql.run.release_lease.run(pool, run_id=run.run, epoch=epoch)
    assert not await renew(pool, run, epoch)
    assert await take(pool, run, "two") is not None


async def test_a_holder_whose_lease_was_taken_over_is_interrupted(pool: Pool, run: Seeded) -> None:
    """It woke up too late: its renewal finds another epoch, and its task is told that the lease is lost."""
    epoch = await take(pool, run, "zombie")
    assert epoch is not None
    await pool.execute("UPDATE draft_pipeline_run SET lease_until = now() - interval '1 second'")
    keeper = LeaseKeeper(pool, pool)
    async with keeper.holding(run.run, epoch) as lease:
        assert await take(pool, run, "next") == epoch + 1
        await keeper.renew()
        with pytest.raises(Exception, match="lease_lost"):
            lease.check()


async def test_leases_are_renewed_whatever_else_waits_for_the_database(
    pool: Pool, database: Database, run: Seeded
) -> None:
    """All connections of the process are taken, and more is waiting: the renewal has one of its own."""
    epoch = await take(pool, run, "one")
    assert epoch is not None
    busy, own = Pool(database.url, 1, "busy"), Pool(database.url, 1, "own")
    keeper = LeaseKeeper(busy, own)
    async with busy.acquire(), keeper.holding(run.run, epoch) as lease:
        waiting = asyncio.create_task(busy.fetchval("SELECT 1"))
        assert await keeper.renew()
        lease.check()
        lease.given_back()
    assert await waiting == 1
    await asyncio.gather(busy.close(), own.close())


async def test_a_renewal_that_hangs_is_given_up_in_time_for_another(pool: Pool, run: Seeded) -> None:
    """A connection that leads nowhere, or a row that somebody holds: the next try comes before the lease has ended."""
    epoch = await take(pool, run, "one")
    assert epoch is not None
    keeper = LeaseKeeper(pool, pool)
    async with keeper.holding(run.run, epoch) as lease:
        async with transaction(pool) as connection:
            await connection.execute("SELECT 1 FROM draft_pipeline_run WHERE id = $1 FOR UPDATE", run.run)
            began = time.monotonic()
            assert not await keeper.renew()
            assert time.monotonic() - began < LEASE_S / 2
        lease.check()
        assert await keeper.renew()


async def test_one_live_process_holds_a_static_worker_id(pool: Pool) -> None:
    """Two members with one static id fence each other for ever (fact 18): the second is refused while the first one's
    heartbeat is fresh, and let in when it is not."""
    holder = {"process_id": "worker-1", "role": "worker", "version": "1", "dead_after_s": 10.0}
    assert await sql.run.claim_worker_id.value(pool, **holder) == "worker-1"
    assert await sql.run.claim_worker_id.value(pool, **holder) is None
    await pool.execute("UPDATE process_heartbeat SET beat_at = now() - interval '11 seconds'")
    assert await sql.run.claim_worker_id.value(pool, **holder) == "worker-1"
