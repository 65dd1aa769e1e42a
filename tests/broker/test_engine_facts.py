"""What was measured about the engine, as promises of our rim, on the real broker (numbers: facts of the engine)."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.fates import DONE, Dead, Fate
from app.config import Config
from app.ingesting import Ingesting
from app.kafka.engine import Engine, Record, _rewind
from app.kafka.fence import InboundFence
from app.kafka.pool import EventPool
from app.kafka.topics import create_topics, missing_topics
from app.stack.local import LocalStack
from db.pool import Pool, create_pool
from schemas.codes import DeadLetterReason
from schemas.topics import INBOUND_MESSAGE
from tests.conftest import Database

_numbers = itertools.count(1)
WITHIN_S = 30.0
POLL_S = 0.02
STILL_S = 2.0


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    """Wait for a condition, within a bound."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN_S:g} s: {what}") from None


@pytest.fixture
def config(stack: LocalStack) -> Config:
    values: dict[str, Any] = {name.lower(): value for name, value in stack.env.items()}
    return Config(_env_file=None, **values)


class Place:
    """A topic of a test's own."""

    def __init__(self, config: Config, topic: str, producer: AIOKafkaProducer) -> None:
        self.config, self.topic, self.producer = config, topic, producer
        self.letters: list[tuple[bytes | None, str]] = []

    async def send(self, *values: bytes, partition: int = 0) -> None:
        for value in values:
            await self.producer.send_and_wait(self.topic, value, partition=partition)

    def pool(self, handler: Callable[[Record], Awaitable[Fate]], **bounds: Any) -> EventPool:
        async def dead_letter(record: Record, code: str, error: str, attempts: int) -> None:
            self.letters.append((record.value, code))

        return EventPool(self.topic, handler, dead_letter, **bounds)

    @asynccontextmanager
    async def engine(self, consume: Any, group: str = "group") -> AsyncIterator[Engine]:
        engine = Engine(self.config, topic=self.topic, group=f"{group}-{self.topic}", consume=consume)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()

    async def committed(self, partition: int = 0, group: str = "group") -> int:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka_bootstrap_servers,
            group_id=f"{group}-{self.topic}",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            return await consumer.committed(TopicPartition(self.topic, partition)) or 0
        finally:
            await consumer.stop()


@asynccontextmanager
async def place(config: Config, partitions: int = 1) -> AsyncIterator[Place]:
    topic = f"facts-{next(_numbers)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=config.kafka_bootstrap_servers) as producer:
        yield Place(config, topic, producer)


async def test_an_event_whose_handler_raises_is_worked_on_again_and_only_then_acked(config: Config) -> None:
    """Fact 1: Faust acks an event although its agent raised. Here it is tried again, and acked after its effect."""
    tries: Counter[bytes | None] = Counter()

    async def handler(record: Record) -> Fate:
        tries[record.value] += 1
        if tries[record.value] < 3:
            raise RuntimeError
        return DONE

    async with place(config) as here:
        await here.send(b"a", b"b")
        pool = here.pool(handler)
        async with here.engine(pool.consume):
            await until(lambda: pool.counts["done"] == 2, "both events are done")
        assert tries == {b"a": 3, b"b": 3}
        assert await here.committed() == 2


async def test_an_event_that_always_fails_becomes_a_dead_letter_and_stops_nobody(config: Config) -> None:
    """Fact 1: what fails for reasons of our own, too often, is written durably before its ack; the others go on."""

    async def handler(record: Record) -> Fate:
        if record.value == b"poison":
            raise RuntimeError
        return DONE

    async with place(config) as here:
        await here.send(b"poison", b"good")
        pool = here.pool(handler)
        async with here.engine(pool.consume):
            await until(lambda: pool.counts == {"done": 1, "dropped": 0, "retried": 4, "dead": 1}, "each met its fate")
        assert here.letters == [(b"poison", DeadLetterReason.UNEXPECTED_ERROR)]
        assert await here.committed() == 2


async def test_a_dead_letter_that_cannot_be_written_is_written_later(config: Config) -> None:
    """Nothing raises past the rim: the event stays what it is, unacknowledged, until its letter is durable."""
    letters: list[bytes | None] = []

    async def handler(record: Record) -> Fate:
        return Dead(DeadLetterReason.NOT_JSON, "value: nothing we know")

    async def dead_letter(record: Record, code: str, error: str, attempts: int) -> None:
        letters.append(record.value)
        if len(letters) == 1:
            raise RuntimeError("refused")

    async with place(config) as here:
        await here.send(b"rubbish")
        pool = EventPool(here.topic, handler, dead_letter)
        async with here.engine(pool.consume):
            await until(lambda: len(letters) == 1, "the letter was refused")
            assert (pool.in_flight, pool.counts["dead"]) == (1, 0)
            await until(lambda: pool.counts["dead"] == 1, "it was written")
        assert letters == [b"rubbish", b"rubbish"]
        assert await here.committed() == 1


async def test_a_full_agent_is_no_standstill(config: Config) -> None:
    """What is read waits for room and the fetch loop waits with it: a restart would help nobody. When there is room
    again it goes on."""
    gate = asyncio.Event()

    async def stuck(record: Record) -> Fate:
        await gate.wait()
        return DONE

    async with place(config) as here:
        await here.send(*[b"%d" % number for number in range(700)])
        pool = here.pool(stuck, events_max=2)
        async with here.engine(pool.consume) as engine:
            await until(lambda: time.monotonic() - engine.fetched_at > STILL_S, "the fetch loop waits")
            assert engine.stalled_s == 0.0
            assert not engine.crashed
            gate.set()
            await until(lambda: pool.counts["done"] == 700, "all is worked on")
            assert engine.stalled_s < STILL_S


async def test_an_engine_that_never_began_is_one_to_build_anew(config: Config) -> None:
    """A broker that answers nothing while it starts: whoever watches it sees that it does not consume."""

    async def nobody(record: Record, acknowledge: Any) -> None:
        raise AssertionError

    engine = Engine(config, topic="facts-never", group="facts-never", consume=nobody)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await engine.start()
    assert engine.crashed
    await engine.stop()


async def test_an_event_in_flight_is_never_committed_past(config: Config) -> None:
    """Fact 2: with the second and third of three events done and the first in flight, nothing is committed; the worker
    dies, and all three come again."""
    gate, done = asyncio.Event(), list[bytes | None]()

    async def slow_first(record: Record) -> Fate:
        if record.value == b"1":
            await gate.wait()
        done.append(record.value)
        return DONE

    async with place(config) as here:
        await here.send(b"1", b"2", b"3")
        pool = here.pool(slow_first)
        async with here.engine(pool.consume) as engine:
            await until(lambda: len(done) == 2, "the later two are done")
            await engine._app.consumer.commit()  # type: ignore[union-attr]
            assert await here.committed() == 0
        seen: list[bytes | None] = []

        async def second_worker(record: Record) -> Fate:
            seen.append(record.value)
            return DONE

        async with here.engine(here.pool(second_worker).consume):
            await until(lambda: len(seen) == 3, "all three come again")
        assert await here.committed() == 3
        gate.set()
        await pool.drain(1.0)


async def test_long_work_does_not_hold_up_a_rebalance_and_is_not_started_twice(config: Config) -> None:
    """Fact 3: while one event is worked on, a second member joins and gets its share; the event, read again after the
    rebalance, attaches to the task that is at it."""
    gate, starts, quick = asyncio.Event(), Counter[tuple[int, bytes | None]](), Counter[int]()

    def handler_of(member: int) -> Callable[[Record], Awaitable[Fate]]:
        async def handler(record: Record) -> Fate:
            starts[member, record.value] += 1
            if record.value == b"long" and member == 1:
                await gate.wait()
            quick[member] += 1
            return DONE

        return handler

    async with place(config, partitions=2) as here:
        await here.send(b"long", partition=0)
        first, second = here.pool(handler_of(1)), here.pool(handler_of(2))
        async with here.engine(first.consume) as one:
            await until(lambda: starts[1, b"long"] == 1, "the long work began")
            async with here.engine(second.consume) as two:
                await until(lambda: len(one.assignment) == 1 and len(two.assignment) == 1, "each owns a partition")
                await here.send(b"x", partition=0)
                await here.send(b"y", partition=1)
                await until(lambda: quick[1] + quick[2] >= 2, "new events are worked on meanwhile")
                assert starts[1, b"long"] == 1
                gate.set()
                await until(lambda: first.in_flight == 0, "the long work ended")


async def test_what_was_read_and_not_done_before_a_rebalance_is_read_again(config: Config) -> None:
    """A member is full and nothing of its partitions was ever committed when another joins: all comes again."""
    gate, done = asyncio.Event(), Counter[bytes | None]()

    async def handler(record: Record) -> Fate:
        await gate.wait()
        done[record.value] += 1
        return DONE

    async with place(config, partitions=2) as here:
        values = [b"%d" % number for number in range(400)]
        await here.send(*values[:200], partition=0)
        await here.send(*values[200:], partition=1)
        first, second = here.pool(handler, events_max=2), here.pool(handler, events_max=2)
        async with here.engine(first.consume) as one:
            await until(lambda: first.in_flight == 2, "the first member is full")
            async with here.engine(second.consume) as two:
                await until(lambda: len(one.assignment) == 1 and len(two.assignment) == 1, "each owns a partition")
                assert await here.committed(0) == await here.committed(1) == 0
                gate.set()
                await until(lambda: done.keys() == set(values), "every event was worked on")


async def test_a_partition_that_was_never_committed_is_rewound_to_its_beginning(config: Config) -> None:
    """aiokafka's `seek_to_committed` leaves such a partition where it is, so that what was read ahead would be lost."""
    async with place(config, partitions=2) as here:
        await here.send(b"a", b"b", b"c", partition=0)
        await here.send(b"d", b"e", partition=1)
        consumer = AIOKafkaConsumer(
            here.topic,
            bootstrap_servers=config.kafka_bootstrap_servers,
            group_id=f"rewind-{here.topic}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            for _ in range(5):
                await asyncio.wait_for(consumer.getone(), WITHIN_S)
            committed, fresh = TopicPartition(here.topic, 0), TopicPartition(here.topic, 1)
            await consumer.commit({committed: 1})
            await _rewind(consumer)
            again = {(await asyncio.wait_for(consumer.getone(), WITHIN_S)).value for _ in range(4)}
            assert again == {b"b", b"c", b"d", b"e"}
            assert await consumer.committed(fresh) is None
        finally:
            await consumer.stop()


async def test_a_topic_that_is_missing_is_named_and_not_created_by_reading(config: Config) -> None:
    """Fact 5: Faust loops silently on a topic that does not exist. So it is looked for first, by name."""
    assert await missing_topics(config, ["facts-not-there"]) == ["facts-not-there"]
    await create_topics(config, 1)
    assert await missing_topics(config, [INBOUND_MESSAGE.name, "facts-not-there"]) == ["facts-not-there"]


async def test_a_full_agent_starves_no_other(config: Config) -> None:
    """Fact 16: an agent that is full and takes nothing leaves another agent of the process its full pace."""
    gate = asyncio.Event()

    async def stuck(record: Record) -> Fate:
        await gate.wait()
        return DONE

    async def brisk(record: Record) -> Fate:
        return DONE

    async with place(config) as full, place(config) as free:
        await full.send(*[b"%d" % number for number in range(300)])
        stuck_pool, brisk_pool = full.pool(stuck, events_max=2), free.pool(brisk)
        async with full.engine(stuck_pool.consume), free.engine(brisk_pool.consume):
            await until(lambda: stuck_pool.in_flight == 2, "the first agent is full")
            await free.send(*[b"%d" % number for number in range(200)])
            await until(lambda: brisk_pool.counts["done"] == 200, "the other did all of its events")
            assert stuck_pool.in_flight == 2
            assert stuck_pool.counts["done"] == 0
        gate.set()
        await stuck_pool.drain(5.0)


async def test_only_committed_records_are_ingested_and_markers_hold_nothing_up(
    config: Config, database: Database
) -> None:
    """Fact 17: an aborted transaction is never read, and although its records and markers take offsets, the watermark
    reaches the end of the partition, so that the fence lets a send pass."""
    await create_topics(config, 1)
    pool = await create_pool(database.url)
    await pool.execute("INSERT INTO workspace (id, default_mode) VALUES ('ws', 'OFF')")
    await pool.execute("INSERT INTO workspace_settings (workspace_id) VALUES ('ws')")
    fence = InboundFence(config, pool)
    try:
        async with _transactional(config) as producer:
            async with producer.transaction():
                await producer.send_and_wait(INBOUND_MESSAGE.name, _message("kept"), partition=3)
            await producer.begin_transaction()
            await producer.send_and_wait(INBOUND_MESSAGE.name, _message("aborted"), partition=3)
            await producer.abort_transaction()
            async with _ingesting(config, pool):
                await until(lambda: fence.passed(1.0), "the fence lets pass")
        kept = await pool.fetch("SELECT message_id FROM message WHERE workspace_id = 'ws'")
        assert [row["message_id"] for row in kept] == ["kept"]
    finally:
        await fence.stop()
        await pool.close()


@asynccontextmanager
async def _transactional(config: Config) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=config.kafka_bootstrap_servers, transactional_id=f"facts-{next(_numbers)}"
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def _ingesting(config: Config, pool: Pool) -> AsyncIterator[None]:
    ingesting = Ingesting(pool, lambda rows: None, frozenset())
    engine = Engine(
        config, topic=INBOUND_MESSAGE.name, group=f"facts-{next(_numbers)}-ingest", consume=ingesting.consume
    )
    ingesting.engine = engine
    working = asyncio.create_task(ingesting.run())
    await engine.start()
    try:
        yield
    finally:
        await engine.stop()
        working.cancel()


def _message(message_id: str) -> bytes:
    return json.dumps(
        {
            "schema_version": 1,
            "message_id": message_id,
            "workspace_id": "ws",
            "lead_id": "lead",
            "channel": "chat",
            "received_at": datetime.now(UTC).isoformat(),
            "body": "hello",
        }
    ).encode()
