"""The ingest group back to where the database is: after a restore it had committed more than the database has."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from app.config import Config, kafka_kwargs
from app.groups import GROUPS
from schemas.topics import INBOUND_MESSAGE


@dataclass(frozen=True)
class Rewound:
    """A partition of `inbound-message` whose records from `to` on will be read again."""

    partition: int
    committed: int
    to: int


async def rewind_ingest(config: Config, watermarks: Mapping[int, int], *, dry_run: bool = False) -> list[Rewound]:
    """Commit what the database has where the group has committed more. Raises KafkaError, also while members live."""
    numbers = await _partitions(config)
    consumer = AIOKafkaConsumer(**kafka_kwargs(config), group_id=GROUPS[INBOUND_MESSAGE.name], enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(numbers)
        begins = await consumer.beginning_offsets(numbers)
        found = []
        for tp in numbers:
            committed = await consumer.committed(tp)
            wanted = max(watermarks.get(tp.partition, 0), begins[tp])
            if committed is not None and committed > wanted:
                found.append(Rewound(tp.partition, committed, wanted))
        if found and not dry_run:
            topic = INBOUND_MESSAGE.name
            await consumer.commit(
                {TopicPartition(topic, each.partition): OffsetAndMetadata(each.to, "") for each in found}
            )
        return found
    finally:
        await consumer.stop()


async def _partitions(config: Config) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**kafka_kwargs(config))
    await admin.start()
    try:
        described = await admin.describe_topics([INBOUND_MESSAGE.name])
    finally:
        await admin.close()
    return sorted(TopicPartition(INBOUND_MESSAGE.name, each["partition"]) for each in described[0]["partitions"])
