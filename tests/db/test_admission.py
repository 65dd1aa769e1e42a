"""Admission: a workspace has no more runs under way than its limit, however many relays admit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from db import sql
from db.pool import Pool, create_pool
from tests.conftest import Database

LIMIT = 5


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Twenty requests that are due, of a workspace that may have `LIMIT` runs."""
    pool = await create_pool(database.url)
    await pool.execute("INSERT INTO workspace (id) VALUES ('ws')")
    await pool.execute("INSERT INTO workspace_settings (workspace_id, running_runs_max) VALUES ('ws', $1)", LIMIT)
    await pool.execute(
        "INSERT INTO outbox (event_id, topic, value, workspace_id, conversation) SELECT gen_random_uuid(),"
        " 'draft-requested', '{}', 'ws', 'conversation ' || n FROM generate_series(1, 20) n"
    )
    yield pool
    await pool.close()


async def admit(pool: Pool) -> int:
    return len(await sql.outbox.take_admitted_requests.rows(pool, taken_s=10.0, limit=100))


async def test_as_many_are_admitted_as_there_is_room_for(pool: Pool) -> None:
    """The limit at once, none while they are under way, one more for each that was consumed."""
    assert await admit(pool) == LIMIT
    assert await admit(pool) == 0
    await pool.execute(
        "UPDATE outbox SET published_at = now(), consumed_at = now() WHERE id IN"
        " (SELECT id FROM outbox WHERE taken_until IS NOT NULL LIMIT 2)"
    )
    assert await admit(pool) == 2


async def test_who_began_before_another_admitted_counts_what_that_let_in(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay whose statement began earlier and that gets the lock later: both together admit no more than the limit."""
    query = sql.outbox.take_admitted_requests
    quick, call = query.text, "FROM admit_requests($1, $2)"
    assert call in quick
    slow = quick.replace(call, "FROM (SELECT pg_sleep(0.5)) slept CROSS JOIN LATERAL admit_requests($1, $2)")
    monkeypatch.setattr(query, "text", slow)
    late = asyncio.create_task(admit(pool))
    await begun(pool)
    monkeypatch.setattr(query, "text", quick)
    assert await admit(pool) == LIMIT
    assert await late == 0


async def begun(pool: Pool) -> None:
    """The slow one's statement has begun."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with asyncio.timeout(5):
        while not await pool.fetchval(asleep):  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(0.01)
