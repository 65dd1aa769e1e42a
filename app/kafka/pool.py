"""A bounded set of tasks per agent. The Faust loop only hands events over; when the set is full it stops pulling.

Tasks survive a rebalance: a redelivery of an event that is still worked on attaches to its task. It is acknowledged
when its effect is committed. Four fates and no fifth.
"""

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from agents.fates import Dead, Done, Dropped, Fate, Retry
from agents.persist import TRANSIENT, backoff_s
from app.kafka.engine import Acknowledge, Record
from app.metrics.catalogue import WorkerMetrics
from schemas.codes import DeadLetterReason
from schemas.limits import (
    DEAD_LETTER_SHARE_MAX,
    DEAD_LETTER_WINDOW_EVENTS,
    EVENT_BYTES_IN_FLIGHT_MAX,
    EVENTS_IN_FLIGHT_MAX,
    HANDLER_ATTEMPTS_MAX,
)

log = structlog.get_logger()

_PAUSED_RETRY_S = 5.0


Handler = Callable[[Record], Awaitable[Fate]]
DeadLetter = Callable[[Record, str, str, int], Awaitable[None]]


class Capacity:
    """Room for so many events and bytes. One event is always let in, however large."""

    def __init__(self, events: int, size: int) -> None:
        self._events, self._bytes = events, size
        self.events = self.bytes = 0
        self._freed = asyncio.Event()

    def fits(self, size: int) -> bool:
        """Whether there is room for an event of so many bytes."""
        return self.events == 0 or (self.events < self._events and self.bytes + size <= self._bytes)

    async def take(self, size: int) -> None:
        """Wait for room, then take it."""
        while not self.fits(size):
            self._freed.clear()
            await self._freed.wait()
        self.events += 1
        self.bytes += size

    def give(self, size: int) -> None:
        self.events -= 1
        self.bytes -= size
        self._freed.set()


@dataclass
class _Running:
    acknowledge: list[Acknowledge]  # more than one when the event was read again meanwhile
    task: asyncio.Task[None] | None = None


class EventPool:
    """Runs `handler` on each event of one topic, `events_max` at a time."""

    def __init__(
        self,
        topic: str,
        handler: Handler,
        dead_letter: DeadLetter,
        *,
        events_max: int = EVENTS_IN_FLIGHT_MAX,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self.topic = topic
        self._metrics = metrics or WorkerMetrics()
        self._handler, self._dead_letter = handler, dead_letter
        self._capacity = Capacity(events_max, EVENT_BYTES_IN_FLIGHT_MAX)
        self._running: dict[tuple[int, int], _Running] = {}
        self._adopted: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._unexpected: deque[bool] = deque(maxlen=DEAD_LETTER_WINDOW_EVENTS)
        self._stopping = asyncio.Event()
        self.counts = {"done": 0, "dropped": 0, "retried": 0, "dead": 0}

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._adopted)

    @property
    def paused(self) -> bool:
        """More than DEAD_LETTER_SHARE_MAX of the last events failed unexpectedly: we are broken, not they."""
        full = len(self._unexpected) == DEAD_LETTER_WINDOW_EVENTS
        return full and sum(self._unexpected) > DEAD_LETTER_SHARE_MAX * DEAD_LETTER_WINDOW_EVENTS

    async def consume(self, record: Record, acknowledge: Acknowledge) -> None:
        """Hand one record to a task; returns when there is room for the next."""
        if self._stopping.is_set():
            return
        place = (record.partition, record.offset)
        if place in self._running:
            self._running[place].acknowledge.append(acknowledge)
            return
        await self._capacity.take(record.bytes)
        if self._stopping.is_set():
            self._capacity.give(record.bytes)
            return
        running = self._running[place] = _Running(acknowledge=[acknowledge])
        running.task = asyncio.create_task(self._run(record, running), name=record.topic)

    async def adopt(self, event_id: uuid.UUID, record: Record) -> bool:
        """Work on an event of a run that its worker left behind, if there is room now; returns whether there is.

        Once, and without a dead letter: what is to be tried again is redelivered, or found by a later look.
        """
        full = self.paused or not self._capacity.fits(record.bytes)
        if full or self._stopping.is_set() or event_id in self._adopted:
            return False
        await self._capacity.take(record.bytes)
        self._adopted[event_id] = asyncio.create_task(self._run_adopted(event_id, record), name=record.topic)
        return True

    async def _run_adopted(self, event_id: uuid.UUID, record: Record) -> None:
        try:
            await self._attempt(record, 0)
        finally:
            self._capacity.give(record.bytes)
            del self._adopted[event_id]

    async def _run(self, record: Record, running: _Running) -> None:
        finished, began = False, time.monotonic()
        try:
            finished = await self._to_its_fate(record)
        finally:
            self._capacity.give(record.bytes)
            del self._running[record.partition, record.offset]
            if finished:
                self._metrics.event_s.observe(time.monotonic() - began, self.topic)
                for acknowledge in running.acknowledge:
                    acknowledge()

    async def _to_its_fate(self, record: Record) -> bool:
        """Whether the event may be acked. Returns False only when the worker stops first."""
        failures = 0
        while True:
            fate = await self._attempt(record, failures)
            if isinstance(fate, Dead):
                fate = await self._bury(record, fate, failures + 1)
            match fate:
                case Done():
                    self._count("done", unexpected=False)
                    return True
                case Dropped(reason):
                    self._count("dropped", unexpected=False)
                    log.info("event_dropped", topic=record.topic, reason=reason)
                    return True
                case Retry(after_s, reason):
                    self.counts["retried"] += 1
                    failures += reason.startswith("unexpected")
                    if await self._stopped_within(after_s, record, waits_for_other=reason.endswith("_elsewhere")):
                        return False
                case Dead(code):
                    self._count("dead", unexpected=code == DeadLetterReason.UNEXPECTED_ERROR)
                    return True
                case _ as never:
                    assert_never(never)

    async def _attempt(self, record: Record, failures: int) -> Fate:
        try:
            return await self._handler(record)
        except TRANSIENT as error:
            log.warning("event_waits_for_database", topic=record.topic, error_class=type(error).__name__)
            return Retry(backoff_s(4) + 0.1, "database_away")
        except Exception as error:
            log.error("event_failed", topic=record.topic, attempt=failures + 1, exc_info=error)
            if failures + 1 < HANDLER_ATTEMPTS_MAX:
                return Retry(backoff_s(failures + 1), "unexpected_error")
            if self.paused:
                return Retry(_PAUSED_RETRY_S * random.uniform(0.5, 1.0), "agent_paused")  # noqa: S311 - spreads load
            return Dead(DeadLetterReason.UNEXPECTED_ERROR, type(error).__name__)

    async def _bury(self, record: Record, dead: Dead, attempts: int) -> Fate:
        """A letter that cannot be written leaves the event as it was: it is tried again, and not acknowledged."""
        try:
            await self._dead_letter(record, dead.code, dead.error, attempts)
        except Exception as error:
            log.error("dead_letter_failed", topic=record.topic, attempt=attempts, exc_info=error)
            return Retry(_PAUSED_RETRY_S * random.uniform(0.5, 1.0), "dead_letter_failed")  # noqa: S311 - spreads load
        return dead

    async def _stopped_within(self, seconds: float, record: Record, *, waits_for_other: bool) -> bool:
        """Wait; True when the worker stops meanwhile. Waiting for another worker's lease takes no room."""
        if waits_for_other:
            self._capacity.give(record.bytes)
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        else:
            return True
        finally:
            if waits_for_other:
                self._capacity.events += 1
                self._capacity.bytes += record.bytes

    def _count(self, fate: str, *, unexpected: bool) -> None:
        self.counts[fate] += 1
        self._unexpected.append(unexpected)

    async def drain(self, grace_s: float) -> int:
        """Take nothing new, let what runs finish within `grace_s`, then cancel; returns how many were cancelled."""
        self._stopping.set()
        tasks = [running.task for running in self._running.values() if running.task is not None]
        tasks += self._adopted.values()
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)
