"""The ingest agent's hands: events of all its partitions in batches, one transaction each, acked after the commit.

When nothing of a partition is outstanding its watermark is the consumer's position: transaction markers take offsets,
so "last offset + 1" never reaches the end of a partition that transactional producers write.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from agents.dead_letters import Incoming
from agents.ingest import Result, dead_letter_batch, ingest_batch
from agents.persist import TRANSIENT, backoff_s
from agents.rim import OutboxRow
from app.kafka.engine import Acknowledge, Engine, Record
from app.kafka.pool import Capacity
from app.metrics.catalogue import WorkerMetrics
from app.tracing import Tracing
from db import sql
from db.pool import Pool, transaction
from schemas.codes import DeadLetterReason
from schemas.limits import (
    DEAD_LETTER_SHARE_MAX,
    DEAD_LETTER_WINDOW_EVENTS,
    INGEST_BATCH_BYTES_MAX,
    INGEST_BATCH_RECORDS_MAX,
)
from schemas.topics import INBOUND_MESSAGE
from schemas.traces import read_traceparent

log = structlog.get_logger()

_IDLE_TICK_S: Final = 0.1
_GATHER_S: Final = 0.02
_BUFFER_FACTOR: Final = 4


class Ingesting:
    """Collects what Faust hands over; `run` brings it into the database batch by batch."""

    def __init__(
        self,
        pool: Pool,
        publish: Callable[[list[OutboxRow]], None],
        own_addresses: frozenset[str],
        metrics: WorkerMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._pool, self._publish, self._own = pool, publish, own_addresses
        self._metrics, self._tracing = metrics or WorkerMetrics(), tracing or Tracing()
        self._capacity = Capacity(INGEST_BATCH_RECORDS_MAX * _BUFFER_FACTOR, INGEST_BATCH_BYTES_MAX * _BUFFER_FACTOR)
        self._waiting: list[tuple[Incoming, Acknowledge]] = []
        self._arrived = asyncio.Event()
        self.batched = asyncio.Event()
        self._taken = 0
        self._refused_at: deque[int] = deque(maxlen=DEAD_LETTER_WINDOW_EVENTS)
        self._written: dict[int, int] = {}
        self._stopping = False
        self.engine: Engine | None = None
        self.crash_point: Callable[[str], None] = lambda name: None
        self.counts = {"stored": 0, "repeated": 0, "dead": 0}

    @property
    def paused(self) -> bool:
        """More than DEAD_LETTER_SHARE_MAX of the last records failed for reasons of our own."""
        recent = [at for at in self._refused_at if self._taken - at < DEAD_LETTER_WINDOW_EVENTS]
        return len(recent) > DEAD_LETTER_SHARE_MAX * DEAD_LETTER_WINDOW_EVENTS

    @property
    def in_flight(self) -> int:
        return self._capacity.events

    async def consume(self, record: Record, acknowledge: Acknowledge) -> None:
        """Take one record; returns when there is room for the next."""
        if self._stopping:
            return
        await self._capacity.take(record.bytes)
        incoming = Incoming(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_s,
            record.key,
            record.value,
            read_traceparent(record.headers.get("traceparent")),
        )
        self._taken += 1
        self._waiting.append((incoming, acknowledge))
        self._arrived.set()

    async def run(self) -> None:
        """Ingest until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._arrived.wait(), _IDLE_TICK_S)
            except TimeoutError:
                await self._lower_lost()
                await self._advance_idle()
                continue
            await self._lower_lost()
            if len(self._waiting) < INGEST_BATCH_RECORDS_MAX:
                await asyncio.sleep(_GATHER_S)  # a transaction costs the same for one record as for several
            batch = self._next_batch()
            if batch:
                await self._take(batch)
            if not self._waiting:
                self._arrived.clear()

    def _next_batch(self) -> list[tuple[Incoming, Acknowledge]]:
        size = count = 0
        for incoming, _ in self._waiting[:INGEST_BATCH_RECORDS_MAX]:
            size += _size(incoming)
            if count and size > INGEST_BATCH_BYTES_MAX:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _take(self, batch: list[tuple[Incoming, Acknowledge]]) -> None:
        """One batch to its end: committed, published, acked. While the database is away it waits in place."""
        failures, began, began_ns = 0, time.monotonic(), time.time_ns()
        while True:
            try:
                result = await self._ingest([incoming for incoming, _ in batch])
                break
            except TRANSIENT as error:
                failures += 1
                log.warning("ingest_waits_for_database", error_class=type(error).__name__, rows=len(batch))
                await asyncio.sleep(backoff_s(failures))
        self.crash_point("ingest.committed")
        self._publish(result.rows)
        for incoming, acknowledge in batch:
            acknowledge()
            self._capacity.give(_size(incoming))
        self.batched.set()
        for name in self.counts:
            self.counts[name] += getattr(result, name)
            self._metrics.ingested.inc(name, by=getattr(result, name))
        self._tracing.ingested([incoming for incoming, _ in batch], began_ns)
        took_s = time.monotonic() - began
        self._metrics.ingest_batch_s.observe(took_s)
        log.info("batch_ingested", records=len(batch), duration_ms=round(took_s * 1000))

    async def _ingest(self, batch: list[Incoming]) -> Result:
        """A batch that the database refuses is cut in halves until the record that it refuses stands alone."""
        try:
            async with transaction(self._pool) as connection:
                result = await ingest_batch(connection, batch, self._own)
                self.crash_point("ingest.before_commit")
            return result
        except TRANSIENT:
            raise
        except Exception as error:
            log.warning("ingest_batch_refused", rows=len(batch), exc_info=error)
            if len(batch) == 1:
                return await self._refuse(batch[0], error)
            middle = len(batch) // 2
            first, second = await self._ingest(batch[:middle]), await self._ingest(batch[middle:])
            return Result(
                first.rows + second.rows,
                first.stored + second.stored,
                first.repeated + second.repeated,
                first.dead + second.dead,
            )

    async def _refuse(self, record: Incoming, error: Exception) -> Result:
        code = DeadLetterReason.REFUSED_BY_DATABASE
        if not isinstance(error, asyncpg.PostgresError):
            code = DeadLetterReason.UNEXPECTED_ERROR
            if self.paused:
                raise TimeoutError from error  # we are broken, not they: the batch waits
            self._refused_at.append(self._taken)
        async with transaction(self._pool) as connection:
            return await dead_letter_batch(connection, record, code, type(error).__name__)

    async def _advance_idle(self) -> None:
        """Where nothing is outstanding, everything before the consumer's position is in the database."""
        if self.engine is None or self.engine.rebalancing:
            return
        settled = self.engine.progress.settled()
        ends = {number: position for number, position in settled.items() if self._written.get(number, 0) < position}
        if not ends:
            return
        try:
            await sql.ingest.advance_watermarks.run(
                self._pool,
                topic=INBOUND_MESSAGE.name,
                partitions=list(ends),
                next_offsets=list(ends.values()),
            )
        except TRANSIENT:
            return
        self._written |= ends

    async def _lower_lost(self) -> None:
        """Watermarks of a topic that was lost and made anew say that records are in the database which nobody has read:
        the fence would pass, and a send would miss a newer message."""
        found = self.engine.progress.not_compared() if self.engine is not None else {}
        if not found or self.engine is None:
            return
        ends = {number: end for number, (_, end) in found.items()}
        try:
            lowered = await sql.ingest.lower_watermarks_beyond_end.rows(
                self._pool,
                topic=INBOUND_MESSAGE.name,
                partitions=list(found),
                next_offsets=[done for done, _ in found.values()],
                ends=list(ends.values()),
            )
        except TRANSIENT:
            return
        self.engine.progress.compared(ends)
        for row in lowered:
            self._written.pop(row["partition"], None)
            log.warning("watermark_lowered", partition=row["partition"], offset=row["next_offset"])

    async def drain(self, grace_s: float) -> None:
        """Take nothing new and finish what was taken."""
        self._stopping = True
        give_up = time.monotonic() + grace_s
        while self._capacity.events and time.monotonic() < give_up:  # noqa: ASYNC110 - polled once, at the end
            await asyncio.sleep(_IDLE_TICK_S)


def _size(incoming: Incoming) -> int:
    return len(incoming.value or b"") + len(incoming.key or b"")
