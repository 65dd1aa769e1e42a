"""What Kafka itself says of a group's progress on a topic."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.groups import GROUPS
from schemas.topics import TOPICS

# By partition: committed (None: nothing yet), end, lag.
Figures = dict[int, tuple[int | None, int, int]]


async def kafka_figures(servers: str | None, topic: str) -> Figures:
    """Committed, end and lag of each partition, as the broker's own admin protocol has them."""
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=servers), AIOKafkaConsumer(bootstrap_servers=servers)
    await admin.start()
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, each) for each in range(TOPICS[topic].partitions)]
        ends = await consumer.end_offsets(partitions)
        found = await admin.list_consumer_group_offsets(GROUPS[topic])
        committed = {tp.partition: at.offset for tp, at in found.items() if tp.topic == topic and at.offset >= 0}
        return {
            tp.partition: (committed.get(tp.partition), ends[tp], ends[tp] - committed.get(tp.partition, 0))
            for tp in partitions
        }
    finally:
        await consumer.stop()
        await admin.close()
