"""The fence before a send: on the real broker, with the watermarks of a real database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.kafka import fence as module
from app.kafka.fence import InboundFence
from app.stack.local import LocalStack
from db import sql
from db.pool import Pool, create_pool
from schemas.topics import Topic
from tests.conftest import Database
from tests.story.harness import config_of

_numbers = itertools.count(1)
SHORT_S = 0.4
LONG_S = 10.0


@dataclass
class Place:
    """A topic of a test's own in the place of `inbound-message`."""

    topic: str
    fence: InboundFence
    pool: Pool
    producer: AIOKafkaProducer

    async def ingested(self, partition: int, next_offset: int) -> None:
        """What ingest writes when it has everything before `next_offset`."""
        await sql.ingest.advance_watermarks.run(
            self.pool, topic=self.topic, partitions=[partition], next_offsets=[next_offset]
        )


@pytest.fixture
async def place(stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """The topic does not exist yet."""
    config, name = config_of(stack), f"fence-{next(_numbers)}"
    monkeypatch.setattr(module, "INBOUND_MESSAGE", Topic(name, 2, 1, False, "a test's own"))
    pool = await create_pool(database.url)
    async with AIOKafkaProducer(bootstrap_servers=config.kafka_bootstrap_servers) as producer:
        fence = InboundFence(config, pool)
        yield Place(name, fence, pool, producer)
        await fence.stop()
    await pool.close()


async def create(stack: LocalStack, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1)])
    await admin.close()


async def test_without_a_topic_nothing_passes(place: Place) -> None:
    """A broker that knows no partition cannot say that ingest has everything: fail closed."""
    assert not await place.fence.passed(3.0)


async def test_a_broker_that_is_away_lets_nothing_pass(stack: LocalStack, database: Database) -> None:
    """Neither does one that does not answer."""
    pool = await create_pool(database.url)
    config = config_of(stack).model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    fence = InboundFence(config, pool)
    assert not await fence.passed(SHORT_S)
    await fence.stop()
    await pool.close()


async def test_the_fence_waits_until_ingest_has_what_was_there_before(stack: LocalStack, place: Place) -> None:
    """What was on any partition when a send asked must be in the database; what comes later need not."""
    await create(stack, place.topic)
    assert await place.fence.passed(LONG_S)
    await place.producer.send_and_wait(place.topic, b"x", partition=1)
    assert not await place.fence.passed(SHORT_S)
    waiting = asyncio.create_task(place.fence.passed(LONG_S))
    await asyncio.sleep(SHORT_S)
    assert not waiting.done()
    await place.producer.send_and_wait(place.topic, b"later", partition=0)
    await place.ingested(1, 1)
    assert await waiting
    assert not await place.fence.passed(SHORT_S)
    await place.ingested(0, 1)
    assert await place.fence.passed(LONG_S)


async def test_many_sends_share_one_request(stack: LocalStack, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred sends that wait at once ask the broker twice at most: the request under way, and one for all others."""
    await create(stack, place.topic)
    requests, request = [], InboundFence._request

    async def counted(fence: InboundFence) -> dict[int, int]:
        requests.append(fence)
        return await request(fence)

    monkeypatch.setattr(InboundFence, "_request", counted)
    assert all(await asyncio.gather(*(place.fence.passed(LONG_S) for _ in range(100))))
    assert len(requests) <= 2
