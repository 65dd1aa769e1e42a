"""How far every consumer group is, per partition, as the broker and the ingest watermarks say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.config import Config, kafka_kwargs
from app.groups import GROUPS
from db import sql
from schemas.topics import INBOUND_MESSAGE

if TYPE_CHECKING:
    from db.pool import Executor

_REQUEST_MS: Final = 10_000
_NOBODY: Final = "-"


@dataclass(frozen=True)
class PartitionLag:
    """`committed` is None where the group has not committed yet; `lag` is in records. `lost`: the ingest watermark is
    beyond the end, so it was written for a topic that is gone, and says nothing."""

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int
    member: str
    state: str
    lost: bool = False


class GroupReader:
    """Reads offsets and members; open it once for many readings."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin, self._consumer = admin, consumer

    async def lags(self, watermarks: Mapping[int, int]) -> list[PartitionLag]:
        """One row for each partition of each consumed topic.

        :param watermarks: of `inbound-message`: what ingest has written counts as done although markers of
            transactions, which take offsets, stand behind it. Read before this is called: then none is beyond an end.
        """
        groups = await asyncio.gather(*(self._group(topic, group, watermarks) for topic, group in GROUPS.items()))
        return [lag for rows in groups for lag in rows]

    async def _group(self, topic: str, group: str, watermarks: Mapping[int, int]) -> list[PartitionLag]:
        partitions = [TopicPartition(topic, each) for each in await self._partitions(topic)]
        if not partitions:
            return []
        committed, (state, members), begins, ends = await asyncio.gather(
            self._committed(group),
            self._members(group),
            self._consumer.beginning_offsets(partitions),
            self._consumer.end_offsets(partitions),
        )
        rows = []
        for tp in partitions:
            offset = committed.get((tp.topic, tp.partition))
            watermark = watermarks.get(tp.partition, 0) if topic == INBOUND_MESSAGE.name else 0
            lost = watermark > ends[tp]
            done = max(offset or 0, begins[tp], 0 if lost else watermark)
            member = members.get((tp.topic, tp.partition), _NOBODY)
            lag = max(ends[tp] - done, 0)
            rows.append(PartitionLag(group, topic, tp.partition, offset, ends[tp], lag, member, state, lost))
        return rows

    async def _partitions(self, topic: str) -> list[int]:
        described = await self._admin.describe_topics([topic])
        return sorted(each["partition"] for each in described[0]["partitions"]) if described else []

    async def _committed(self, group: str) -> dict[tuple[str, int], int]:
        """Empty for a group that nobody knows yet."""
        try:
            found = await self._admin.list_consumer_group_offsets(group)
        except KafkaError as error:
            if error.retriable:
                raise
            return {}
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def _members(self, group: str) -> tuple[str, dict[tuple[str, int], str]]:
        """The group's state, and who owns each partition: the id of the member, and its host."""
        described = (await self._admin.describe_consumer_groups([group]))[0].groups[0]
        state, members = described[2], described[5]
        owners = {
            (topic, partition): f"{member[0]}{member[2]}"
            for member in members
            for topic, partition in _assigned(member[4])
        }
        return state, owners


def _assigned(assignment: bytes) -> list[tuple[str, int]]:
    """The partitions in a member's assignment (Kafka's consumer protocol); none while the group rebalances."""
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

    if not assignment:
        return []
    try:
        parsed: Any = ConsumerProtocolMemberAssignment.decode(assignment)
    except (ValueError, IndexError):
        return []
    return [(topic, partition) for topic, partitions in parsed.assignment for partition in partitions]


@asynccontextmanager
async def group_reader(config: Config) -> AsyncIterator[GroupReader]:
    """A reader with its connections. Raises KafkaError when no broker answers."""
    admin = AIOKafkaAdminClient(**kafka_kwargs(config), request_timeout_ms=_REQUEST_MS)
    consumer = AIOKafkaConsumer(
        **kafka_kwargs(config), isolation_level="read_committed", request_timeout_ms=_REQUEST_MS
    )
    try:
        await admin.start()
        await consumer.start()
        yield GroupReader(admin, consumer)
    finally:
        await consumer.stop()
        await admin.close()


async def watermarks_of(connection: Executor) -> dict[int, int]:
    """How far ingest is on each partition of `inbound-message`."""
    rows = await sql.ingest.watermarks.rows(connection, topic=INBOUND_MESSAGE.name)
    return {row["partition"]: row["next_offset"] for row in rows}
