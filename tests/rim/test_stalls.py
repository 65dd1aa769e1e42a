"""A database that stalls for a moment: what was paid for is kept, and nobody takes it for a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

import db.pool
from agents.fates import DONE, Retry
from agents.reading import read_event
from app.stack.local import LocalStack
from db.pool import create_pool
from schemas.codes import Stage
from tests.conftest import Database
from tests.db.meeting_rows import WORKSPACE, add_workspace
from tests.rim.desk import AGENTS, Desk, desk

COMMAND_S = 0.5  # instead of half a minute


@pytest.fixture
async def office(stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """One workspace with revision on, and statements that are given up soon."""
    monkeypatch.setattr(db.pool, "COMMAND_S_MAX", COMMAND_S)
    pool = await create_pool(database.url, size=16, application="desk")
    await add_workspace(pool, auto_send_revision_enabled=True)
    async with desk(stack, pool, WORKSPACE) as opened:
        yield opened
    await pool.close()


class Stalling:
    """The real model; the database will not take the answer of `stage` before `holding` ends."""

    def __init__(self, model: Any, stage: Stage, url: str) -> None:
        self._model, self._stage, self._url = model, stage, url
        self.stalled: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def call(self, ask: Any, *more: Any) -> Any:
        answer = await self._model.call(ask, *more)
        if ask.stage is self._stage and self.stalled is None:
            locked = asyncio.Event()
            self.stalled = asyncio.create_task(self._lock_calls(locked))
            await locked.wait()
        return answer

    async def _lock_calls(self, locked: asyncio.Event) -> None:
        """Hold the rows of calls until a statement that wants them was given up."""
        connection = await asyncpg.connect(self._url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE model_call IN EXCLUSIVE MODE")
            locked.set()
            await asyncio.sleep(2 * COMMAND_S)  # the stall itself
        await connection.close()


@pytest.mark.parametrize("stage", [Stage.SELECTOR, Stage.REVISER, Stage.GENERATION])
async def test_an_answer_that_the_database_does_not_take_at_once_is_written_later(
    office: Desk, stack: LocalStack, database: Database, stage: Stage
) -> None:
    """The statement is given up while it waits: the answer is kept, asked for once, and the draft is revised and sent."""
    model = Stalling(office.rim.model, stage, database.url)
    office.rim = replace(office.rim, model=model)
    made = await office.receive("ann", "!!near hello")
    await worked_off(office)
    assert model.stalled is not None
    await model.stalled
    row = await office.draft(made)
    assert (row["revision_outcome"], row["status"]) == ("applied", "sent")
    asked = [
        (line["stage"], line["iteration"]) for line in stack.model.ledger() if line["run_id"] == str(row["run_id"])
    ]
    assert len(asked) == len(set(asked))


async def worked_off(office: Desk) -> None:
    """Everything is handled, what is to be tried again too, without waiting for leases that nobody renews."""
    while office.rows:
        row = office.rows.pop(0)
        if row.topic not in AGENTS:
            continue
        kind, handle = AGENTS[row.topic]
        event = read_event(kind, row.value)
        while isinstance(fate := await handle(event, office.rim), Retry):
            await office.pool.execute("UPDATE draft_claim SET lease_until = now() WHERE settled_at IS NULL")
            await asyncio.sleep(fate.after_s)
        assert fate == DONE
    await office.send()
