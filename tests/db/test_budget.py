"""The monthly budget in Postgres: however many ask at once, what is spent and reserved never exceeds the limit."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from db import sql
from db.pool import connect
from tests.conftest import Database

WORKSPACE = "ws-budget"
LIMIT, WORST = Decimal("1.00"), Decimal("0.10")
CONNECTIONS, RUNS = 24, 60


@dataclass
class Month:
    """A workspace with a limit and runs that may call."""

    connection: asyncpg.Connection
    runs: list[uuid.UUID]

    async def reserve(self, run: uuid.UUID, connection: asyncpg.Connection | None = None, **changes: Any) -> Any:
        """The new call's id; False when over budget, None when the call is not allowed."""
        given = {"stage": "draft_generation_step2", "attempt": 1, "epoch": 1, "worst_usd": WORST, "revision": False}
        call = {"call_id": uuid.uuid4(), "iteration": 0, "model": "m", "effort": "low", "input_sha256": ""}
        row = await sql.model_call.record_call_within_budget.row(
            connection or self.connection, run_id=run, **(given | call | changes)
        )
        return None if row is None else row["id"] or False

    async def ended(self, call: uuid.UUID, status: str, cost: str | None, failure: str | None = None) -> None:
        await self.connection.execute(
            "UPDATE model_call SET status = $2, cost_usd = $3, failure = $4, finished_at = now() WHERE id = $1",
            call, status, Decimal(cost) if cost else None, failure,
        )  # fmt: skip

    async def settle(self, run: uuid.UUID, stage: str | None = None) -> None:
        await sql.model_call.settle_reservations.run(self.connection, run_id=run, stage=stage, iteration=0)

    async def standing(self) -> list[float]:
        """What is spent and reserved."""
        row = await sql.model_call.budget_standing.one(self.connection, workspace_id=WORKSPACE)
        return [round(row["spent_usd"] or 0, 6), round(row["reserved_usd"] or 0, 6)]


@pytest.fixture
async def month(database: Database) -> AsyncIterator[Month]:
    """A limit of 1 USD, runs of one lead each."""
    connection = await connect(database.url)
    await connection.execute("INSERT INTO workspace (id) VALUES ($1)", WORKSPACE)
    await connection.execute(
        "INSERT INTO workspace_settings (workspace_id, monthly_budget_usd) VALUES ($1, $2)", WORKSPACE, LIMIT
    )
    runs = [uuid.uuid4() for _ in range(RUNS)]
    await connection.execute("INSERT INTO lead (workspace_id, lead_id) VALUES ($1, 'l')", WORKSPACE)
    await connection.executemany(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel,"
        " policy_revision, lease_owner, lease_until) VALUES ($1, $2, 'l', $3, $1, 'chat', 1, 'w', now())",
        [(run, WORKSPACE, str(run)) for run in runs],
    )
    yield Month(connection, runs)
    await connection.close()


async def test_nobody_gets_beyond_the_limit_at_the_same_time(month: Month, database: Database) -> None:
    """60 calls of 0.10 at once over 24 connections: exactly 10 are recorded, none of the others leaves a trace."""
    async with AsyncExitStack() as stack:
        pool: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            opened = await connect(database.url)
            stack.push_async_callback(opened.close)
            pool.put_nowait(opened)

        async def one(run: uuid.UUID) -> Any:
            connection = await pool.get()
            try:
                return await month.reserve(run, connection)
            finally:
                pool.put_nowait(connection)

        answers = await asyncio.gather(*map(one, month.runs))
    assert len([answer for answer in answers if answer]) == LIMIT / WORST
    assert answers.count(False) == RUNS - LIMIT / WORST
    assert await month.standing() == [0, 1]
    assert await month.connection.fetchval("SELECT count(*) FROM model_call") == LIMIT / WORST


async def test_calls_that_come_and_go_never_overshoot(month: Month, database: Database) -> None:
    """Reserve, look, settle with a smaller cost, over and over at once: never above the limit, in the end the truth."""
    chance, seen, spent = random.Random(7), [], []

    async def worker(number: int) -> None:
        connection = await connect(database.url)
        own = Month(connection, month.runs)
        for run in month.runs[number::8]:
            call = await own.reserve(run)
            seen.append(sum(await own.standing()))
            if call:
                cost = f"{chance.randint(1, 10) / 100:.2f}"
                await own.ended(call, "answered", cost)
                await own.settle(run)
                spent.append(Decimal(cost))
        await connection.close()

    await asyncio.gather(*map(worker, range(8)))
    assert max(seen) <= LIMIT
    assert await month.standing() == [float(sum(spent)), 0]
    assert sum(spent) > LIMIT / 2


async def test_a_retry_shares_its_reservation(month: Month) -> None:
    """Three attempts hold the worst case once, also where nothing is left; the answer settles them all."""
    run, *others = month.runs
    first = await month.reserve(run)
    for other in others[:9]:
        assert await month.reserve(other)
    assert await month.reserve(others[9]) is False
    await month.ended(first, "failed", "0", "http_500")
    second = await month.reserve(run, attempt=2)
    assert second
    assert await month.standing() == [0, 1]
    await month.ended(second, "answered", "0.02")
    await month.settle(run)
    assert await month.standing() == [0.02, 0.9]


@pytest.mark.parametrize(
    ("status", "failure", "cost", "spent"),
    [
        ("answered", None, "0.03", 0.03),
        ("unusable", "does_not_parse", "0.03", 0.03),
        ("refused", "http_429", "0", 0),
        ("failed", "http_400", "0", 0),
        ("failed", "timeout", "0", 0.1),
        ("failed", "superseded", "0", 0.1),
        ("answered", None, None, 0.1),
    ],
)
async def test_what_may_have_been_worked_on_counts(
    month: Month, status: str, failure: str | None, cost: str | None, spent: float
) -> None:
    """An answer counts what it cost, a refusal nothing, and work whose cost nobody knows all that was held."""
    call = await month.reserve(month.runs[0])
    await month.ended(call, status, cost, failure)
    await month.settle(month.runs[0])
    assert await month.standing() == [spent, 0]
    await month.settle(month.runs[0])
    assert await month.standing() == [spent, 0]


async def test_a_worker_that_died_leaves_nothing_reserved(month: Month) -> None:
    """A call without an end stays held while its run may ask again, and is settled once the run has ended."""
    run = month.runs[0]
    await month.reserve(run)
    assert not await sql.model_call.runs_with_stale_reservations.rows(month.connection, limit=10)
    await month.connection.execute(
        "UPDATE draft_pipeline_run SET status = 'FAILED', phase = 'done', reason = 'r', finished_at = now()"
        " WHERE id = $1", run,
    )  # fmt: skip
    stale = await sql.model_call.runs_with_stale_reservations.rows(month.connection, limit=10)
    assert [row["run_id"] for row in stale] == [run]
    await month.settle(run)
    assert await month.standing() == [0.1, 0]


async def test_the_month_counts_what_was_spent_before_the_limit(month: Month) -> None:
    """Calls from before there was a row, and from a time without a limit, are part of the month."""
    await month.connection.execute(
        "INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort,"
        " input_sha256, status, cost_usd, finished_at, started_at) SELECT gen_random_uuid(), $1, $1, $2, 's', 0, n, 'm',"
        " 'low', '', 'answered', 0.45, now(), date_trunc('month', now()) + (n - 2) * interval '40 days'"
        " FROM generate_series(1, 2) n", month.runs[1], WORKSPACE,
    )  # fmt: skip
    assert await month.reserve(month.runs[0])
    assert await month.standing() == [0.45, 0.1]
    change = "UPDATE workspace_settings SET monthly_budget_usd = $1"
    await month.connection.execute(change, None)
    await month.connection.execute("UPDATE model_call SET cost_usd = 0.85 WHERE stage = 's'")
    await month.connection.execute(change, LIMIT)
    assert await month.reserve(month.runs[2]) is False
    assert await month.reserve(month.runs[2], worst_usd=Decimal("0.05"))
    assert await month.standing() == [0.85, 0.15]


async def test_a_call_that_may_not_be_made_reserves_nothing(month: Month) -> None:
    """Another epoch, a superseded run, revision switched off, a call made before: nothing recorded, nothing held."""
    run = month.runs[0]
    assert await month.reserve(run, epoch=2) is None
    assert await month.reserve(run, revision=True) is None
    call = await month.reserve(run)
    with pytest.raises(asyncpg.UniqueViolationError):
        await month.reserve(run, call_id=call)
    await month.connection.execute("UPDATE draft_pipeline_run SET superseded_at = now()")
    assert await month.reserve(run, attempt=2) is None
    assert await month.standing() == [0, 0.1]


async def test_no_price_fits_into_no_budget(month: Month) -> None:
    """Infinity is more than any limit, and more than none is left of."""
    assert await month.reserve(month.runs[0], worst_usd=Decimal("1.01")) is False
    await month.connection.execute("UPDATE workspace_settings SET monthly_budget_usd = 0")
    assert await month.reserve(month.runs[0], worst_usd=Decimal("0.00000001")) is False
    assert await month.connection.fetchval("SELECT count(*) FROM model_call") == 0
