"""A revision whose worker died: it is settled by what is recorded, whatever was switched off or went down meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from agents import revise
from agents.fates import DONE
from agents.reading import read_event
from agents.rim import OutboxRow
from app.stack.local import LocalStack
from db.pool import create_pool
from schemas.events import DraftEvaluated
from tests.conftest import Database
from tests.db.meeting_rows import WORKSPACE, add_workspace
from tests.rim.desk import Desk, desk

SOON = "!!near hello 2"  # reaches the threshold in the first iteration
SELECTED, REVISED, JUDGED = 1, 2, 3  # calls whose answers are recorded


@pytest.fixture
async def office(stack: LocalStack, database: Database) -> AsyncIterator[Desk]:
    """One workspace with revision on."""
    pool = await create_pool(database.url, size=16, application="desk")
    await add_workspace(pool, auto_send_revision_enabled=True)
    async with desk(stack, pool, WORKSPACE) as opened:
        yield opened
    await pool.close()


async def left_behind(office: Desk, body: str, answers: int) -> tuple[uuid.UUID, OutboxRow, DraftEvaluated]:
    """A draft whose worker died as soon as so many answers of its revision were recorded; nobody holds it any more."""
    made = await office.receive("ann", body)
    await office.work("draft-evaluated")
    row = office.rows.pop(0)
    event = read_event(DraftEvaluated, row.value)
    assert isinstance(event, DraftEvaluated)
    left = answers

    def die(point: str) -> None:
        nonlocal left
        left -= point == "call.settled"
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await revise.handle(event, replace(office.rim, crash_point=die))
    await office.pool.execute("UPDATE draft_pipeline_run SET lease_until = now() WHERE status = 'RUNNING'")
    await office.pool.execute("UPDATE draft_claim SET lease_until = now()")
    return made, row, event


OFF = {
    "disabled_for_workspace": "UPDATE workspace_settings SET auto_send_revision_enabled = false",
    "disabled_globally": "UPDATE kill_switch SET disabled = true, reason = 't', changed_by = 't', changed_at = now()"
    " WHERE name = 'AUTO_SEND_REVISION_DISABLED'",
}


@pytest.mark.parametrize("statement", OFF.values(), ids=OFF)
async def test_a_text_that_reached_the_threshold_before_the_switch_is_applied(office: Desk, statement: str) -> None:
    """It was revised and judged while revision was on: its result says `applied`, and it is sent."""
    made, row, _ = await left_behind(office, SOON, JUDGED)
    await office.pool.execute(statement)
    office.rows.append(row)
    await office.work()
    await office.send()
    found = await office.draft(made)
    assert (found["revision_outcome"], found["auto_send_revision_applied"]) == ("applied", True)
    assert (found["auto_send_action"], found["status"]) == ("send_immediate", "sent")


@pytest.mark.parametrize("outcome", OFF)
@pytest.mark.parametrize(("body", "answers"), [(SOON, REVISED), ("!!never hello", JUDGED)])
async def test_a_text_that_did_not_reach_it_goes_to_a_person(
    office: Desk, outcome: str, body: str, answers: int
) -> None:
    """Not judged yet, or not good enough: nothing more is asked, the result says what was switched off."""
    made, row, _ = await left_behind(office, body, answers)
    await office.pool.execute(OFF[outcome])
    office.rows.append(row)
    await office.work()
    await office.send()
    found = await office.draft(made)
    assert (found["revision_outcome"], found["auto_send_action"]) == (outcome, "needs_review")
    assert await office.pool.fetchval("SELECT count(*) FROM delivery") == 0


class Down:
    """The real model while its breaker is open."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def is_down(self, model: str) -> bool:
        return True

    async def available(self, model: str) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answers", "outcome"), [(SELECTED, "deadline_exceeded"), (REVISED, "deadline_exceeded"), (JUDGED, "applied")]
)
async def test_a_revision_whose_time_is_over_waits_for_no_model(office: Desk, answers: int, outcome: str) -> None:
    """Its 120 s ended while the model was down: it is settled at once, without a call."""
    made, _, event = await left_behind(office, SOON, answers)
    await office.pool.execute("UPDATE draft_claim SET claimed_at = now() - interval '10 minutes'")
    calls = await office.pool.fetchval("SELECT count(*) FROM model_call")
    async with asyncio.timeout(5):
        assert await revise.handle(event, replace(office.rim, model=Down(office.rim.model))) == DONE
    assert (await office.draft(made))["revision_outcome"] == outcome
    assert await office.pool.fetchval("SELECT count(*) FROM model_call") == calls
