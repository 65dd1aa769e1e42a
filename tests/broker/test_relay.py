"""The relay goes on whatever the database says to it."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from agents.rim import OutboxRow
from app import relay as relaying
from app.kafka.producer import RowProducer
from app.kafka.topics import create_topics
from app.relay import Relay
from app.stack.local import LocalStack
from db.pool import create_pool
from schemas.topics import DRAFT_OUTCOME
from tests.broker.test_engine_facts import until
from tests.conftest import Database
from tests.story.harness import config_of

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse()
"""


async def test_a_refusal_to_mark_rows_published_ends_no_relay(
    stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are published again, and what is handed over later still fits."""
    monkeypatch.setattr(relaying, "RELAY_BYTES_MAX", 15)
    config, pool = config_of(stack), await create_pool(database.url)
    await create_topics(config, 1)
    producer = RowProducer(config)
    relay = Relay(pool, producer)
    await pool.execute(REFUSE)
    running = asyncio.create_task(relay.publish_forever())

    async def published() -> int:
        count: int = await pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NOT NULL")
        return count

    async def hand_over() -> None:
        row = await pool.fetchval(
            "INSERT INTO outbox (event_id, topic, key, value) VALUES ($1, $2, 'k', '0123456789') RETURNING id",
            uuid.uuid4(), DRAFT_OUTCOME.name,
        )  # fmt: skip
        relay.publish([OutboxRow(row, DRAFT_OUTCOME.name, b"k", b"0123456789", {})])

    try:
        for _ in range(3):
            await hand_over()
            await until(lambda: running.done() or not (relay._rows.qsize() or relay._bytes), "it was tried")
        assert await published() == 0
        await pool.execute("DROP TRIGGER refuse ON outbox")
        await hand_over()
        async with asyncio.timeout(10):
            while await published() == 0:
                assert not running.done()
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await producer.stop()
        await pool.close()
