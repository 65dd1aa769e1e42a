"""The pool of connections: who waits longest is served first, and no place is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from db.pool import Pool, create_pool
from tests.conftest import Database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.url, size=1)
    yield pool
    await pool.close()


async def test_who_gives_a_connection_back_does_not_overtake_who_waits(pool: Pool) -> None:
    """A busy task that asks again and again would starve everybody else."""
    served: list[str] = []

    async def asks(name: str, times: int) -> None:
        for _ in range(times):
            await pool.fetchval("SELECT 1")
            served.append(name)

    await asyncio.gather(asks("busy", 10), asks("waits", 1))
    assert served.index("waits") <= 1


async def test_a_place_is_passed_on_by_who_no_longer_wants_it(pool: Pool) -> None:
    """Cancelled while waiting, or in the moment when it was given: the next one has it."""
    async with pool.acquire():
        gone, stays = (asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        handed, last = (asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(2))
        await asyncio.sleep(0)
    assert await stays == 1
    async with pool.acquire():
        given = asyncio.create_task(pool.fetchval("SELECT 1"))
        await asyncio.sleep(0)
    given.cancel()  # its turn has come, and it has not run since
    assert (await handed, await last) == (1, 1)
    async with asyncio.timeout(5):
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_connection_that_cannot_be_made_costs_no_place() -> None:
    """The error is told to each who asks; nobody waits for ever."""
    nowhere = Pool("postgresql://nobody@127.0.0.1:1/nothing", 1, "tests")
    outcomes = await asyncio.gather(*(nowhere.fetchval("SELECT 1") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, OSError) for outcome in outcomes), outcomes
