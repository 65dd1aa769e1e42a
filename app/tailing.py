"""Reading a topic as it grows: from an offset or a time, filtered, in the order of time as far as partitions allow."""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.config import Config, kafka_kwargs
from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX

POLL_MS: Final = 500
_AGO: Final = re.compile(r"(\d+)(s|m|h|d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # no record is older
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Start:
    """Where to begin. One of: the `earliest` record, an `offset`, the last `back` records of each partition, a time."""

    earliest: bool = False
    offset: int | None = None
    back: int | None = None
    at: datetime | None = None


def read_start(text: str, now: datetime) -> Start:
    """`earliest`, `latest`, `1234` (offset), `-20` (the last 20 a partition), `15m` (ago), an RFC 3339 time or a date.

    A time before 1970 is 1970. Raises ValueError for anything else.
    """
    if text in ("earliest", "latest"):
        return Start(earliest=text == "earliest")
    if re.fullmatch(r"-\d+", text):
        return Start(back=int(text[1:]))
    if text.isdecimal():
        return Start(offset=int(text))
    if ago := _AGO.fullmatch(text):
        return Start(at=_ago(now, _UNITS[ago[2]], int(ago[1])))
    at = datetime.fromisoformat(text)
    return Start(at=max(at if at.tzinfo else at.replace(tzinfo=UTC), _EPOCH))


def _ago(now: datetime, unit: str, count: int) -> datetime:
    try:
        return max(now - timedelta(**{unit: count}), _EPOCH)
    except OverflowError:
        return _EPOCH


@dataclass(frozen=True)
class Line:
    """One record; `fields` are those of its JSON object, empty when it is none."""

    partition: int
    offset: int
    at: datetime
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]
    fields: dict[str, Any] = field(default_factory=dict)

    def holds(self, wanted: Mapping[str, str]) -> bool:
        """Whether each wanted field, or header of ours, has this value."""
        return all(_text(self.fields.get(name, self.headers.get(name))) == value for name, value in wanted.items())


def _text(value: Any) -> str:
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


async def tail(
    config: Config, topic: str, start: Start, *, partition: int | None = None, follow: bool = True
) -> AsyncGenerator[Line, None]:
    """Committed records from `start` on, for ever, or to the present end. Moves nobody's offsets. Raises KafkaError."""
    consumer = AIOKafkaConsumer(
        topic,
        **kafka_kwargs(config),
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=DEAD_LETTER_RECORD_BYTES_MAX,
    )
    await consumer.start()
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        consumer.unsubscribe()
        chosen = [TopicPartition(topic, each) for each in numbers if partition in (None, each)]
        if not chosen:
            return
        consumer.assign(chosen)
        ends = await consumer.end_offsets(chosen)
        await _seek(consumer, chosen, ends, start)
        while follow or any([await consumer.position(tp) < ends[tp] for tp in chosen]):
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            records = [record for batch in batches.values() for record in batch]
            for record in sorted(records, key=lambda each: (each.timestamp, each.partition, each.offset)):
                if follow or record.offset < ends[TopicPartition(topic, record.partition)]:
                    yield _line(record)
    finally:
        await consumer.stop()


async def _seek(
    consumer: AIOKafkaConsumer, chosen: list[TopicPartition], ends: Mapping[TopicPartition, int], start: Start
) -> None:
    begins = await consumer.beginning_offsets(chosen)
    times: dict[TopicPartition, Any] = {}
    if start.at is not None:
        times = await consumer.offsets_for_times(dict.fromkeys(chosen, int(start.at.timestamp() * 1000)))
    for tp in chosen:
        where = ends[tp]
        if start.earliest:
            where = begins[tp]
        elif start.offset is not None:
            where = start.offset
        elif start.back is not None:
            where = ends[tp] - start.back
        elif times.get(tp) is not None:
            where = times[tp].offset
        consumer.seek(tp, min(max(where, begins[tp]), ends[tp]))


def _line(record: Any) -> Line:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return Line(record.partition, record.offset, at, record.key, record.value, headers, _fields(record.value))


def _fields(value: bytes | None) -> dict[str, Any]:
    try:
        parsed = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
