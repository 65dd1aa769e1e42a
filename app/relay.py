"""The relay: what is in the outbox reaches its topic. At once after the commit; a sweep finds what a crash left.

It also admits waiting draft requests: due ones, while the workspace has fewer RUNNING runs than its limit.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import asyncpg
import structlog

from agents.persist import TRANSIENT
from agents.rim import OutboxRow
from app.kafka.producer import RowProducer
from app.metrics.catalogue import ProcessMetrics
from db import sql
from db.pool import Pool
from schemas.limits import OUTBOX_TAKEN_S, RELAY_BATCH_ROWS_MAX, RELAY_BYTES_MAX, RELAY_TICK_S, SWEEP_S

log = structlog.get_logger()

_HAND_OVER_ROWS_MAX = 20_000
_GATHER_S = 0.005


class Relay:
    """One per process. `publish` never waits: what does not fit or fails is found by the sweep. `committed` hears of
    every row that is handed over, right after its commit."""

    def __init__(
        self,
        pool: Pool,
        producer: RowProducer,
        metrics: ProcessMetrics | None = None,
        committed: Callable[[Sequence[OutboxRow]], None] = lambda rows: None,
    ) -> None:
        self._pool, self._producer = pool, producer
        self._metrics, self._committed = metrics or ProcessMetrics(), committed
        self._rows: asyncio.Queue[OutboxRow] = asyncio.Queue(_HAND_OVER_ROWS_MAX)
        self._bytes = 0
        self._wake = asyncio.Event()
        self.admits = True

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        self._committed(rows)
        for row in rows:
            size = len(row.value or b"")
            if self._bytes + size > RELAY_BYTES_MAX or self._rows.full():
                return
            self._bytes += size
            self._rows.put_nowait(row)

    def admit_soon(self) -> None:
        """A run ended or a request fell due: look for waiting requests now."""
        self._wake.set()

    async def run(self) -> None:
        """Publish, admit and sweep until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.publish_forever())
            group.create_task(self._admit())
            group.create_task(self._sweep())

    async def publish_forever(self) -> None:
        """Publish what is handed over until cancelled."""
        while True:
            rows = [await self._rows.get()]
            while len(rows) < RELAY_BATCH_ROWS_MAX and not self._rows.empty():
                rows.append(self._rows.get_nowait())
            try:
                await self.send(rows)
            finally:
                self._bytes -= sum(len(row.value or b"") for row in rows)

    async def send(self, rows: list[OutboxRow]) -> int:
        """Send and mark rows; returns how many the broker has."""
        sent = await self._producer.send(rows)
        self._count(rows, sent)
        if sent:
            try:
                await sql.outbox.mark_published.run(self._pool, ids=sent)
            except (*TRANSIENT, asyncpg.PostgresError) as error:  # they will be sent again, with the same event ids
                log.warning("outbox_mark_failed", error_class=type(error).__name__)
        if len(sent) < len(rows):
            log.warning("outbox_send_failed", rows=len(rows) - len(sent))
        return len(sent)

    def _count(self, rows: list[OutboxRow], sent: list[int]) -> None:
        acknowledged = set(sent)
        for topic, count in Counter(row.topic for row in rows if row.id in acknowledged).items():
            self._metrics.outbox_published.inc(topic, by=count)
        self._metrics.outbox_send_failures.inc(by=len(rows) - len(sent))

    async def _admit(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RELAY_TICK_S)
            await asyncio.sleep(_GATHER_S)  # what wakes us comes in flocks
            self._wake.clear()
            if self.admits:
                await self._send_taken(sql.outbox.take_admitted_requests, {})

    async def _sweep(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> int:
        """Publish what a crash left, until nothing is or the broker takes no more; returns how many."""
        swept = 0
        while sent := await self._send_taken(sql.outbox.take_unpublished, {"bytes": RELAY_BYTES_MAX}):
            swept += sent
        return swept

    async def _send_taken(self, query: sql.Query, bounds: dict[str, int]) -> int:
        try:
            rows = await query.rows(self._pool, taken_s=OUTBOX_TAKEN_S, limit=RELAY_BATCH_ROWS_MAX, **bounds)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("outbox_read_failed", error_class=type(error).__name__)
            await asyncio.sleep(SWEEP_S)
            return 0
        if not rows:
            return 0
        return await self.send(
            [OutboxRow(row["id"], row["topic"], row["key"], row["value"], row["headers"]) for row in rows]
        )
