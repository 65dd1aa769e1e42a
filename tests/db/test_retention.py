"""Retention deletes what ended long ago and nothing else, and what is left keeps its promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.retention import prune
from db import sql
from db.pool import Pool, create_pool
from tests.conftest import Database
from tests.db.past import ARTIFACTS, WORKSPACE, past_runs

KEPT = (
    "message ai_draft draft_claim delivery model_call ai_interaction meeting_overseer_decision review_request".split()
)
GONE = "draft_pipeline_run draft_pipeline_artifact draft_run_context outbox process_heartbeat".split()
OLD, YOUNG = "40 days", "20 days"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Ten old runs and five young ones, each with what hangs on it; old and young events and processes."""
    opened = await create_pool(database.url, size=4)
    await past_runs(opened, 1, 10, OLD)
    await past_runs(opened, 11, 15, YOUNG)
    await opened.execute(
        "INSERT INTO draft_claim (draft_id, purpose, token, claimed_by, lease_until)"
        " SELECT id, 'delivery', gen_random_uuid(), 'w', now() FROM ai_draft"
    )
    await opened.execute(
        "INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort,"
        " input_sha256, status, finished_at) SELECT gen_random_uuid(), run_id, id, workspace_id, 's', 0, 1, 'm', 'low',"
        " '', 'answered', now() FROM ai_draft"
    )
    await opened.execute(
        "INSERT INTO meeting_overseer_decision (id, run_id, draft_id, decision)"
        " SELECT gen_random_uuid(), run_id, id, 'approve' FROM ai_draft"
    )
    for age, count in ((OLD, 7), (YOUNG, 3)):
        await opened.execute(
            "INSERT INTO outbox (event_id, topic, value, created_at, published_at) SELECT gen_random_uuid(),"
            f" 'draft-outcome', '', now() - interval '{age}', now() - interval '{age}' FROM generate_series(1, $1::int)",
            count,
        )
        await opened.execute(
            f"INSERT INTO process_heartbeat (process_id, role, version, beat_at)"
            f" VALUES ('{age}', 'worker', '0', now() - interval '{age}')"
        )
    await opened.execute("INSERT INTO outbox (event_id, topic, created_at) VALUES (gen_random_uuid(), 'draft-outcome',"
                         f" now() - interval '{OLD}')")  # fmt: skip
    yield opened
    await opened.close()


async def counts(pool: Pool, tables: list[str]) -> dict[str, int]:
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_what_ended_before_the_retention_goes_and_the_rest_stays(pool: Pool) -> None:
    """Runs with artifacts and context, published events, dead processes; drafts lose their run, and nothing else."""
    kept = await counts(pool, KEPT)
    pruned = await prune(pool, 30)
    assert (pruned.runs, pruned.artifacts, pruned.contexts, pruned.outbox_rows, pruned.processes, pruned.complete) == (
        10, 10 * ARTIFACTS, 10, 7, 1, True,
    )  # fmt: skip
    assert await counts(pool, KEPT) == kept
    assert await counts(pool, GONE) == dict(zip(GONE, (5, 5 * ARTIFACTS, 5, 4, 1), strict=True))
    assert await pool.fetchval("SELECT count(*) FROM ai_draft WHERE run_id IS NULL") == 10
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 1


async def test_pruning_twice_changes_nothing_the_second_time(pool: Pool) -> None:
    """Nothing is left to find."""
    await prune(pool, 30)
    before = await counts(pool, KEPT + GONE)
    assert (await prune(pool, 30)).rows == 0
    assert await counts(pool, KEPT + GONE) == before


async def test_a_prune_that_was_stopped_goes_on(pool: Pool) -> None:
    """When the time is over it says so; calls that follow finish, and the sum is the same."""
    await past_runs(pool, 101, 450, OLD)
    rows, calls = 0, 0
    while calls < 100:
        pruned = await prune(pool, 30, rows_per_s=1e6, seconds_max=1e-9)
        rows, calls = rows + pruned.rows, calls + 1
        if pruned.complete:
            break
    assert calls > 3
    assert rows == 360 * (ARTIFACTS + 2) + 7 + 1
    assert await pool.fetchval("SELECT count(*) FROM draft_pipeline_run") == 5


async def test_what_still_waits_for_a_person_or_a_send_stays_whole(pool: Pool) -> None:
    """An open review needs the context of its run, to check what the person sends; so does an unknown delivery."""
    runs = await pool.fetch("SELECT id, draft_id FROM draft_pipeline_run ORDER BY created_at LIMIT 3")
    await pool.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at)"
        " VALUES (gen_random_uuid(), $1, $2, 'r', now())", runs[0]["draft_id"], WORKSPACE,
    )  # fmt: skip
    await pool.execute("INSERT INTO draft_pipeline_run SELECT (r).* FROM (SELECT jsonb_populate_record(r,"
                       " jsonb_build_object('id', gen_random_uuid(), 'status', 'RUNNING', 'phase', 'draft', 'attempt', 2,"
                       " 'finished_at', null, 'retry_of', r.id)) AS r FROM draft_pipeline_run r WHERE id = $1) x",
                       runs[1]["id"])  # fmt: skip
    pruned = await prune(pool, 30)
    assert pruned.runs == 9
    left = {
        row["id"]
        for row in await pool.fetch("SELECT id FROM draft_pipeline_run WHERE created_at < now() - interval '30 days'")
    }
    assert runs[0]["id"] in left
    assert (
        await pool.fetchval("SELECT count(*) FROM draft_pipeline_run WHERE status = 'RUNNING' AND retry_of IS NULL")
        == 1
    )
    assert await pool.fetchval("SELECT count(*) FROM draft_run_context WHERE run_id = $1", runs[0]["id"]) == 1


async def test_deleting_a_run_searches_no_whole_table(pool: Pool) -> None:
    """What points at a run is found by an index: no foreign key to it is without one."""
    unindexed = await pool.fetch(
        """SELECT k.conrelid::regclass::text AS name, a.attname FROM pg_constraint k
           JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
           WHERE k.contype = 'f' AND k.confrelid = 'draft_pipeline_run'::regclass AND NOT EXISTS (
               SELECT 1 FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1])"""
    )
    assert unindexed == []


async def test_two_prunes_at_once_share_the_work(pool: Pool) -> None:
    """Neither waits for the other's rows, and together they delete each row once."""
    import asyncio

    await past_runs(pool, 101, 400, OLD)
    first, second = await asyncio.gather(prune(pool, 30, rows_per_s=1e6), prune(pool, 30, rows_per_s=1e6))
    rest = await prune(pool, 30)
    assert first.runs + second.runs + rest.runs == 310
    assert await sql.housekeeping.workspaces.rows(pool)
