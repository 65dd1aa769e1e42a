"""A failed run tried again, through the agents: nothing is paid twice, and a draft that a person settled stays settled."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agents import calling, draft
from agents.fates import DONE, Retry
from agents.reading import read_event
from app.cli.retrying import retry_run
from app.stack.local import LocalStack
from db.pool import create_pool, transaction
from schemas.codes import Stage
from schemas.events import DraftRequested
from tests.conftest import Database
from tests.db.meeting_rows import TOMORROW, WORKSPACE, add_slot, add_workspace
from tests.rim.desk import Desk, desk

BODY = "Hello, how do I rename my board? !!confident"


@pytest.fixture
async def office(stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """One workspace whose drafts all go to a person."""
    monkeypatch.setattr(calling, "RETRY_BASE_S", 0.001)
    pool = await create_pool(database.url, size=16, application="desk")
    await add_workspace(pool)
    await pool.execute("UPDATE workspace SET default_mode = 'DRAFT_ONLY'")
    async with desk(stack, pool, WORKSPACE) as opened:
        yield opened
    await pool.close()


async def failed(office: Desk, stack: LocalStack, stage: Stage, body: str = BODY) -> uuid.UUID:
    """A draft whose run found no answer at `stage`."""
    stack.model.behave({"stages": {stage: {"pnonsense": 1}}})
    made = await office.receive("ann", body)
    await office.work()
    stack.model.behave(None)
    return made


async def tried_again(office: Desk, made: uuid.UUID) -> DraftRequested:
    """The request that `runs retry` writes."""
    run = await office.pool.fetchval("SELECT run_id FROM ai_draft WHERE id = $1", made)
    async with transaction(office.pool) as connection:
        await retry_run(connection, run, actor="nora", reason="test")
    row = await office.pool.fetchrow(
        "SELECT value FROM outbox WHERE topic = 'draft-requested' AND consumed_at IS NULL ORDER BY id DESC LIMIT 1"
    )
    assert row is not None
    event = read_event(DraftRequested, row["value"])
    assert isinstance(event, DraftRequested)
    return event


async def second_run(office: Desk) -> dict[str, Any]:
    row = await office.pool.fetchrow(
        "SELECT status, reason, (SELECT array_agg(c.stage ORDER BY c.started_at) FROM model_call c WHERE c.run_id = r.id)"
        " AS asked FROM draft_pipeline_run r WHERE attempt = 2"
    )
    assert row is not None
    return dict(row)


class Interrupting:
    """The real model; `meanwhile` happens while `stage` is asked."""

    def __init__(self, model: Any, stage: Stage, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        self._model, self._stage, self._meanwhile = model, stage, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def call(self, ask: Any, *more: Any) -> Any:
        if ask.stage is self._stage:
            await self._meanwhile()
        return await self._model.call(ask, *more)


async def test_a_worker_that_dies_before_the_copy_leaves_nothing_to_pay_again(office: Desk, stack: LocalStack) -> None:
    """The run of a retry exists and its worker is gone: who takes it over begins with what the failed run had."""
    event = await tried_again(office, await failed(office, stack, Stage.VERIFIER))

    def die(point: str) -> None:
        if point == "run.created":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await draft.handle(event, replace(office.rim, crash_point=die))
    await office.pool.execute("UPDATE draft_pipeline_run SET lease_until = now() WHERE status = 'RUNNING'")
    assert await draft.handle(event, office.rim) == DONE
    assert (await second_run(office))["asked"] == [Stage.VERIFIER, Stage.EVALUATION]


async def test_a_draft_that_was_settled_before_its_retry_costs_nothing(office: Desk, stack: LocalStack) -> None:
    """A person rejected it while the retry waited: the run ends there, without one question."""
    made = await failed(office, stack, Stage.STRATEGY)
    event = await tried_again(office, made)
    assert await office.decide(made, "reject") == "rejected"
    assert await draft.handle(event, office.rim) == DONE
    assert await second_run(office) == {"status": "ABORTED", "reason": "draft_settled", "asked": None}


@pytest.mark.parametrize("stage", [Stage.GENERATION, Stage.EVALUATION])
async def test_a_draft_that_is_settled_during_its_retry_stays_settled(
    office: Desk, stack: LocalStack, stage: Stage
) -> None:
    """A person rejects it while a stage is asked: no evaluation is told, the run ends, its draft has no text."""
    made = await failed(office, stack, Stage.STRATEGY)
    event = await tried_again(office, made)
    model: Any = Interrupting(office.rim.model, stage, lambda: office.decide(made, "reject"))
    assert isinstance(await draft.handle(event, replace(office.rim, model=model)), Retry)
    assert await draft.handle(event, office.rim) == DONE
    found, row = await second_run(office), await office.draft(made)
    assert (found["status"], found["reason"]) == ("ABORTED", "draft_settled")
    assert (row["status"], row["content"]) == ("rejected", None)
    assert await office.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'draft-evaluated'") == 0


async def test_a_settled_draft_takes_no_time_from_the_calendar(office: Desk, stack: LocalStack) -> None:
    """It is rejected while its retry reads which time the lead accepted: that time stays free."""
    await add_slot(office.pool)
    accepts = f"Hello, please schedule a call with me at {TOMORROW.isoformat().replace('+00:00', 'Z')}. !!confident"
    made = await failed(office, stack, Stage.GENERATION, accepts)
    event = await tried_again(office, made)
    model: Any = Interrupting(office.rim.model, Stage.MEETING_EXTRACT, lambda: office.decide(made, "reject"))
    assert isinstance(await draft.handle(event, replace(office.rim, model=model)), Retry)
    assert await draft.handle(event, office.rim) == DONE
    assert await office.pool.fetchval("SELECT count(*) FROM booking WHERE status = 'held'") == 0
