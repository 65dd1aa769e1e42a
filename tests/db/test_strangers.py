"""The rule "holds another lead's data" against the leads of a workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from agents.hard_blocks import BlockGroup, Rule, check_text, may_pass
from agents.state import RunState
from agents.strangers import other_leads_in
from db.pool import connect
from schemas.context import Profile
from tests.conftest import Database
from tests.unit.test_hard_blocks import snapshot

LEADS = [
    ("ws-1", "me", "Ann Lee", "ann@example.com", "+49 30 1234567"),
    ("ws-1", "maria", "Maria Huber", "Maria.Huber@example.org", "+49 (89) 7654 3210"),
    ("ws-1", "nameless", None, None, None),
    ("ws-2", "otto", "Otto Berg", "otto@example.org", "089 1111 2222"),
]
RUN = RunState(snapshot(workspace_id="ws-1", lead_id="me", inbound="I am Ann Lee", profile=Profile(name="Ann Lee")))


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Two workspaces with leads."""
    connected = await connect(database.url)
    await connected.execute("INSERT INTO workspace (id) VALUES ('ws-1'), ('ws-2')")
    await connected.executemany(
        "INSERT INTO lead (workspace_id, lead_id, name, email, phone) VALUES ($1, $2, $3, $4, $5)", LEADS
    )
    yield connected
    await connected.close()


async def told(connection: asyncpg.Connection, text: str) -> list[str]:
    """The places that hold another lead's data."""
    blocks = await other_leads_in(connection, text, RUN, check_text(text, RUN.snapshot))
    assert all((block.group, block.rule) == (BlockGroup.SAFETY, Rule.OTHER_LEAD) for block in blocks)
    assert not any(may_pass(block, automatic=False, shown_spans=[block.span]) for block in blocks)
    return [text[block.start : block.end] for block in blocks]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Your neighbour Maria Huber bought it.", ["Maria Huber"]),
        ("Write to maria.huber@example.org", ["maria.huber@example.org"]),
        ("Call 089 76543210.", ["089 76543210"]),
        ("MARIA HUBER, maria.huber@EXAMPLE.org", ["MARIA HUBER", "maria.huber@EXAMPLE.org"]),
        ("Hello Ann Lee, Maria says hello.", []),
        ("Otto Berg, otto@example.org and 089 1111 2222 are of another workspace.", []),
        ("Carla Diaz is no lead.", []),
    ],
)
async def test_other_leads_are_found_by_all_they_have(
    connection: asyncpg.Connection, text: str, places: list[str]
) -> None:
    """Full name, address and number of another lead of the same workspace block, and nobody can pass that."""
    assert await told(connection, text) == places


async def test_each_look_up_uses_its_index(connection: asyncpg.Connection) -> None:
    """With many leads no look-up reads the table."""
    from db import sql

    await connection.execute(
        "INSERT INTO lead (workspace_id, lead_id, name, email, phone)"
        " SELECT 'ws-1', 'l' || n, 'Lead ' || n, 'l' || n || '@example.org', '030' || (10000000 + n)"
        " FROM generate_series(1, 5000) n"
    )
    await connection.execute("ANALYZE lead")
    plan = await connection.fetch(
        "EXPLAIN " + sql.draft.other_leads_with.text, "ws-1", "me", ["maria huber"], ["a@example.org"], ["76543210"]
    )
    text = "\n".join(row[0] for row in plan)
    assert all(index in text for index in ("lead_by_name", "lead_by_email", "lead_by_phone")), text
    assert "Seq Scan on lead" not in text
