"""Messages that wait although nobody was asked to draft: the sweep comes back for them, one request a conversation."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from agents.requesting import Request, write_requests
from app.housekeeping import join_lost_messages, rewrite_lost_requests
from db.pool import Pool, create_pool
from tests.conftest import Database
from tests.db.meeting_rows import WORKSPACE, add_workspace

CHAT = "chat"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """One workspace."""
    opened = await create_pool(database.url)
    await add_workspace(opened)
    yield opened
    await opened.close()


async def wait(pool: Pool, lead: str, message: str) -> None:
    """A message that came a minute ago and waits."""
    await pool.execute(
        "INSERT INTO lead (workspace_id, lead_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", WORKSPACE, lead
    )
    await pool.execute(
        "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,"
        " received_at, ingested_at) VALUES ($1, $2, $3, 'chat', $4, 'inbound', 'AI_AUTO_SEND', 'hello', 'waiting', now(),"
        " now() - interval '1 minute')",
        uuid.uuid4(), WORKSPACE, lead, message,
    )  # fmt: skip


async def requested(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT message_id FROM outbox WHERE topic = 'draft-requested' ORDER BY message_id")
    return [row["message_id"] for row in rows]


async def swept(pool: Pool) -> dict[str, str]:
    """What became of each message."""
    await rewrite_lost_requests(pool)
    await join_lost_messages(pool)
    rows = await pool.fetch("SELECT message_id, disposition FROM message")
    return {row["message_id"]: row["disposition"] for row in rows}


async def test_of_two_lost_messages_of_one_conversation_the_newest_is_requested(pool: Pool) -> None:
    """Found together: one request, for the last; the older joins it, and other conversations have theirs."""
    for lead, message in (("ann", "a1"), ("ann", "a2"), ("ben", "b1")):
        await wait(pool, lead, message)
    assert await swept(pool) == {"a1": "joined_later_message", "a2": "waiting", "b1": "waiting"}
    assert await requested(pool) == ["a2", "b1"]
    assert await rewrite_lost_requests(pool) == 0


async def test_a_lost_message_takes_no_newer_ones_place(pool: Pool) -> None:
    """The newer message's request waits already: it stays, and the older message joins it."""
    for message in ("a1", "a2"):
        await wait(pool, "ann", message)
    await write_requests(pool, [Request((WORKSPACE, "ann", CHAT, ""), "a2")])
    assert await swept(pool) == {"a1": "joined_later_message", "a2": "waiting"}
    assert await requested(pool) == ["a2"]
