"""The fence before a send: what was committed to `inbound-message` before it must be in the database first.

One shared request for end offsets serves all sends that wait in a worker. Committed: the last stable offset.
"""

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from app.config import Config, kafka_kwargs
from db import sql
from db.pool import Pool
from schemas.limits import FENCE_POLL_S
from schemas.topics import INBOUND_MESSAGE

_REQUEST_MS: Final = 5_000
_METADATA_MS: Final = 10_000  # a partition that was added is known after so long; aiokafka's own 5 minutes are too long


class InboundFence:
    def __init__(self, config: Config, pool: Pool) -> None:
        self._config, self._pool = config, pool
        self._consumer: AIOKafkaConsumer | None = None
        self._next: asyncio.Task[dict[int, int] | None] | None = None
        self._lock = asyncio.Lock()
        self._seen: dict[int, int] = {}
        self._reading = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0

    async def passed(self, timeout_s: float) -> bool:
        """Whether ingest reached, within `timeout_s`, what was committed when this was called."""
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._shared_ends()
                if ends is None:
                    return False
                while self._behind(ends):
                    await self._shared_look()
        except (KafkaError, OSError, TimeoutError):
            return False
        return True

    def _behind(self, ends: dict[int, int]) -> bool:
        """A watermark never goes back while its topic lives, so one that was seen far enough needs no new look."""
        return any(self._seen.get(partition, 0) < end for partition, end in ends.items())

    async def _shared_look(self) -> None:
        """One look at the watermarks serves every send that waits, at most one each FENCE_POLL_S."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        await asyncio.sleep(max(self._looked_at + FENCE_POLL_S - time.monotonic(), 0.0))
        await self._read()
        self._looked_at = time.monotonic()

    async def _read(self) -> dict[int, int]:
        """The watermarks; one reading at a time, so that an older one never takes the place of a newer one."""
        async with self._reading:
            rows = await sql.ingest.watermarks.rows(self._pool, topic=INBOUND_MESSAGE.name)
            self._seen = {row["partition"]: row["next_offset"] for row in rows}
            return self._seen

    async def _shared_ends(self) -> dict[int, int] | None:
        """End offsets read by a request that began after this call: callers who come while one waits share the next.
        None when a watermark was beyond its end before: it was written for a topic that is gone, and until ingest has
        taken it back nobody knows what was read of this one."""
        if self._next is None:
            self._next = asyncio.create_task(self._request())
        return await asyncio.shield(self._next)

    async def _request(self) -> dict[int, int] | None:
        async with self._lock:
            self._next = None  # from here on a caller is too late for this request
            before = await self._read()
            try:
                consumer = await self._started()
                partitions = consumer.partitions_for_topic(INBOUND_MESSAGE.name)
                if not partitions:  # then nothing can be said about what was committed
                    raise UnknownTopicOrPartitionError
                ends = await consumer.end_offsets([TopicPartition(INBOUND_MESSAGE.name, each) for each in partitions])
            except BaseException:
                await self.stop()
                raise
            beyond = any(before.get(partition.partition, 0) > offset for partition, offset in ends.items())
            return None if beyond else {partition.partition: offset for partition, offset in ends.items()}

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                INBOUND_MESSAGE.name,
                **kafka_kwargs(self._config),
                group_id=None,
                isolation_level="read_committed",
                request_timeout_ms=_REQUEST_MS,
                metadata_max_age_ms=_METADATA_MS,
                max_partition_fetch_bytes=1,
                fetch_max_wait_ms=_REQUEST_MS,
            )
            await consumer.start()
            consumer.pause(*consumer.assignment())
            self._consumer = consumer
        return self._consumer

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                await asyncio.wait_for(consumer.stop(), _REQUEST_MS / 1000)
            except (KafkaError, OSError, TimeoutError):
                return
