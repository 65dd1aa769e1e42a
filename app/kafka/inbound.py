"""Messages onto `inbound-message` for those who have no Kafka client: acknowledged by all replicas, or not sent."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from app.kafka.producer import KeptProducer
from schemas.events import InboundMessage
from schemas.limits import INBOUND_RECORD_BYTES_MAX
from schemas.topics import INBOUND_MESSAGE

SEND_S_MAX: Final = 15.0


class BrokerAway(Exception):
    """The broker did not acknowledge in time. A message may be on the topic all the same: sent again it is a repeat."""


class TooLarge(Exception):
    """A message that the topic does not take, now or later. Of those sent with it some may be on the topic."""


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
        """Send all, in order; returns where each one landed. Raises BrokerAway, TooLarge."""
        values = [posting.message.model_dump_json(exclude_none=True).encode() for posting in postings]
        if any(len(value) > INBOUND_RECORD_BYTES_MAX for value in values):
            raise TooLarge
        try:
            async with asyncio.timeout(SEND_S_MAX):
                producer = await self.started()
                pairs = zip(postings, values, strict=True)
                futures = [await self._send_one(producer, posting, value) for posting, value in pairs]
                found = await asyncio.gather(*futures)
        except MessageSizeTooLargeError:  # a topic that takes less; its refusal left a gap in the producer's sequence
            await self.stop()
            raise TooLarge from None
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise BrokerAway from error
        return [Landed(record.topic, record.partition, record.offset) for record in found]

    async def _send_one(self, producer: AIOKafkaProducer, posting: Posting, value: bytes) -> "asyncio.Future[Any]":
        headers = [(name, each.encode()) for name, each in posting.headers.items()]
        future: asyncio.Future[Any] = await producer.send(
            INBOUND_MESSAGE.name, value, key=posting.message.key, headers=headers
        )
        return future
