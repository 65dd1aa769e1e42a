"""The views for analysts: explained, without text, read by a role that reads nothing else, and able to notice drift."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.dictionary import dictionary, markdown
from app.stack.local import LocalStack
from db import migrate
from db.pool import Pool, create_pool
from tests.conftest import Database, administer
from tests.db.past import past_runs

DEPLOY = Path(__file__).parents[2] / "deploy"
WS = "ws-drift"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await create_pool(database.url, size=4)
    yield opened
    await opened.close()


async def test_every_view_and_column_says_what_it_means(pool: Pool) -> None:
    """Nobody has to ask: a meaning for each, and a since."""
    sources = await dictionary(pool)
    assert len([source for source in sources if source.kind == "view"]) > 15
    silent = [f"{source.name}.{field.name}" for source in sources for field in source.fields if not field.meaning]
    assert silent == []
    assert [source.name for source in sources if not source.about] == []


async def test_the_data_dictionary_is_true(pool: Pool) -> None:
    """What is committed is what `draft-pipeline dictionary` prints."""
    assert (DEPLOY / "data-dictionary.md").read_text() == markdown(await dictionary(pool))


async def test_no_view_reads_a_column_that_can_hold_a_text(pool: Pool) -> None:
    """Bodies, drafts, names, addresses and what people or models wrote are named in no view; neither is a lead's id."""
    forbidden = (
        "body subject from_address to_address headers content original_content recipient edited_text reject_reason"
        " lead_id message_id trigger_message_id thread_id name email phone snapshot context_pack text"
    ).split()
    read = await pool.fetch(
        """SELECT DISTINCT v.relname AS view, a.attname AS column FROM pg_depend d
           JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
           JOIN pg_namespace n ON n.oid = v.relnamespace AND n.nspname = 'analytics'
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
           JOIN pg_class t ON t.oid = d.refobjid AND t.relkind = 'r'"""
    )
    assert len(read) > 50
    assert [tuple(row) for row in read if row["column"] in forbidden] == []


@pytest.fixture
async def analyst(stack: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    """A connection in the analysts' role, to a database that was migrated when the role was there."""
    made = await _make_role(stack)
    await administer(stack, "CREATE DATABASE of_analysts")
    await migrate.apply(stack.postgres.url_of("of_analysts"))
    connection = await asyncpg.connect(stack.postgres.url_of("of_analysts"))
    await connection.execute("SET ROLE draft_pipeline_analyst")
    yield connection
    await connection.close()
    await administer(stack, "DROP DATABASE of_analysts WITH (FORCE)")
    if made:
        await administer(stack, "DROP ROLE draft_pipeline_analyst")


async def _make_role(stack: LocalStack) -> bool:
    """Whether it was not there before."""
    try:
        await administer(stack, "CREATE ROLE draft_pipeline_analyst LOGIN")
    except asyncpg.DuplicateObjectError:
        return False
    return True


async def test_the_analysts_role_reads_the_views_and_nothing_else(analyst: asyncpg.Connection) -> None:
    """Every view, no table, no write."""
    views = await analyst.fetch(
        "SELECT table_name AS name FROM information_schema.views WHERE table_schema = 'analytics'"
    )
    assert len(views) > 15
    for view in views:
        await analyst.fetch(f"SELECT * FROM analytics.{view['name']}")
    for statement in (
        "SELECT * FROM public.message",
        "SELECT * FROM public.ai_draft",
        "UPDATE public.workspace SET name = 'x'",
        "CREATE TABLE analytics.mine (x int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await analyst.execute(statement)


async def drafts(pool: Pool, first: int, last: int, age: str, changes: str) -> None:
    """Sent drafts of some age, changed."""
    await past_runs(pool, first, last, age, WS)
    await pool.execute(
        f"UPDATE ai_draft SET {changes} WHERE workspace_id = $1 AND trigger_ingest_seq BETWEEN $2 AND $3",
        WS,
        first,
        last,
    )


async def asked(pool: Pool, first: int, last: int) -> None:
    """A person was asked about these."""
    await pool.execute(
        "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at) SELECT gen_random_uuid(), id,"
        " workspace_id, 'r', now() FROM ai_draft WHERE trigger_ingest_seq BETWEEN $1 AND $2", first, last,
    )  # fmt: skip


async def monitors(pool: Pool) -> dict[str, Any]:
    return {
        row["monitor"]: row for row in await pool.fetch("SELECT * FROM analytics.drift WHERE workspace_id = $1", WS)
    }


async def test_a_needs_review_rate_that_rises_is_drift(pool: Pool) -> None:
    """From a tenth in the seven days before to four tenths in the last one."""
    await drafts(pool, 1, 200, "3 days", "auto_send_action = 'send_immediate'")
    await asked(pool, 1, 20)
    await drafts(pool, 301, 350, "2 hours", "auto_send_action = 'send_immediate'")
    await asked(pool, 301, 305)
    steady = (await monitors(pool))["needs_review"]
    assert (steady["recent_value"], steady["baseline_value"], steady["drifted"]) == (0.1, 0.1, False)
    await asked(pool, 306, 320)
    risen = (await monitors(pool))["needs_review"]
    assert (risen["recent_value"], risen["recent_count"], risen["baseline_count"]) == (0.4, 50, 200)
    assert risen["score"] > 3
    assert risen["drifted"] is True


async def test_a_mean_confidence_that_falls_is_drift(pool: Pool) -> None:
    """Welch's statistic over the first texts' confidences; a change that is small, or rests on few drafts, is none."""
    spread = "auto_send_original_confidence = {0} + (trigger_ingest_seq % 5) * 0.01"
    await drafts(pool, 1, 100, "3 days", spread.format("0.9"))
    await drafts(pool, 201, 220, "2 hours", spread.format("0.7"))
    few = (await monitors(pool))["confidence"]
    assert (few["recent_count"], few["drifted"]) == (20, False)
    await drafts(pool, 221, 240, "2 hours", spread.format("0.7"))
    fallen = (await monitors(pool))["confidence"]
    assert fallen["difference"] == pytest.approx(-0.2)
    assert fallen["score"] < -3
    assert fallen["drifted"] is True
    await pool.execute("UPDATE ai_draft SET auto_send_original_confidence = 0.9 + (trigger_ingest_seq % 5) * 0.01 - 0.03"
                       " WHERE trigger_ingest_seq > 200")  # fmt: skip
    small = (await monitors(pool))["confidence"]
    assert (small["drifted"], small["score"] < -3) == (False, True)


async def test_a_sudden_change_without_any_spread_is_drift(pool: Pool) -> None:
    """When every draft of both sides has the same value nothing can be divided by, and the change is plain."""
    await drafts(pool, 1, 60, "3 days", "auto_send_original_confidence = 0.95")
    await drafts(pool, 101, 140, "2 hours", "auto_send_original_confidence = 0.5")
    row = (await monitors(pool))["confidence"]
    assert (row["score"], row["drifted"]) == (None, True)
