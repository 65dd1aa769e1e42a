"""Faust, embedded. One app per agent: an agent that is full stops iterating, and no other starves for it.

What differs from `faust worker`: no web server, no tables, our own entry and signals; reads of committed records (Faust
hard-codes uncommitted under at_least_once); the consumer's position is observed for the ingest watermark.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import faust
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import CredentialsT
from yarl import URL

from app.config import Config, kafka_ssl_context
from app.kafka.offsets import Assignment
from app.kafka.silence import Silence
from schemas.limits import SESSION_TIMEOUT_S

log = structlog.get_logger()

UNKNOWN: Final = -1  # partition and offset of an event that was not read from the broker
HAND_OVER: Final = 2  # what _drain_messages races: the hand-over and the suspension
_STREAM_BUFFER_EVENTS: Final = 128
_POLL_RECORDS_MAX: Final = 500
_A_DAY_S: Final = 24 * 3600.0
_COMMIT_INTERVAL_S: Final = 0.5
_START_S_MAX: Final = 120.0
_STOP_S_MAX: Final = 15.0
_FETCH_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """One record as it came: key and value untouched."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp_s: float

    @property
    def bytes(self) -> int:
        return len(self.value or b"") + len(self.key or b"")


def record_of(event: Any) -> Record:
    """The Kafka record behind a Faust event."""
    message = event.message
    headers = message.headers or ()
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        dict(headers.items() if isinstance(headers, dict) else headers),
        message.timestamp,
    )


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, and notes what it hands over together with its position."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = 500
        cast(_App, self.app).engine.silence.watch(consumer._client)
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Any:
        """A fetch that spans a rebalance may hold records of before and of after the seek: it is thrown away, and the
        partitions are sought back, so that what it held is read again."""
        app = cast(_App, self.app)
        generation = app.consumer_generation_id
        records = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)
        if not self.consumer.flow_active or app.consumer_generation_id != generation:
            if records:
                await _seek_back(consumer, records)
            return {}
        app.engine.note(consumer, records or {}, generation)
        return records

    async def seek_to_committed(self) -> Any:
        """What Faust rewinds with after every rebalance."""
        return await self.call_thread(_rewind, self._ensure_consumer())


async def _rewind(consumer: Any, *partitions: Any) -> Any:
    """Back to the committed offsets; to the beginning where nothing was committed yet, which aiokafka leaves alone:
    what was fetched of such a partition before a rebalance would never be read again."""
    committed = await consumer.seek_to_committed(*partitions)
    fresh = [partition for partition, offset in committed.items() if not offset or offset <= 0]
    if fresh:
        await consumer.seek_to_beginning(*fresh)
    return committed


async def _seek_back(consumer: Any, records: Mapping[Any, Any]) -> None:
    owned = [partition for partition in records if partition in consumer.assignment()]
    try:
        if owned:
            await _rewind(consumer, *owned)
    except Exception as error:  # not ours any more: whoever owns it seeks for itself
        log.info("seek_back_skipped", error_class=type(error).__name__)


class _NothingRead(dict[Any, Any]):
    """Faust drops records below what it believes to have read, also those that were sought back. Nothing is dropped."""

    def __getitem__(self, partition: Any) -> None:
        return None

    def __setitem__(self, partition: Any, offset: Any) -> None:
        return None

    def update(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Consumer(driver.Consumer):
    """Commits what `Assignment` says, and hands a record over without two tasks while the stream has room.

    Faust races each hand-over against a suspension of the flow: two tasks, several turns of the event loop a record, so
    that a busy loop starves ingest. With room the hand-over does not wait, so there is nothing to race.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NothingRead()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return iter(self.assignment())

    def _filter_committable_offsets(self, tps: Any) -> dict[Any, int]:
        done = cast(_App, self.app).engine.progress.committable()
        return {
            tp: done[tp.partition]
            for tp in tps
            if tp.partition in done and done[tp.partition] > (self._committed_offset[tp] or 0)
        }

    async def wait_first(self, *waiting: Any, timeout: Any = None) -> Any:
        if len(waiting) == HAND_OVER and cast(_App, self.app).engine.has_room:
            hand_over, suspension = waiting
            suspension.close()
            return await hand_over
        return await super().wait_first(*waiting, timeout=timeout)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    """A Faust app that knows its engine and uses our transport."""

    engine: "Engine"

    class BootStrategy(faust.app.base.BootStrategy):
        enable_web = False
        enable_kafka_producer = False

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)


Acknowledge = Callable[[], None]
Consume = Callable[[Record, Acknowledge], Awaitable[None]]


class Engine:
    """One Faust app for one topic and group. `consume(record, acknowledge)` returns when the next record may come;
    `acknowledge` is called when the record's effect is committed, in any order."""

    def __init__(self, config: Config, *, topic: str, group: str, consume: Consume) -> None:
        self.topic, self.group = topic, group
        self._config, self._consume = config, consume
        self.progress = Assignment()
        self.fetched_at = self._taken_at = time.monotonic()
        self._waits_for_room = self._started = False
        self.silence = Silence()
        self._starts = 0
        self._rebalances = 0
        self._app: _App | None = None
        self._queue: Any = None

    def note(self, consumer: Any, records: Mapping[Any, Any], generation: int) -> None:
        """Note, in the consumer's thread, what is handed over and the position after it."""
        self.fetched_at = time.monotonic()
        for partition in consumer.assignment():
            state = consumer._subscription.subscription.assignment.state_value(partition)
            if state is not None and state.has_valid_position:
                offsets = [record.offset for record in records.get(partition, ())]
                end = state.lso if state.lso is not None and state.lso >= 0 else None
                self.progress.handed_over(generation, partition.partition, offsets, state.position, end)

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions this member owns now."""
        if self._app is None or self._app._assignment is None:
            return frozenset()
        return frozenset(tp.partition for tp in self._app._assignment)

    @property
    def has_room(self) -> bool:
        """Whether the stream takes another event without waiting."""
        queue, app = self._queue, self._app
        return queue is not None and not queue.full() and app is not None and app.flow_control.is_active()

    @property
    def rebalancing(self) -> bool:
        return self._app is None or bool(self._app.rebalancing)

    @property
    def rebalances(self) -> int:
        """How many this consumer took part in since the start, also before it was built anew."""
        return self._rebalances + (int(self._app.rebalancing_count) if self._app is not None else 0)

    @property
    def restarts(self) -> int:
        """How often it was built anew."""
        return max(self._starts - 1, 0)

    @property
    def stalled_s(self) -> float:
        """Seconds since the fetch loop last ran. An agent that is full makes it wait: that is no standstill."""
        return 0.0 if self._waits_for_room else time.monotonic() - max(self.fetched_at, self._taken_at)

    @property
    def crashed(self) -> bool:
        """Whether it consumes no more, or never began to: it is to be stopped and started."""
        return self._app is None or not self._started or bool(self._app.crashed or self._app.should_stop)

    async def start(self) -> None:
        """Join the group and begin to consume. Raises TimeoutError when the broker does not answer in time."""
        self.progress, self.silence = Assignment(), Silence()
        app = self._app = self._build()
        self._starts += 1
        async with asyncio.timeout(_START_S_MAX):
            await app.start()
        self._started = True

    async def stop(self) -> None:
        """Leave the group; what was acked is committed first."""
        self._rebalances = self.rebalances
        app, self._app, self._started = self._app, None, False
        if app is None:
            return
        try:
            async with asyncio.timeout(_STOP_S_MAX):
                await app.stop()
        except Exception as error:  # a broker that is away must not keep a worker from ending
            log.warning("engine_stop_failed", topic=self.topic, error_class=type(error).__name__)

    def _build(self) -> _App:
        brokers = (self._config.kafka_bootstrap_servers or "").split(",")
        app = _App(
            self.group,
            broker=[URL(f"kafka://{broker.strip()}") for broker in brokers],
            broker_credentials=_credentials(self._config),
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=f"{self._config.worker_id}-{self.topic}" if self._config.worker_id else None,
            consumer_max_fetch_size=_FETCH_BYTES_MAX,
            broker_session_timeout=SESSION_TIMEOUT_S,
            broker_heartbeat_interval=SESSION_TIMEOUT_S / 3,
            broker_rebalance_timeout=SESSION_TIMEOUT_S * 2,
            broker_max_poll_interval=_A_DAY_S,
            broker_max_poll_records=_POLL_RECORDS_MAX,
            broker_commit_interval=_COMMIT_INTERVAL_S,
            broker_commit_livelock_soft_timeout=_A_DAY_S,
            stream_buffer_maxsize=_STREAM_BUFFER_EVENTS,
            stream_processing_timeout=_A_DAY_S,
            stream_wait_empty=False,
            stream_publish_on_commit=False,
            store="memory://",
            datadir=str(Path(tempfile.gettempdir()) / "draft-pipeline-faust"),  # tables are not used
        )
        app.engine = self
        topic = app.topic(
            self.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
        )
        consume, progress = self._consume, self.progress
        self._queue = None

        async def agent(stream: Any) -> None:
            self._queue = stream.channel.queue
            async for event in stream.noack().events():
                record = record_of(event)
                place = (event.message.generation_id, record.partition, record.offset)
                self._waits_for_room = True
                try:
                    await consume(record, partial(progress.done, *place))
                finally:
                    self._waits_for_room, self._taken_at = False, time.monotonic()

        app.agent(topic, name=f"{self.topic}-agent")(agent)
        return app


def _credentials(config: Config) -> CredentialsT | None:
    if config.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=config.kafka_sasl_username,
            password=config.kafka_sasl_password,
            mechanism=config.kafka_sasl_mechanism,
            ssl_context=kafka_ssl_context(config) if config.kafka_security_protocol.endswith("SSL") else None,
        )
    if config.kafka_security_protocol == "SSL":
        return faust.SSLCredentials(kafka_ssl_context(config))
    return None
