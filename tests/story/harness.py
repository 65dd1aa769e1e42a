"""A whole pipeline for one story: a stack of its own, real workers, and what can be asked of them.

Topic names and consumer groups are fixed, so every story that must not meet another has its own broker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from app.cli.idle import left_to_do
from app.config import Config
from app.kafka.lagging import group_reader
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from app.stack.stand_in import StandIn
from db import migrate
from db.pool import Executor, Pool, create_pool
from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX
from schemas.topics import TOPICS
from tests.story.rows import Row, Workspace, key_of, value_of
from tests.story.worker import Worker

POLL_S = 0.1
READ_S_MAX = 30.0
WEBHOOK_SECRET = "story-secret"


@dataclass(frozen=True)
class Record:
    """One committed record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


class Pipeline:
    """A running stack with its workers. `workers` keeps every worker that ever ran, dead ones too."""

    def __init__(self, stack: LocalStack, db: Pool, worker_env: Mapping[str, str]) -> None:
        self.stack, self.db = stack, db
        self.worker_env = dict(worker_env)
        self.workers: list[Worker] = []
        self.config = config_of(stack)
        self._producer: AIOKafkaProducer | None = None

    # ---- workers

    async def start(self, count: int = 1, **env: str) -> list[Worker]:
        """Start workers, at the same time, and wait until all consume; `env` goes before the story's."""
        started = [self.launch(**env) for _ in range(count)]
        await asyncio.gather(*(worker.consuming() for worker in started))
        return started

    def launch(self, **env: str) -> Worker:
        """Start one that may be dead before it consumes."""
        variables = {**self.stack.env, **self.worker_env, **env}
        worker = Worker(self.stack.dir / "workers", f"worker{len(self.workers)}", variables)
        self.workers.append(worker)
        worker.start()
        return worker

    async def kill(self, number: int) -> Worker:
        """SIGKILL for the `number`-th worker that was started."""
        worker = self.workers[number]
        await worker.kill()
        return worker

    async def terminate(self, number: int) -> int:
        """SIGTERM; its exit code."""
        return await self.workers[number].terminate()

    async def stop_workers(self, *, gently: bool = True) -> None:
        """End all that live."""
        alive = [worker for worker in self.workers if worker.alive]
        await asyncio.gather(*(worker.terminate() if gently else worker.kill() for worker in alive))

    @property
    def alive(self) -> list[Worker]:
        """The workers that run now."""
        return [worker for worker in self.workers if worker.alive]

    # ---- records

    async def produce(self, rows: Iterable[Row | bytes | None], topic: str = "inbound-message") -> list[Any]:
        """Send rows keyed by their lead, in order, with an idempotent producer; where each one landed."""
        producer = await self._started_producer()
        futures = [await producer.send(topic, value_of(each), key=key_of(each)) for each in rows]
        return list(await asyncio.gather(*futures))

    async def produce_raw(self, topic: str, key: bytes | None, value: bytes | None) -> Any:
        """One record exactly as given, even without key and value (which `send` refuses); where it landed."""
        producer = await self._started_producer()
        batch = producer.create_batch()
        batch.append(key=key, value=value, timestamp=None)
        future = await producer.send_batch(batch, topic, partition=zlib.crc32(key or b"") % TOPICS[topic].partitions)
        return await future

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.stack.kafka.bootstrap,
                enable_idempotence=True,
                linger_ms=5,
                max_request_size=DEAD_LETTER_RECORD_BYTES_MAX,
            )
            await self._producer.start()
        return self._producer

    async def topic(self, name: str) -> list[Record]:
        """All committed records of a topic, by partition and offset."""
        async with AIOKafkaConsumer(
            name,
            bootstrap_servers=self.stack.kafka.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=16 * 1024 * 1024,
        ) as consumer:
            return await _read_all(consumer)

    # ---- waiting

    async def idle(self, timeout: float = 60.0) -> None:
        """Wait until nothing waits, runs, is due or lags, twice in a row; what is left otherwise is the error."""
        give_up, quiet = time.monotonic() + timeout, 0
        async with group_reader(self.config) as reader, self.db.acquire() as connection:
            while quiet < 2:
                left = await left_to_do(connection, reader)
                quiet = quiet + 1 if not left else 0
                assert time.monotonic() < give_up, f"still left after {timeout:.0f} s: {left}"
                await asyncio.sleep(POLL_S)

    async def until(self, condition: Callable[[], Awaitable[Any]], timeout: float, what: str) -> Any:
        """Poll a condition until it is true; its value."""
        give_up = time.monotonic() + timeout
        while not (found := await condition()):
            assert time.monotonic() < give_up, f"not within {timeout:.0f} s: {what}"
            await asyncio.sleep(POLL_S)
        return found

    async def until_row(self, query: str, *arguments: Any, timeout: float = 20.0) -> asyncpg.Record:
        """Poll a query until it gives a row."""
        row: asyncpg.Record = await self.until(lambda: self.db.fetchrow(query, *arguments), timeout, query)
        return row

    async def provision(self, workspaces: Sequence[Workspace]) -> None:
        """Write workspaces as they are described; a second time changes them."""
        for workspace in workspaces:
            await provision(self.db, self.stack, workspace)

    async def close(self) -> None:
        """End workers and connections, whatever happened."""
        await asyncio.gather(*(worker.kill() for worker in self.workers))
        if self._producer is not None:
            await self._producer.stop()
        await self.db.close()


@asynccontextmanager
async def pipeline(
    folder: Path,
    workers: int = 2,
    workspaces: Sequence[Workspace] = (),
    worker_env: Mapping[str, str] | None = None,
    model: str | None = None,
) -> AsyncIterator[Pipeline]:
    """A fresh stack: migrated, topics created, workspaces provisioned, `workers` consuming.

    :param model: a module that takes the place of the scripted model.
    """
    stack = LocalStack(folder)
    if model is not None:
        stack.model = StandIn("model", model, stack.dir)
    async with stack:
        await migrate.apply(stack.postgres.url)
        await create_topics(config_of(stack), 1)
        running = Pipeline(stack, await create_pool(stack.postgres.url, application="story"), worker_env or {})
        try:
            await running.provision(workspaces)
            if workers:
                await running.start(workers)
            yield running
        finally:
            await running.close()


@contextmanager
def frozen(stack: LocalStack) -> Iterator[None]:
    """The broker takes connections and answers nothing."""
    assert stack.kafka.pid is not None
    os.kill(stack.kafka.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.kafka.pid, signal.SIGCONT)


def config_of(stack: LocalStack) -> Config:
    """The configuration that the stack's variables make, whatever this process's environment says."""
    values: dict[str, Any] = {name.lower(): value for name, value in stack.env.items()}
    return Config(_env_file=None, **values)


async def provision(db: Executor, stack: LocalStack, workspace: Workspace) -> None:
    """One workspace with its settings and campaigns. Its webhook address tells whose delivery arrives."""
    channels = workspace.channels
    if channels is None:
        hook = {"webhook_url": f"{stack.env['WEBHOOK_SINK_URL']}?of={workspace.id}", "webhook_secret": WEBHOOK_SECRET}
        channels = {"chat": hook, "sms": hook, "email": {"from": f"{workspace.id}@example.com"}}
    settings = {"quiet_window_s": 0.5, "auto_send_revision_enabled": True} | workspace.settings
    columns = {"workspace_id": workspace.id, "channels": channels, **settings}
    names, places = ", ".join(columns), ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    await db.execute(
        "INSERT INTO workspace (id, default_mode) VALUES ($1, $2)"
        " ON CONFLICT (id) DO UPDATE SET default_mode = excluded.default_mode",
        workspace.id,
        workspace.mode,
    )
    await db.execute(
        f"INSERT INTO workspace_settings ({names}) VALUES ({places}) ON CONFLICT (workspace_id) DO UPDATE SET {updates}",
        *columns.values(),
    )
    for campaign, mode in workspace.campaigns.items():
        await db.execute(
            "INSERT INTO campaign (workspace_id, campaign_id, mode) VALUES ($1, $2, $3)"
            " ON CONFLICT (workspace_id, campaign_id) DO UPDATE SET mode = excluded.mode",
            workspace.id,
            campaign,
            mode,
        )


async def _read_all(consumer: AIOKafkaConsumer) -> list[Record]:
    """Without a group a consumer is assigned every partition of its topic."""
    ends = await consumer.end_offsets(consumer.assignment())
    found: list[Record] = []
    give_up = time.monotonic() + READ_S_MAX
    while any([await consumer.position(each) < end for each, end in ends.items()]):
        assert time.monotonic() < give_up, f"{consumer.subscription()} could not be read to the end"
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            found += [Record(r.topic, r.partition, r.offset, r.key, r.value, dict(r.headers)) for r in batch]
    return sorted(found, key=lambda record: (record.partition, record.offset))
