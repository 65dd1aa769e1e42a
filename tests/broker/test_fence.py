"""The fence before a send: on the real broker, with the watermarks of a real database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents import ingest as inbound
from app import ingesting
from app.config import Config
from app.ingesting import Ingesting
from app.kafka import fence as module
from app.kafka.engine import Engine
from app.kafka.fence import InboundFence
from app.stack.local import LocalStack
from db import sql
from db.pool import Pool, create_pool
from schemas.topics import Topic
from tests.broker.test_engine_facts import until
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

    @asynccontextmanager
    async def ingest(self, config: Config) -> AsyncIterator[None]:
        """The agent at work; what it dead-letters is published by nobody."""
        agent = Ingesting(self.pool, lambda rows: None, frozenset())
        agent.engine = Engine(config, topic=self.topic, group=f"group-{self.topic}", consume=agent.consume)
        work = asyncio.create_task(agent.run())
        await agent.engine.start()
        try:
            yield
        finally:
            await agent.engine.stop()
            work.cancel()

    async def letters(self) -> int:
        """Records that ingest read: none of these tests' is a message."""
        return int(await self.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'dead-letter'"))

    async def ingested(self, partition: int, next_offset: int) -> None:
        """What ingest writes when it has everything before `next_offset`."""
        await sql.ingest.advance_watermarks.run(
            self.pool, topic=self.topic, partitions=[partition], next_offsets=[next_offset]
        )


@pytest.fixture
async def place(stack: LocalStack, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """The topic does not exist yet."""
    config, name = config_of(stack), f"fence-{next(_numbers)}"
    for each in (module, ingesting, inbound):
        monkeypatch.setattr(each, "INBOUND_MESSAGE", Topic(name, 2, 1, False, "a test's own"))
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


async def delete(stack: LocalStack, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    await admin.delete_topics([name])

    async def gone() -> bool:
        return name not in await admin.list_topics()

    await until(gone, "the topic is gone")
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

    async def counted(fence: InboundFence) -> dict[int, int] | None:
        requests.append(fence)
        return await request(fence)

    monkeypatch.setattr(InboundFence, "_request", counted)
    assert all(await asyncio.gather(*(place.fence.passed(LONG_S) for _ in range(100))))
    assert len(requests) <= 2


async def test_a_watermark_beyond_the_end_lets_nothing_pass(stack: LocalStack, place: Place) -> None:
    """It was written for a topic that is gone: of this one nobody knows what is in the database."""
    await place.ingested(1, 500)
    await create(stack, place.topic)
    assert not await place.fence.passed(LONG_S)
    await place.producer.send_and_wait(place.topic, b"unread", partition=1)
    assert not await place.fence.passed(LONG_S)


async def test_ingest_takes_back_what_it_had_of_a_lost_topic(stack: LocalStack, place: Place) -> None:
    """When it starts on a topic that begins anew; from then on the fence means this one."""
    await place.ingested(1, 500)
    await create(stack, place.topic)
    await place.producer.send_and_wait(place.topic, b"unread", partition=1)
    async with place.ingest(config_of(stack)):
        await until(lambda: place.fence.passed(SHORT_S), "the fence passes")
        assert await place.letters() == 1
        await place.producer.send_and_wait(place.topic, b"next", partition=1)
        assert await place.fence.passed(LONG_S)
        assert await place.letters() == 2


async def test_a_topic_made_anew_is_read_before_the_fence_passes(stack: LocalStack, place: Place) -> None:
    """Deleted while it was consumed, created again, and the worker restarted: what came first is not passed over."""
    await create(stack, place.topic)
    async with place.ingest(config_of(stack)):
        for _ in range(5):
            await place.producer.send_and_wait(place.topic, b"of before", partition=1)
        assert await place.fence.passed(LONG_S)
        await delete(stack, place.topic)
    await create(stack, place.topic)
    await place.producer.client.force_metadata_update()
    await place.producer.send_and_wait(place.topic, b"unread", partition=1)
    assert not await place.fence.passed(SHORT_S)
    async with place.ingest(config_of(stack)):
        await until(lambda: place.fence.passed(SHORT_S), "the fence passes")
        assert await place.letters() == 6
