"""From record to `draft-evaluated`: paced arrivals, and a consumer that notes when each one's event is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer

from app.config import kafka_kwargs
from schemas.topics import DRAFT_EVALUATED
from tests.bench.arena import Arena
from tests.bench.messages import Message
from tests.bench.processes import BenchError

_MS: Final = 1000


class Watch:
    """Monotonic times, by message id: when the record was given to the producer, when its event was read."""

    def __init__(self, place: Arena) -> None:
        self._place = place
        self.sent_at: dict[str, float] = {}
        self.evaluated_at: dict[str, float] = {}
        self._ready = asyncio.Event()

    async def read(self) -> None:
        """Read events until cancelled."""
        consumer = AIOKafkaConsumer(DRAFT_EVALUATED.name, **kafka_kwargs(self._place.config))
        await consumer.start()
        try:
            await consumer.seek_to_end()
            self._ready.set()
            async for record in consumer:
                self._note(record)
        finally:
            await consumer.stop()

    def _note(self, record: Any) -> None:
        now = time.monotonic()
        self.evaluated_at.setdefault(orjson.loads(record.value)["trigger_message_id"], now)

    async def pace(self, messages: Iterable[Message], per_s: float) -> None:
        """Send one message each 1 / `per_s` seconds, whatever becomes of the earlier ones."""
        started, acknowledged = time.monotonic(), []
        for number, message in enumerate(messages):
            await asyncio.sleep(started + number / per_s - time.monotonic())
            self.sent_at[message.id] = time.monotonic()
            acknowledged.append(await self._place.send(message))
        await asyncio.gather(*acknowledged)

    @property
    def in_flight(self) -> int:
        return len(self.sent_at) - len(self.evaluated_at)

    async def latencies_ms(self, messages: Iterable[Message], seconds_max: float) -> list[float]:
        """From record to event, sorted. Raises BenchError when an event does not come in time."""
        wanted = {message.id for message in messages}
        give_up = time.monotonic() + seconds_max
        while not wanted <= self.evaluated_at.keys():
            if time.monotonic() > give_up:
                raise BenchError(f"{len(wanted - self.evaluated_at.keys())} of {len(wanted)} runs have no evaluation")
            await asyncio.sleep(0.1)
        return sorted((self.evaluated_at[each] - self.sent_at[each]) * _MS for each in wanted)


@asynccontextmanager
async def watching(place: Arena) -> AsyncIterator[Watch]:
    """A watch that reads while inside."""
    watch = Watch(place)
    reading = asyncio.create_task(watch.read())
    try:
        await asyncio.wait({asyncio.create_task(watch._ready.wait()), reading}, return_when=asyncio.FIRST_COMPLETED)
        yield watch
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    return ordered[max(-int(-share * len(ordered) // 1) - 1, 0)]
