"""The one query behind the gauges: what it finds, and that it stays cheap in a large database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.metrics.exporter import PAST_LEASE_S, ROWS_MAX, WORKSPACES_MAX
from db import sql
from db.pool import connect
from tests.conftest import Database

BIG_TABLES = {"outbox", "message", "draft_pipeline_run", "ai_draft", "draft_claim", "delivery", "review_request"}
BIG_TABLES |= {"followup_task", "model_call", "draft_pipeline_artifact", "ai_interaction"}
RUN, DRAFT = "00000000-0000-0000-0000-00000000000{}", "10000000-0000-0000-0000-00000000000{}"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(database.url)
    yield opened
    await opened.close()


async def standing(connection: asyncpg.Connection, **changed: Any) -> asyncpg.Record:
    bounds = {"rows_max": ROWS_MAX, "past_lease_s": PAST_LEASE_S, "workspaces_max": WORKSPACES_MAX}
    return await sql.metrics.standing.one(connection, **bounds | changed)


async def test_an_empty_database_stands_at_zero(connection: asyncpg.Connection) -> None:
    """Nothing waits, runs, is owed or is unknown; the switches are told from the start."""
    row = await standing(connection)
    assert row["unpublished"] == row["running"] == row["claims_past_lease"] == row["deliveries"] == {}
    for age in ("outbox_age_s", "waiting_age_s", "overdue_s", "review_age_s"):
        assert row[age] == 0, age
    assert row["waiting_due"] == row["waiting_quiet"] == row["unknown"] == row["reviews"] == row["runs_past_lease"] == 0
    assert row["bookings"] == row["processes"] == row["off_in_environment"] == []
    assert {name: disabled for name, disabled, _ in row["switches"]} == dict.fromkeys(
        ("AUTO_SEND_DISABLED", "AUTO_SEND_REVISION_DISABLED", "LEAD_CONTEXT_BUNDLE_DISABLED"), False
    )


async def fill(connection: asyncpg.Connection) -> None:
    """One of everything that a gauge tells."""
    await connection.execute("""
        INSERT INTO workspace (id) VALUES ('ws'), ('ws-2');
        INSERT INTO workspace_settings (workspace_id, auto_send_revision_enabled) VALUES ('ws', true), ('ws-2', false);
        INSERT INTO lead (workspace_id, lead_id) VALUES ('ws', 'ann'), ('ws-2', 'bob');
        INSERT INTO outbox (event_id, topic, created_at) VALUES
            (gen_random_uuid(), 'draft-evaluated', now() - interval '90 seconds'),
            (gen_random_uuid(), 'draft-evaluated', now());
        INSERT INTO outbox (event_id, topic, workspace_id, conversation, not_before) VALUES
            (gen_random_uuid(), 'draft-requested', 'ws', 'a', now() - interval '30 seconds'),
            (gen_random_uuid(), 'draft-requested', 'ws', 'b', now() + interval '30 seconds');
        INSERT INTO followup_task (id, workspace_id, lead_id, outcome, created_at) VALUES
            (gen_random_uuid(), 'ws', 'ann', 'booked', now()), (gen_random_uuid(), 'ws', 'ann', 'booked', now()),
            (gen_random_uuid(), 'ws-2', 'bob', 'error', now()),
            (gen_random_uuid(), 'ws-2', 'bob', 'error', now() - interval '2 days');
        UPDATE kill_switch SET disabled = true WHERE name = 'AUTO_SEND_DISABLED';
        INSERT INTO process_heartbeat (process_id, role, version, switches, beat_at) VALUES
            ('w1', 'worker', '1', '{"LEAD_CONTEXT_BUNDLE_DISABLED": true}', now()), ('w2', 'worker', '1', '{}', now()),
            ('dead', 'worker', '0', '{"AUTO_SEND_REVISION_DISABLED": true}', now() - interval '1 hour');
    """)
    for number, status in ((1, "unknown"), (2, "pending"), (3, "scheduled")):
        await connection.execute(
            "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, phase,"
            " policy_revision, lease_owner, lease_until) VALUES ($1, 'ws', 'ann', $2, $3, 'chat', $4, 1, 'w1',"
            " now() - make_interval(secs => $5))",
            RUN.format(number), f"m{number}", DRAFT.format(number), "draft" if number < 3 else "revise", 40.0 * number,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode,"
            " channel, status) VALUES ($1, $2, 'ws', 'ann', $3, 1, 'AI_AUTO_SEND', 'chat', $4)",
            DRAFT.format(number), RUN.format(number), f"m{number}", status,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO draft_claim (draft_id, purpose, token, claimed_by, lease_until) VALUES"
        " ($1, 'revision', gen_random_uuid(), 'w1', now() - interval '2 minutes'),"
        " ($2, 'revision', gen_random_uuid(), 'w1', now() - interval '5 seconds')",
        DRAFT.format(1), DRAFT.format(2),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at, created_at) VALUES"
        " (gen_random_uuid(), $1, 'ws', 'smtp_cut', now() + interval '1 day', now() - interval '1 hour'),"
        " (gen_random_uuid(), $2, 'ws', 'below_threshold', now() + interval '1 day', now())",
        DRAFT.format(1), DRAFT.format(2),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,"
        " content_sha256, scheduled_for) VALUES (gen_random_uuid(), $1, 'ws', 'ann', 'm3', 'chat', true, 'x', 'x',"
        " now() - interval '20 seconds')",
        DRAFT.format(3),
    )  # fmt: skip


async def test_each_gauge_finds_what_it_is_named_after(connection: asyncpg.Connection) -> None:
    """Counts and ages of what waits, runs, is owed and is unknown."""
    await fill(connection)
    row = await standing(connection)
    assert row["unpublished"] == {"draft-evaluated": 2}
    assert 90 <= row["outbox_age_s"] < 100
    assert (row["waiting_due"], row["waiting_quiet"]) == (1, 1)
    assert 30 <= row["waiting_age_s"] < 40
    assert row["running"] == {"draft": 2, "revise": 1}
    assert row["runs_past_lease"] == 2
    assert row["claims_past_lease"] == {"revision": 1}
    assert row["deliveries"] == {"due": 1}
    assert 20 <= row["overdue_s"] < 30
    assert (row["unknown"], row["reviews"]) == (1, 2)
    assert 3600 <= row["review_age_s"] < 3700
    assert sorted(row["bookings"]) == [["ws", "booked", 2], ["ws-2", "error", 1]]
    assert row["off_in_environment"] == ["LEAD_CONTEXT_BUNDLE_DISABLED"]
    assert row["processes"] == [["worker", "1", 2]]
    assert (row["revised_workspaces"], row["other_workspaces"]) == (1, 1)


async def test_workspaces_beyond_the_bound_are_told_as_one(connection: asyncpg.Connection) -> None:
    """The label's values are bounded, whatever the number of workspaces; nothing is left out of the sum."""
    await fill(connection)
    row = await standing(connection, workspaces_max=1)
    assert sorted(row["bookings"]) == [["(other)", "error", 1], ["ws", "booked", 2]]


async def test_no_count_goes_beyond_the_bound(connection: asyncpg.Connection) -> None:
    """A flood is told as "at least so many", and costs no more than that."""
    await fill(connection)
    row = await standing(connection, rows_max=1)
    assert row["waiting_due"] + row["waiting_quiet"] == row["reviews"] == sum(row["running"].values()) == 1


async def test_every_large_table_is_read_through_an_index(connection: asyncpg.Connection) -> None:
    """With a choice of plans, none that reads a large table from end to end is needed."""
    await fill(connection)
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(
        f"EXPLAIN (FORMAT TEXT) {sql.metrics.standing.text}", ROWS_MAX, PAST_LEASE_S, WORKSPACES_MAX
    )
    scanned = {line[0].split(" on ")[1].split()[0] for line in plan if "Seq Scan on " in line[0]}
    assert scanned & BIG_TABLES == set()
    assert any("Scan using outbox_unpublished on outbox" in line[0] for line in plan)
