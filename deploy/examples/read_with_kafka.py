"""Read a result topic with a plain Kafka consumer: count what became of drafts, each event once.

An event may come twice (delivery is at least once): `event_id` is the same then. Order on the topic is not promised:
`sequence` numbers the outcomes of a draft.

    python read_with_kafka.py localhost:9092
"""

import asyncio
import json
import sys
from collections import Counter

from aiokafka import AIOKafkaConsumer


async def main(servers: str) -> None:
    consumer = AIOKafkaConsumer(
        "draft-outcome",
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        seen: set[str] = set()
        last: dict[str, tuple[int, str]] = {}
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    event = json.loads(record.value)
                    if event["event_id"] not in seen:
                        seen.add(event["event_id"])
                        news = (event["sequence"], event["status"])
                        last[event["draft_id"]] = max(last.get(event["draft_id"], news), news)
    finally:
        await consumer.stop()
    print(json.dumps(Counter(status for _, status in last.values())))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
