"""Runs that cannot be worked on any more: they end, a person is asked, and nobody ends what another works on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agents.ending import end_run
from agents.giving_up import give_up
from agents.reading import read_event
from agents.resuming import active_run
from agents.rim import Interrupted
from app.stack.local import LocalStack
from db import sql
from db.pool import create_pool
from schemas.codes import Phase, RunStatus
from schemas.events import RevisionResult
from schemas.limits import LEASE_S
from tests.conftest import Database
from tests.db.meeting_rows import WORKSPACE, add_workspace
from tests.rim.desk import Desk, desk

ASKS = "Hello, what are your opening hours? !!confident"


@pytest.fixture
async def office(stack: LocalStack, database: Database) -> AsyncIterator[Desk]:
    pool = await create_pool(database.url)
    await add_workspace(pool)
    async with desk(stack, pool, WORKSPACE) as opened:
        yield opened
    await pool.close()


async def test_a_run_whose_stored_state_cannot_be_read_goes_to_a_person(office: Desk) -> None:
    """What made its event fail makes giving up fail in the same place: it ends without reading it."""
    draft = await office.receive("ann", ASKS)
    await office.work("revision-result")
    event = read_event(RevisionResult, office.rows.pop(0).value)
    assert isinstance(event, RevisionResult)
    await office.pool.execute("UPDATE draft_run_context SET snapshot = '{}'")
    await give_up(event, office.rim)
    run = await office.pool.fetchrow("SELECT status, reason FROM draft_pipeline_run WHERE draft_id = $1", draft)
    assert run is not None
    assert tuple(run) == ("FAILED", "unexpected_error")
    assert await office.pool.fetchval("SELECT status FROM review_request WHERE draft_id = $1", draft) == "open"
    [outcome] = [row for row in office.rows if row.topic == "draft-outcome"]
    assert b"awaiting_review" in (outcome.value or b"")


async def test_nobody_ends_a_run_that_another_works_on(office: Desk) -> None:
    """Who comes back with an old lease is told so: its event is not acknowledged for a run that goes on elsewhere."""
    draft = await office.receive("ann", ASKS)
    await office.work("revision-result")
    run_id = await office.pool.fetchval("SELECT id FROM draft_pipeline_run WHERE draft_id = $1", draft)
    take = {"run_id": run_id, "owner": "desk", "lease_s": LEASE_S, "phase": Phase.DISPATCH}
    taken = await sql.run.take_lease_if_free.one(office.pool, **take)
    async with office.rim.leases.holding(run_id, taken["lease_epoch"]) as lease:
        run = await active_run(office.rim, lease)
        await office.pool.execute("UPDATE draft_pipeline_run SET lease_epoch = lease_epoch + 1")
        with pytest.raises(Interrupted, match="lease_lost"):
            await end_run(run, RunStatus.FAILED, "unexpected_error")
    assert await office.pool.fetchval("SELECT status FROM draft_pipeline_run") == "RUNNING"
