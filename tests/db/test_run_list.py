"""The list of runs stays fast with many: every look at it goes by an index, whatever the parameters are."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from db import sql
from db.pool import connect
from tests.conftest import Database

RUNS = 20_000
NOW = datetime(2026, 11, 2, 8, tzinfo=UTC)
BEFORE = {"before_at": NOW, "before_id": uuid.UUID(int=0), "since": None}

LOOKS: dict[str, tuple[dict[str, Any], str]] = {
    "newest": ({**BEFORE, "limit": 51}, "draft_pipeline_run_newest"),
    "newest_of_workspace": ({"workspace_id": "ws-1", **BEFORE, "limit": 51}, "draft_pipeline_run_recent"),
    "newest_unsettled": (
        {"workspace_id": None, **BEFORE, "status": "FAILED", "limit": 51},
        "draft_pipeline_run_not_well",
    ),
    "with_id": (
        {"workspace_id": None, "text": "lead-7", "uuid": uuid.UUID(int=7), **BEFORE, "limit": 51},
        "draft_pipeline_run_lead",
    ),
    "counts": ({"since": None, "until": None, "limit": 1_000}, "draft_pipeline_run_newest"),
    "counts_of_workspace": (
        {"workspace_id": "ws-1", "since": None, "until": None, "limit": 1_000},
        "draft_pipeline_run_recent",
    ),
    "attempts_of_draft": ({"draft_id": uuid.UUID(int=7)}, "draft_pipeline_run_draft"),
}


@pytest.fixture
async def many(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Runs of two workspaces, of which one in a thousand failed."""
    connection = await connect(database.url)
    await connection.execute("INSERT INTO workspace (id) VALUES ('ws-1'), ('ws-2')")
    await connection.execute(
        "INSERT INTO lead (workspace_id, lead_id)"
        " SELECT w, 'lead-' || n FROM unnest(ARRAY['ws-1', 'ws-2']) w, generate_series(0, 999) n"
    )
    await connection.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, status, phase,"
        " reason, policy_revision, lease_owner, lease_until, created_at, finished_at)"
        " SELECT gen_random_uuid(), 'ws-' || 1 + n % 2, 'lead-' || n % 1000, 'm-' || n, gen_random_uuid(), 'chat',"
        " CASE WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'COMPLETED' END, 'done', 'confident', 1, 'w', now(),"
        f" timestamptz '2026-11-02' - n * interval '1 minute', now() FROM generate_series(1, {RUNS}) n"
    )
    await connection.execute("ANALYZE")
    yield connection
    await connection.close()


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_look_at_the_list_reads_the_whole_table(many: asyncpg.Connection, mode: str) -> None:
    """Also with the plan that Postgres keeps for any parameters."""
    await many.execute(f"SET plan_cache_mode = {mode}")
    for name, (arguments, index) in LOOKS.items():
        query = getattr(sql.run_list, name)
        plan = await many.fetch(f"EXPLAIN {query.text}", *(arguments[each] for each in query.arguments))
        text = "\n".join(row[0] for row in plan)
        assert index in text, (name, text)
        assert "Seq Scan on draft_pipeline_run" not in text, (name, text)


async def test_pages_by_key_cost_what_the_first_costs(many: asyncpg.Connection) -> None:
    """The last page touches as many rows as the first; an offset would touch all before it."""
    oldest = await many.fetchval("SELECT min(created_at) FROM draft_pipeline_run")
    touched = []
    for at in (NOW, oldest):
        arguments = (at, uuid.UUID(int=(1 << 128) - 1), None, 51)
        text = await many.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {sql.run_list.newest.text}", *arguments)
        touched.append(json.loads(text)[0]["Plan"]["Plans"][0]["Actual Rows"])
    assert touched[0] == 51
    assert touched[1] <= 51
