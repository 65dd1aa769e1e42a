"""What the overview asks every few seconds is answered by indexes, however many drafts there are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from db import sql
from db.pool import connect
from db.queries import Query
from tests.conftest import Database

DRAFTS = 30_000  # one a minute


@pytest.fixture
async def many(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Three weeks of drafts of one workspace, each put to a person and sent."""
    connection = await connect(database.url)
    await connection.execute("INSERT INTO workspace (id) VALUES ('ws-1')")
    await connection.execute(
        "INSERT INTO lead (workspace_id, lead_id) SELECT 'ws-1', n::text FROM generate_series(0, 999) n"
    )
    await connection.execute(
        "INSERT INTO ai_draft (id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode, channel, status,"
        " created_at) SELECT gen_random_uuid(), 'ws-1', n % 1000, 'm-' || n, n, 'AI_AUTO_SEND', 'chat', 'sent',"
        f" now() - n * interval '1 minute' FROM generate_series(1, {DRAFTS}) n"
    )
    await connection.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, status, expires_at, closed_at)"
        " SELECT gen_random_uuid(), id, workspace_id, 'r', 'decided', now(), now() FROM ai_draft"
    )
    await connection.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,"
        " content_sha256, status, finished_at) SELECT gen_random_uuid(), id, workspace_id, lead_id, trigger_message_id,"
        " channel, true, '', '', 'sent', now() FROM ai_draft"
    )
    await connection.execute("ANALYZE")
    yield connection
    await connection.close()


@pytest.mark.parametrize("query", [sql.overview.decided_since, sql.control.canary], ids=["overview", "canary"])
async def test_the_drafts_of_an_hour_are_counted_without_reading_those_of_three_weeks(
    many: asyncpg.Connection, query: Query
) -> None:
    """Neither drafts nor questions nor deliveries are read through."""
    plan = "\n".join(row[0] for row in await many.fetch(f"EXPLAIN {query.text}", "ws-1", 1))
    for table in ("ai_draft", "review_request", "delivery"):
        assert f"Seq Scan on {table}" not in plan, plan
