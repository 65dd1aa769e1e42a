"""Messages onto `inbound-message` for those who have no Kafka client: acknowledged by all replicas, or not sent."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.kafka.producer import KeptProducer
from schemas.events import InboundMessage
from schemas.topics import INBOUND_MESSAGE

SEND_S_MAX: Final = 15.0


class BrokerAway(Exception):
    """The broker did not acknowledge in time. A message may be on the topic all the same: sent again it is a repeat."""


@dataclass(frozen=True)
class Posting:
    """A message with the record headers it brings along."""

    message: InboundMessage
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Landed:
    """Where a message is, as the broker acknowledged it."""

    topic: str
    partition: int
    offset: int


class InboundProducer(KeptProducer):
    """Sends messages, in order."""

    async def send(self, postings: Sequence[Posting]) -> list[Landed]:
        """Send all, in order; returns where each one landed. Raises BrokerAway."""
        try:
            async with asyncio.timeout(SEND_S_MAX):
                producer = await self.started()
                futures = [await self._send_one(producer, posting) for posting in postings]
                found = await asyncio.gather(*futures)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise BrokerAway from error
        return [Landed(record.topic, record.partition, record.offset) for record in found]

    async def _send_one(self, producer: AIOKafkaProducer, posting: Posting) -> "asyncio.Future[Any]":
        message, headers = posting.message, [(name, value.encode()) for name, value in posting.headers.items()]
        value = message.model_dump_json(exclude_none=True).encode()
        future: asyncio.Future[Any] = await producer.send(INBOUND_MESSAGE.name, value, key=message.key, headers=headers)
        return future
