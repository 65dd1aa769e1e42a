"""`runs retry` and `explain`: a failed run is tried again on the same draft, a decision is told with its numbers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
import uuid
from typing import Any

import asyncpg
import pytest

from app.cli.retrying import retry_run
from app.cli.shell import Problem
from db import sql
from schemas.events import DraftRequested
from schemas.ids import draft_id, message_row_id, run_id
from tests.cli.conftest import Cli
from tests.conftest import Database
from tests.samples import naughty_strings

RUN = run_id("ws-1", "m-1", "chat", 1)
DRAFT = draft_id("ws-1", "m-1", "chat")
BODY = "a text that is nobody's business"


@pytest.fixture
async def failed(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A workspace with one message whose run FAILED before its evaluation."""
    await connection.execute(
        "INSERT INTO workspace (id) VALUES ('ws-1');"
        "INSERT INTO workspace_settings (workspace_id) VALUES ('ws-1');"
        "INSERT INTO lead (workspace_id, lead_id) VALUES ('ws-1', 'l-1')"
    )
    await add_message(connection, "m-1")
    await connection.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, status,"
        " phase, reason, policy_revision, lease_owner, lease_until, finished_at)"
        " VALUES ($1, 'ws-1', 'l-1', 'm-1', $2, 'chat',"
        " 'FAILED', 'done', 'draft_generation_step2_failed', 1, 'w', now(), now())",
        RUN,
        DRAFT,
    )
    await connection.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode,"
        " channel, policy_revision, auto_send_threshold, auto_send_action, auto_send_reason)"
        " VALUES ($2, $1, 'ws-1', 'l-1', 'm-1', 1, 'AI_AUTO_SEND', 'chat', 1, 0.9, 'needs_review', 'failed')",
        RUN,
        DRAFT,
    )
    return connection


async def add_message(connection: asyncpg.Connection, identity: str) -> None:
    await connection.execute(
        "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,"
        " received_at) VALUES ($1, 'ws-1', 'l-1', 'chat', $2, 'inbound', 'AI_AUTO_SEND', $3, 'run', now())",
        message_row_id("ws-1", identity),
        identity,
        BODY,
    )


async def retried(connection: asyncpg.Connection, run: uuid.UUID = RUN) -> tuple[int, uuid.UUID]:
    async with connection.transaction():
        return await retry_run(connection, run, actor="test", reason="test")


async def test_a_retry_is_the_next_attempt_on_the_same_draft(failed: asyncpg.Connection) -> None:
    """A waiting request with attempt 2, `retry_of` and the same draft id, due at once, audited."""
    attempt, new = await retried(failed)

    rows = await failed.fetch("SELECT *, not_before <= now() AS due FROM outbox")
    assert (attempt, new) == (2, run_id("ws-1", "m-1", "chat", 2))
    assert [(row["topic"], row["due"], row["conversation"] is not None) for row in rows] == [
        ("draft-requested", True, True)
    ]
    event = DraftRequested.model_validate_json(rows[0]["value"])
    assert (event.attempt, event.retry_of, event.draft_id) == (2, RUN, DRAFT)
    assert await failed.fetchval("SELECT subject FROM admin_audit") == f"run:{RUN}"


async def test_a_second_retry_does_not_double_the_request(failed: asyncpg.Connection) -> None:
    """The same attempt has the same event id."""
    await retried(failed)
    await retried(failed)
    assert await failed.fetchval("SELECT count(*) FROM outbox") == 1


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE ai_draft SET revision_outcome = 'error'", "revision-result was published"),
        ("UPDATE ai_draft SET status = 'sent'", "settled its draft: sent"),
        ("UPDATE ai_draft SET status = 'rejected'", "settled its draft: rejected"),
    ],
)
async def test_what_was_decided_is_not_tried_again(failed: asyncpg.Connection, statement: str, named: str) -> None:
    """The reason stands in the one line."""
    await failed.execute(statement)
    with pytest.raises(Problem, match=named):
        await retried(failed)
    assert await failed.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_newer_message_takes_the_place_of_a_retry(failed: asyncpg.Connection) -> None:
    """Its waiting request must not be replaced by an older message's."""
    await add_message(failed, "m-2")
    with pytest.raises(Problem, match="newer message"):
        await retried(failed)


async def test_only_a_failed_run_is_tried_again(failed: asyncpg.Connection) -> None:
    """A completed one is refused."""
    completed = run_id("ws-1", "m-0", "chat", 1)
    await failed.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, status,"
        " phase, reason, policy_revision, lease_owner, lease_until, finished_at)"
        " VALUES ($1, 'ws-1', 'l-1', 'm-0', $1, 'chat',"
        " 'COMPLETED', 'done', 'confident', 1, 'w', now(), now())",
        completed,
    )
    with pytest.raises(Problem, match="it is COMPLETED"):
        await retried(failed, completed)


async def test_runs_are_listed_by_status(failed: asyncpg.Connection, cli: Cli) -> None:
    """With counts of all statuses beside."""
    told = (await cli("runs", "list", "--status", "failed", "--json")).json
    assert [run["id"] for run in told["runs"]] == [str(RUN)]
    assert told["counts"] == {"FAILED": 1}
    assert (await cli("runs", "list", "--status", "RUNNING", "--json")).json["runs"] == []


async def evaluated(connection: asyncpg.Connection, confidence: float, *, text: str = BODY, words: str = BODY) -> None:
    """The draft was judged and the model said why, in these words."""
    await connection.execute(
        "UPDATE ai_draft SET auto_send_confidence = $1, auto_send_original_confidence = $1, content = $2,"
        " hard_blocks = $3, revision_outcome = 'hard_blocked'",
        confidence,
        text,
        [{"group": "claims", "rule": "amount_not_in_context", "start": 4, "end": 9}],
    )
    await sql.run.insert_artifact_if_leased.run(
        connection,
        run_id=RUN,
        epoch=1,
        artifact_id=uuid.uuid4(),
        stage="auto_send_evaluation",
        iteration=0,
        prompt_key="auto_send_evaluation@1",
        input_sha256="0" * 64,
        model="gpt-5.2",
        payload={"confidence": confidence, "reasons": words.split("\n"), "categories": []},
        text=None,
    )


async def test_an_explanation_has_rule_value_comparison_and_flip(failed: asyncpg.Connection, cli: Cli) -> None:
    """Each gate with its numbers and the policy revision; what stopped it is marked; who can pass a block is told."""
    await evaluated(failed, 0.81)

    told: dict[str, Any] = (await cli("explain", str(DRAFT), "--json")).json

    gates = {gate["gate"]: gate for gate in told["gates"]}
    confidence = gates["confidence"]
    assert (confidence["value"], confidence["comparison"], confidence["passed"]) == ("0.810", ">= 0.900", False)
    assert confidence["policy_revision"] == 1
    assert "0.9" in confidence["nearest_flip"]
    assert gates["mode"]["passed"]
    assert (gates["hard blocks"]["value"], gates["hard blocks"]["passed"]) == ("amount_not_in_context", False)
    assert told["hard_blocks"][0]["who_can_pass"] == "a reviewer who is shown the place"
    assert told["stages"][0]["figures"] == {"confidence": 0.81}


async def test_an_explanation_shows_text_only_when_asked(failed: asyncpg.Connection, cli: Cli) -> None:
    """Neither the draft nor the model's own words."""
    await evaluated(failed, 0.81)
    for arguments in ((), ("--json",)):
        assert BODY not in (await cli("explain", str(DRAFT), *arguments)).out
        assert BODY in (await cli("explain", str(DRAFT), "--text", *arguments)).out


async def test_an_explanation_shows_naughty_strings_as_they_are(failed: asyncpg.Connection, cli: Cli) -> None:
    """All of them, as the draft and as the model's words, as JSON and as lines: what is piped on is what is stored."""
    naughty = "\n".join(text for text in naughty_strings() if "\x00" not in text)
    await evaluated(failed, 0.81, text=naughty, words=naughty)
    told = (await cli("explain", str(DRAFT), "--text", "--json")).json
    assert told["text"]["content"] == naughty
    assert told["stages"][0]["answer"]["reasons"] == naughty.split("\n")
    assert naughty in (await cli("explain", str(DRAFT), "--text")).out


async def test_a_terminal_obeys_no_text_of_a_stranger(failed: asyncpg.Connection, database: Database) -> None:
    """Control characters are spelled out where a terminal would follow them: nothing is erased or passes for ours."""
    await evaluated(failed, 0.81, text="Fine\x1b[2J\x9b2J\rsend_immediate\tand\nmore")
    shown, end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "explain", str(DRAFT), "--text"), stdout=end,
        env={**os.environ, "DATABASE_URL": database.url, "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(end)
    told = await asyncio.to_thread(read_all, shown)
    assert await process.wait() == 0
    assert b"Fine\\x1b[2J\\x9b2J\\x0dsend_immediate\tand\r\nmore" in told
    assert b"\x1b[2J" not in told


def read_all(descriptor: int) -> bytes:
    """What a terminal is told, until the last writer has gone."""
    told = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(descriptor, 65_536):
            told += piece
    os.close(descriptor)
    return told


async def test_an_explanation_survives_retention(failed: asyncpg.Connection, cli: Cli) -> None:
    """When run, artifacts and context are gone, the draft still tells its numbers."""
    await evaluated(failed, 0.81)
    await failed.execute("UPDATE ai_draft SET run_id = NULL; DELETE FROM draft_pipeline_run")
    told = (await cli("explain", str(DRAFT), "--json")).json
    assert not told["context_kept"]
    assert {gate["gate"] for gate in told["gates"]} >= {"mode", "hard blocks", "confidence"}
    assert json.dumps(told).count(BODY) == 0


async def test_runs_are_listed_by_what_became_of_their_draft(failed: asyncpg.Connection, cli: Cli) -> None:
    """A filter shows the runs whose draft has that fate; the counts say how many drafts there are of each."""
    for fate, found in (("ai_review", [str(RUN)]), ("ai_sent", []), ("revised_then_sent", [])):
        listed = (await cli("runs", "list", "--filter", fate, "--json")).json
        assert [run["id"] for run in listed["runs"]] == found
        assert listed["drafts"] == {"ai_sent": 0, "ai_review": 1, "revised_then_sent": 0}
    assert (await cli("runs", "list", "--filter", "nonsense")).code == 2
