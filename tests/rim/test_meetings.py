"""A meeting from the message to the booking: agents, scripted model and Postgres are real; each fault is injected."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from agents import calling
from agents.giving_up import give_up
from agents.outcomes import sha256_of
from agents.outside_bookings import record_outside_booking
from agents.reading import read_event
from agents.review import expire_reviews
from app.stack.local import LocalStack
from db import sql
from db.pool import create_pool
from db.queries import Query
from schemas.booking import OutsideBooking
from schemas.events import RevisionResult
from tests.conftest import Database
from tests.db.meeting_rows import TOMORROW, WORKSPACE, add_slot, add_workspace
from tests.rim.desk import Desk, desk

TIME = TOMORROW.isoformat().replace("+00:00", "Z")
ACCEPTS = f"Hello, please schedule a call with me at {TIME}. !!confident"
GATE = "meeting_overseer_gate"
EXTRACT = "meeting_overseer_extract"


@pytest.fixture
async def office(stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """One workspace with one free slot; calls that hang are given up soon."""
    monkeypatch.setattr(calling, "RETRY_BASE_S", 0.001)
    pool = await create_pool(database.url, size=16, application="desk")
    await add_workspace(pool)
    await add_slot(pool)
    async with desk(stack, pool, WORKSPACE) as opened:
        yield opened
    await pool.close()


async def settings(office: Desk, **columns: Any) -> None:
    for name, value in columns.items():
        await office.pool.execute(f"UPDATE workspace_settings SET {name} = $1", value)


async def end(office: Desk, draft: uuid.UUID) -> dict[str, Any]:
    """What is recorded of a draft's meeting."""
    row = await office.pool.fetchrow(
        "SELECT d.status, d.auto_send_action AS action, d.auto_send_reason AS reason, o.decision, o.outcome,"
        " o.outcome_reason, b.status AS booking, f.outcome AS followup, f.reason AS why, f.done_at IS NOT NULL AS done"
        " FROM ai_draft d LEFT JOIN meeting_overseer_decision o ON o.draft_id = d.id LEFT JOIN booking b ON"
        " b.draft_id = d.id LEFT JOIN followup_task f ON f.draft_id = d.id WHERE d.id = $1",
        draft,
    )
    assert row is not None
    return dict(row)


def shows(found: dict[str, Any], **wanted: Any) -> None:
    assert {name: found[name] for name in wanted} == wanted


async def test_an_accepted_time_is_held_sent_and_booked_once(office: Desk) -> None:
    """The hold stands while the draft is judged, is confirmed with the send, and nobody else is offered the time."""
    draft = await office.receive("ann", ACCEPTS)
    await office.work("revision-result")
    shows(await end(office, draft), booking="held", decision="approve", outcome="booked", followup=None)
    await office.work()
    await office.send()
    shows(await end(office, draft), status="sent", booking="confirmed", followup="booked", why="sent", done=True)
    other = await office.answer("ben", ACCEPTS)
    shows(
        await end(office, other),
        booking=None,
        outcome="clarification",
        outcome_reason="not_free",
        followup="clarification",
    )
    assert await office.pool.fetchval("SELECT count(*) FROM booking") == 1


async def test_of_two_leads_who_accept_at_the_same_time_one_is_booked(office: Desk, stack: LocalStack) -> None:
    """Both runs saw the slot free; the other text agrees to a time it does not have, which nobody may send."""
    stack.model.behave({"stages": {"draft_strategy_step1": {"latency_ms": 300}}})
    drafts = [await office.receive(lead, ACCEPTS) for lead in ("ann", "ben")]
    await office.work_together()
    await office.send()
    ends = {draft: await end(office, draft) for draft in drafts}
    booked, loser = sorted(drafts, key=lambda draft: str(ends[draft]["booking"]))
    shows(ends[booked], status="sent", booking="confirmed", followup="booked")
    shows(ends[loser], status="pending", booking="released", followup="task_created", why="slot_taken")
    shows(ends[loser], action="needs_review", reason="hard_blocked")
    block = {"group": "state", "rule": "meeting_already_booked", "start": -1, "end": -1}
    assert block in (await office.draft(loser))["hard_blocks"]
    assert await office.decide(loser, "approve") == "refused_meeting_already_booked"
    assert (await office.draft(loser))["status"] == "pending"


# ---- the overseer fails


@pytest.mark.parametrize(
    ("stage", "fault", "enabled"),
    [
        (GATE, "p500", False),
        (GATE, "pcut", False),
        (GATE, "pnonsense", True),
        (GATE, "phang", True),
        (EXTRACT, "p500", True),
        (EXTRACT, "pnonsense", False),
        (EXTRACT, "phang", True),
    ],
)
async def test_an_overseer_that_fails_stops_no_draft(
    office: Desk, stack: LocalStack, monkeypatch: pytest.MonkeyPatch, stage: str, fault: str, enabled: bool
) -> None:
    """Errors, nonsense, cut answers and time-outs: the run is completed. Without its gate nothing is booked where it
    decides; the rules alone book where it does not; without an extract nobody knows a time."""
    monkeypatch.setattr(calling, "MODEL_CALL_S_MAX", 0.5)
    await settings(office, followup_booking_gate_enabled=enabled)
    stack.model.behave({"stages": {stage: {fault: 1}}})
    found = await end(office, await office.answer("ann", ACCEPTS))
    if stage == EXTRACT:
        shows(found, status="sent", booking=None, outcome="error", followup="error", why="overseer_failed")
    elif enabled:
        shows(found, decision="error", booking="held", followup="error", why="gate_failed", reason="booking_refused")
        shows(found, status="pending", action="needs_review")
    else:
        shows(found, decision="error", status="sent", booking="confirmed", followup="booked")


# ---- the gate


async def test_the_gate_must_approve_and_the_confidence_reach_the_pinned_threshold(office: Desk) -> None:
    """Below it: a task for a person, who may still send, and then it is booked."""
    await settings(office, followup_booking_gate_enabled=True)
    await office.pool.execute(
        "INSERT INTO confidence_policy_revision (scope, workspace_id, auto_send_threshold, booking_threshold, created_by,"
        " reason) VALUES ('workspace', $1, 0.5, 1.0, 't', 't')",
        WORKSPACE,
    )
    draft = await office.answer("ann", ACCEPTS)
    found = await end(office, draft)
    shows(found, action="needs_review", reason="booking_refused", booking="held")
    shows(found, followup="task_created", why="below_booking_threshold", done=False)
    assert await office.decide(draft, "approve") == "approved"
    shows(await end(office, draft), status="sent", booking="confirmed", followup="booked", done=True)


async def test_a_gate_that_asks_back_gives_the_time_up(office: Desk) -> None:
    """Its text takes the draft's place and does not agree to the time any more: a question, no booking."""
    await settings(office, followup_booking_gate_enabled=True)
    found = await end(office, await office.answer("ann", ACCEPTS.replace("!!", "!!gate !!")))
    shows(found, decision="revise", booking=None, followup="clarification", why="gate_revised", status="sent")


async def test_with_a_failed_bundle_the_rules_alone_decide(office: Desk, stack: LocalStack) -> None:
    """The gate is on and has no answer: without its context it is not asked to agree."""
    await settings(office, followup_booking_gate_enabled=True, lead_context_bundle_enabled=True)
    await office.pool.execute("ALTER TABLE lead_memory_entry RENAME TO lead_memory_entry_gone")
    stack.model.behave({"stages": {GATE: {"pnonsense": 1}}})
    shows(await end(office, await office.answer("ann", ACCEPTS)), status="sent", booking="confirmed", followup="booked")


async def test_a_model_that_accepts_for_the_lead_books_nothing(office: Desk) -> None:
    """The scripted overseer takes the first slot for "the first slot"; the lead named no time."""
    found = await end(
        office, await office.answer("ann", "Could we schedule a meeting? The first slot is fine. !!confident")
    )
    shows(found, status="sent", booking=None, followup="clarification", why="not_named")


# ---- the other ends


async def test_a_rejected_or_expired_draft_frees_its_time(office: Desk) -> None:
    """A person is to see to the lead, and the next lead may have the time."""
    await settings(office, followup_booking_gate_enabled=False)
    await office.pool.execute("UPDATE workspace SET default_mode = 'DRAFT_ONLY'")
    rejected = await office.answer("ann", ACCEPTS)
    shows(await end(office, rejected), booking="held", followup=None, action="needs_review")
    assert await office.decide(rejected, "reject") == "rejected"
    shows(await end(office, rejected), status="rejected", booking="released", followup="task_created", why="rejected")
    expired = await office.answer("ben", ACCEPTS)
    await office.pool.execute(
        "UPDATE review_request SET expires_at = now() - interval '1 second' WHERE status = 'open'"
    )
    assert await expire_reviews(office.rim, 10) == 1
    shows(await end(office, expired), status="expired", booking="released", followup="task_created", why="expired")
    approved = await office.answer("eve", ACCEPTS)
    assert await office.decide(approved, "approve") == "approved"
    shows(await end(office, approved), status="sent", booking="confirmed", followup="booked")


async def test_a_person_who_edits_the_time_away_gives_it_up(office: Desk) -> None:
    """And one who keeps it books it; where the draft did not name it, the booking stays what the lead accepted."""
    await office.pool.execute("UPDATE workspace SET default_mode = 'DRAFT_ONLY'")
    named = f"{TOMORROW:%d.%m.%Y} at {TOMORROW:%H:%M} UTC suits us."
    draft = await office.answer("ann", ACCEPTS)
    await office.pool.execute("UPDATE ai_draft SET content = $2 WHERE id = $1", draft, named)
    assert await office.decide(draft, "edit", "We are sorry, somebody will call you.") == "edited"
    shows(await end(office, draft), status="sent", booking=None)
    other = await office.answer("ben", ACCEPTS)
    assert await office.decide(other, "edit", f"Thank you. {named}") == "edited"
    shows(await end(office, other), status="sent", booking="confirmed", followup="booked")


async def test_a_time_that_was_booked_outside_meanwhile_stops_the_send(office: Desk) -> None:
    """A delayed send whose hold gave way is not made, and nobody can approve it; an edited text without it can be sent."""
    await settings(office, send_delay_s=3600.0)
    draft = await office.answer("ann", ACCEPTS)
    shows(await end(office, draft), status="scheduled", booking="held")
    made = {"workspace_id": WORKSPACE, "lead_id": "zoe", "external_id": "cal-1"}
    times = {"starts_at": TOMORROW, "ends_at": TOMORROW + timedelta(minutes=10)}
    await record_outside_booking(office.pool, OutsideBooking.model_validate(made | times))
    await office.pool.execute("UPDATE delivery SET scheduled_for = now()")
    await office.send()
    shows(await end(office, draft), status="pending", reason="meeting_already_booked", booking="released")
    assert await office.decide(draft, "approve") == "refused_meeting_already_booked"


async def test_an_offer_that_is_not_free_any_more_is_not_sent_by_itself(office: Desk) -> None:
    """The text names a free slot; before it is due somebody else has it: a person is asked."""
    await settings(office, send_delay_s=3600.0)
    draft = await office.answer("ann", "Hello, could we schedule a meeting? I am in Europe/Berlin. !!confident")
    text = f"How about {TOMORROW:%d.%m.%Y} at {TOMORROW:%H:%M} UTC?"
    for table in ("delivery", "ai_draft"):
        await office.pool.execute(f"UPDATE {table} SET content = $1, content_sha256 = $2", text, sha256_of(text))
    await office.pool.execute("UPDATE delivery SET scheduled_for = now()")
    other = await office.answer("ben", ACCEPTS)
    assert (await end(office, other))["booking"] == "held"
    shows(await end(office, draft), status="pending", reason="meeting_time_gone", followup="clarification")


async def test_a_newer_message_keeps_the_time_that_the_older_one_accepted(office: Desk) -> None:
    """The older run is superseded while it holds the slot; the newer one, which accepts it again, has it."""
    older = await office.receive("ann", ACCEPTS)
    await office.work("revision-result")
    rows, office.rows = office.rows, []
    await office.pool.execute("UPDATE draft_pipeline_run SET superseded_at = now() WHERE draft_id = $1", older)
    newer = await office.answer("ann", f"PS: {ACCEPTS}")
    office.publish(rows)
    await office.work()
    shows(await end(office, newer), status="sent", booking="confirmed", followup="booked")
    shows(await end(office, older), status="superseded", booking="released", followup=None)


async def test_a_failed_run_gives_its_time_back_and_a_person_who_sends_takes_it_again(office: Desk) -> None:
    """An event that was given up: a person is asked and the time is free; what the person sends books it, if it still is."""
    draft = await office.receive("ann", ACCEPTS)
    await office.work("revision-result")
    event = read_event(RevisionResult, office.rows.pop(0).value)
    assert isinstance(event, RevisionResult)
    await give_up(event, office.rim)
    shows(await end(office, draft), booking="released", followup="error", why="unexpected_error", action="needs_review")
    assert await office.decide(draft, "approve") == "approved"
    shows(await end(office, draft), status="sent", booking="confirmed", followup="booked")


async def test_the_legacy_system_books_for_itself(office: Desk) -> None:
    """In its mode nothing is held, no task is made and nothing is sent; the overseer's word is on record."""
    await office.pool.execute("UPDATE workspace SET default_mode = 'LEGACY_AUTO_REPLY'")
    found = await end(office, await office.answer("ann", ACCEPTS))
    shows(found, action="none", booking=None, followup=None, decision="approve", outcome="booked")


async def test_a_message_about_nothing_to_book_leaves_no_trace_of_a_meeting(
    office: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No decision, no booking, no task, and not one statement more than without meetings."""
    asked: list[str] = []
    bind = Query._bind

    def noted(query: Query, given: dict[str, Any]) -> list[Any]:
        asked.append(query.name)
        return bind(query, given)

    monkeypatch.setattr(Query, "_bind", noted)
    draft = await office.answer("ann", "Hello, how do I rename my board? !!confident")
    assert {"record_decision_if_leased", "record_sent"} <= set(asked)
    assert not set(asked) & {query.name for query in sql.booking}
    shows(await end(office, draft), status="sent", decision=None, booking=None, followup=None)
    assert not (await office.draft(draft))["scheduling"]
