"""Imported drafts get the decisions they lack: nothing is sent, nothing recorded changes, twice is once."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.backfill import Result, plan
from app.backfilling import Backfill
from app.history import check, import_file
from app.model.client import ModelClient
from app.stack.local import LocalStack
from db.pool import Pool, create_pool
from schemas.ids import draft_id, run_id
from tests.cli.conftest import config_of
from tests.conftest import Database

WS = "ws-history"
THEN = datetime(2026, 5, 4, 8, tzinfo=UTC)
SECRET = "a text that is nobody's business"


def message(number: int, lead: str, body: str = SECRET, **fields: Any) -> dict[str, Any]:
    """A message as another system kept it, `number` minutes after the first."""
    return {
        "kind": "message",
        "message_id": f"h-{number}",
        "workspace_id": WS,
        "lead_id": lead,
        "channel": "chat",
        "received_at": (THEN + timedelta(minutes=number)).isoformat(),
        "body": body,
    } | fields


def draft(number: int, text: str = "Thank you, we will look into it.", **fields: Any) -> dict[str, Any]:
    """A draft that it made for message `number`."""
    return {
        "kind": "draft",
        "workspace_id": WS,
        "trigger_message_id": f"h-{number}",
        "content": text,
        "mode": "AI_AUTO_SEND",
        "status": "pending",
        "created_at": (THEN + timedelta(minutes=number)).isoformat(),
    } | fields


def sent(number: int, lead: str) -> dict[str, Any]:
    return message(number, lead, "Thank you.", direction="outbound", source="old-system")


HISTORY = [
    *(message(1, "l-sent"), sent(2, "l-sent"), draft(1, status="sent", sent_message_id="h-2")),
    *(message(3, "l-later"), sent(4, "l-later"), draft(3, status="sent", sent_message_id="h-4", delayed=True)),
    *(message(5, "l-edited"), sent(6, "l-edited"), draft(5, status="sent", sent_message_id="h-6", edited=True)),
    *(message(7, "l-confident", "Hello !!confident"), draft(7)),
    *(message(8, "l-low", "Hello !!low"), draft(8)),
    *(message(9, "l-claim", "Hello !!confident"), draft(9, "It costs 4,711 EUR.")),
    *(message(10, "l-newer"), message(11, "l-newer"), draft(10)),
    *(message(12, "l-answered"), sent(13, "l-answered"), draft(12)),
    *(message(14, "l-rejected"), draft(14, status="rejected")),
    *(message(15, "l-legacy"), draft(15, mode="LEGACY_AUTO_REPLY")),
    *(message(16, "l-nonsense", "Hello !!nonsense"), draft(16)),
]
APPLIED = {
    Result.SENT: 2,
    Result.JUDGED_READY: 1,
    Result.JUDGED_REVIEW: 2,
    Result.NEWER_INBOUND: 1,
    Result.ANSWERED: 1,
    Result.NOT_PENDING: 2,
    Result.MODE: 1,
}


@pytest.fixture
async def pool(database: Database, tmp_path: Path) -> AsyncIterator[Pool]:
    """A workspace into which the history was imported."""
    opened = await create_pool(database.url, size=10)
    await opened.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", WS)
    await opened.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", WS)
    await import_file(opened, write(tmp_path / "old.jsonl", HISTORY))
    yield opened
    await opened.close()


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


async def backfill(pool: Pool, stack: LocalStack | None) -> tuple[Counter[str], str]:
    """Results and the log; without a stack a dry run."""
    log, model = io.StringIO(), ModelClient(config_of(stack.env)) if stack is not None else None
    try:
        return await Backfill(pool, model, log, "operator:test").run(None, None), log.getvalue()
    finally:
        if model is not None:
            await model.close()


async def tables(pool: Pool) -> dict[str, list[Any]]:
    """Everything that a backfill or an import could touch."""
    names = "lead message ai_draft delivery draft_pipeline_run draft_pipeline_artifact model_call outbox review_request"
    return {name: await pool.fetch(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names.split()}


async def test_importing_twice_changes_nothing_the_second_time(pool: Pool, tmp_path: Path) -> None:
    """Every row is there once; the second time all were known."""
    before = await tables(pool)
    again = await import_file(pool, write(tmp_path / "again.jsonl", HISTORY))
    assert (again.messages, again.drafts, again.sent_tied) == (0, 0, 0)
    assert (again.messages_known, again.drafts_known) == (16, 11)
    assert await tables(pool) == before


async def test_an_import_starts_nothing_and_is_older_than_all_that_is_live(pool: Pool) -> None:
    """No request, no event, no waiting message; every sequence is below the pipeline's."""
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert await pool.fetchval("SELECT count(*) FROM message WHERE disposition = 'waiting'") == 0
    assert await pool.fetchval("SELECT max(ingest_seq) FROM message") < 0
    order = await pool.fetch("SELECT message_id FROM message ORDER BY ingest_seq")
    assert [row["message_id"] for row in order] == [f"h-{number}" for number in range(1, 17)]


def test_a_broken_line_is_named_without_its_content(tmp_path: Path) -> None:
    """Line number, field and kind of mistake; the rest of the file is read to its end."""
    path = write(tmp_path / "broken.jsonl", [draft(1), {"kind": "draft"}, [], message(1, "l", channel=SECRET)])
    path.write_text(path.read_text() + "no json\n\n")
    checked = check(path)
    assert checked.lines == 5
    assert [(each.line, each.error) for each in checked.broken] == [
        (2, "workspace_id: missing"), (3, "kind: model_attributes_type"), (4, "channel: enum"), (5, "no JSON"),
    ]  # fmt: skip


async def test_a_dry_run_says_what_would_be_done_and_writes_nothing(pool: Pool) -> None:
    """No model is asked; the gates that stand against a draft are the same."""
    before = await tables(pool)
    results, log = await backfill(pool, None)
    assert (results[Result.WOULD_MARK_SENT], results[Result.WOULD_JUDGE]) == (2, 4)
    assert {code: results[code] for code in APPLIED if code.startswith("skip:")} == {
        code: count for code, count in APPLIED.items() if code.startswith("skip:")
    }
    assert await tables(pool) == before
    assert len(log.splitlines()) == results.total() == 11


async def test_a_backfill_decides_what_was_undecided_and_sends_nothing(pool: Pool, stack: LocalStack) -> None:
    """Sent drafts get their action, pending ones a judgement; who is below the threshold or unsafe goes to a person."""
    results, log = await backfill(pool, stack)
    assert results == APPLIED | {"error:does_not_parse": 1}
    rows = {row["lead_id"]: row for row in await pool.fetch("SELECT * FROM ai_draft")}
    assert rows["l-sent"]["auto_send_action"] == "send_immediate"
    assert rows["l-later"]["auto_send_action"] == "send_delayed"
    assert rows["l-sent"]["auto_send_evaluated_at"] == THEN + timedelta(minutes=2)
    assert rows["l-sent"]["auto_send_confidence"] is None
    for lead, action, reason in (
        ("l-confident", None, "confident"),
        ("l-low", "needs_review", "below_threshold"),
        ("l-claim", "needs_review", "hard_blocked"),
    ):
        assert (rows[lead]["auto_send_action"], rows[lead]["auto_send_reason"]) == (action, reason)
        assert rows[lead]["auto_send_confidence"] is not None
        assert (rows[lead]["auto_send_threshold"], rows[lead]["status"]) == (0.9, "pending")
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE status <> 'sent'") == 0
    assert SECRET not in log
    asked = [line for line in stack.model.ledger() if line["run_id"] in {str(row["run_id"]) for row in rows.values()}]
    calls = {str(row["id"]) for row in await pool.fetch("SELECT id FROM model_call")}
    assert {line["call_id"] for line in asked} <= calls


async def test_a_backfilled_question_can_be_answered_like_any_other(pool: Pool, stack: LocalStack) -> None:
    """It has its review request, its outcome on the topic, and a run with context and both artifacts."""
    await backfill(pool, stack)
    draft_of = draft_id(WS, "h-8", "chat")
    assert await pool.fetchval("SELECT status FROM review_request WHERE draft_id = $1", draft_of) == "open"
    event = json.loads(await pool.fetchval("SELECT value FROM outbox WHERE topic = 'draft-outcome' AND value LIKE $1",
                                           f"%{draft_of}%".encode()))  # fmt: skip
    assert (event["action"], event["status"], event["sequence"]) == ("needs_review", "awaiting_review", 1)
    run = run_id(WS, "h-8", "chat", 1)
    stages = await pool.fetch("SELECT stage FROM draft_pipeline_artifact WHERE run_id = $1 ORDER BY 1", run)
    assert [row["stage"] for row in stages] == ["auto_send_evaluation", "final_draft"]
    assert await pool.fetchval("SELECT status FROM draft_pipeline_run WHERE id = $1", run) == "COMPLETED"
    assert await pool.fetchval("SELECT count(*) FROM draft_run_context WHERE run_id = $1", run) == 1
    assert await pool.fetchval("SELECT source FROM ai_interaction WHERE run_id = $1", run) == "backfill"


async def test_a_backfill_twice_changes_nothing_the_second_time(pool: Pool, stack: LocalStack) -> None:
    """What was decided or judged is no longer looked at, by a dry run neither; what had an error is tried again."""
    await pool.execute("UPDATE ai_draft SET status = 'rejected' WHERE lead_id = 'l-nonsense'")
    await backfill(pool, stack)
    before = await tables(pool)
    results, _ = await backfill(pool, stack)
    assert not [code for code in results if code.startswith(("done:", "error:"))]
    assert results[Result.DECIDED_MEANWHILE] == 0
    assert (await backfill(pool, None))[0] == results
    assert await tables(pool) == before


async def test_a_backfill_that_was_stopped_goes_on(pool: Pool, stack: LocalStack) -> None:
    """Stopped while the model is asked: the next one finishes what is left, and nothing is done or asked about twice."""
    stack.model.behave({"default": {"latency_ms": 700}})
    model = ModelClient(config_of(stack.env))
    first = Backfill(pool, model, io.StringIO(), "operator:test")
    running = asyncio.create_task(first.run(None, None))
    async with asyncio.timeout(10):
        while not await pool.fetchval("SELECT count(*) FROM model_call"):  # noqa: ASYNC110 - a row is no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stack.model.behave({})
    await model.close()
    assert not first.results.keys() & {Result.JUDGED_READY, Result.JUDGED_REVIEW}
    await backfill(pool, stack)
    assert await pool.fetchval("SELECT auto_send_confidence FROM ai_draft WHERE lead_id = 'l-confident'") is not None
    decided = await pool.fetch("SELECT lead_id, auto_send_action FROM ai_draft WHERE auto_send_action IS NOT NULL")
    assert {tuple(row) for row in decided} == {
        ("l-sent", "send_immediate"), ("l-later", "send_delayed"), ("l-low", "needs_review"), ("l-claim", "needs_review"),
    }  # fmt: skip
    answered = await pool.fetch("SELECT count(*) FROM model_call WHERE status = 'answered' GROUP BY draft_id")
    assert [row["count"] for row in answered] == [1, 1, 1]


async def test_a_recorded_decision_is_never_changed(pool: Pool, stack: LocalStack) -> None:
    """A draft that failed before its judgement waits for its person; a backfill leaves it alone."""
    await pool.execute("UPDATE ai_draft SET auto_send_action = 'needs_review', auto_send_reason = 'r'"
                       " WHERE lead_id = 'l-confident'")  # fmt: skip
    results, _ = await backfill(pool, stack)
    row = await pool.fetchrow("SELECT * FROM ai_draft WHERE lead_id = 'l-confident'")
    assert row is not None
    assert (row["auto_send_action"], row["auto_send_reason"], row["auto_send_confidence"]) == (
        "needs_review",
        "r",
        None,
    )
    assert results[Result.JUDGED_READY] == 0


def test_what_stands_against_a_draft_is_looked_at_in_a_fixed_order() -> None:
    """A booking that another draft made is an expected gate, like a newer message; being sent goes before all."""
    free = dict.fromkeys(
        ("ai_sent", "sent_delayed", "erased", "suppressed", "newer_inbound", "answered", "booked"), False
    )
    facts: dict[str, Any] = {**free, "status": "pending", "mode": "AI_AUTO_SEND", "content": "x", "has_trigger": True}
    assert plan({**facts, "booked": True}) is Result.BOOKED
    assert plan({**facts, "booked": True, "newer_inbound": True}) is Result.NEWER_INBOUND
    assert plan({**facts, "suppressed": True, "newer_inbound": True}) is Result.SUPPRESSED
    assert not isinstance(plan(facts), Result)
    assert not isinstance(
        plan({**facts, "ai_sent": True, "sent_at": None, "recorded_confidence": None, "status": "sent"}), Result
    )
