"""Our own idempotent producer (Faust's is not)."""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from agents.rim import OutboxRow
from app.config import Config, kafka_kwargs
from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX

log = structlog.get_logger()

_LINGER_MS: Final = 2
_REQUEST_MS: Final = 10_000
_CANCELS_MAX: Final = 20
_CANCEL_S: Final = 0.1
_HEADROOM_BYTES: Final = 64 * 1024


def new_producer(config: Config) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **kafka_kwargs(config),
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        request_timeout_ms=_REQUEST_MS,
        max_request_size=DEAD_LETTER_RECORD_BYTES_MAX + _HEADROOM_BYTES,
    )


class KeptProducer:
    """One producer, started when it is needed first. Stopped, because the broker fenced or lost it, the next use starts
    another."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def started(self) -> AIOKafkaProducer:
        """Raises what the broker does; nothing is kept then."""
        async with self._starting:
            if self._producer is None:
                producer = new_producer(self._config)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def stop(self) -> None:
        """Let the producer go, whatever the broker says to that."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(_REQUEST_MS / 1000):
                    await producer.stop()
            except (KafkaError, OSError, TimeoutError):
                await _abandon(producer)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """End what a `stop` that was cut short leaves behind: its sender would go on, with its connections, for as long as
    the process lives. Whoever waits for a record hears that it was not acknowledged."""
    sender, accumulator = producer._sender.sender_task, producer._message_accumulator
    for _ in range(_CANCELS_MAX):  # cancelled once, it waits for its requests one by one
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait([sender], timeout=_CANCEL_S)
    await producer.client.close()
    # A batch that was tried again is not among the pending ones, where its end is to take it out.
    accumulator._pending_batches.update(each for waiting in accumulator._batches.values() for each in waiting)
    accumulator.fail_all(KafkaTimeoutError())


def _its_own_fault(result: object) -> bool:
    return isinstance(result, MessageSizeTooLargeError | ValueError | TypeError | AssertionError)


class RowProducer(KeptProducer):
    """Sends outbox rows."""

    async def send(self, rows: list[OutboxRow]) -> list[int]:
        """Send rows; returns the ids that the broker acknowledged. Raises nothing that a broker does."""
        try:
            producer = await self.started()
            futures = [await self._send_one(producer, row) for row in rows]
        except (KafkaError, OSError, TimeoutError):
            await self.stop()
            return []
        results = await asyncio.gather(*futures, return_exceptions=True)
        if any(isinstance(result, BaseException) for result in results if not _its_own_fault(result)):
            await self.stop()
        return [row.id for row, result in zip(rows, results, strict=True) if not isinstance(result, BaseException)]

    async def _send_one(self, producer: AIOKafkaProducer, row: OutboxRow) -> "asyncio.Future[object]":
        """The row's future. A row that can never be sent (its size) fails alone.

        A record needs a key or a value: a letter of one that had neither gets an empty key.
        """
        headers = [(name, value.encode()) for name, value in row.headers.items()]
        future: asyncio.Future[object]
        try:
            future = await producer.send(
                row.topic, row.value, key=b"" if row.key is row.value is None else row.key, headers=headers
            )
        except (MessageSizeTooLargeError, ValueError, TypeError, AssertionError) as error:
            log.error("outbox_row_refused", topic=row.topic, error_class=type(error).__name__)
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        return future
