"""Result topics to Parquet. What an export reads is fixed when it begins: the ends of the partitions at that moment.

Each partition is first copied whole into a work file, then the days are put together from the copies and from what was
exported before: each event once, in order of time. A partition or a day is written whole or not at all, so an export
that was interrupted writes the same bytes when it goes on.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import AwareDatetime

from agents.reading import Unreadable, read_event
from app.config import Config, kafka_kwargs
from app.exporting.files import WORK, State, day_file, write_table
from app.kafka.topics import check_topics
from schemas.events import Event

COPY_ROWS: Final = 10_000
POLL_MS: Final = 1_000
DAY: Final = "day"
ORDER: Final = [("occurred_at", "ascending"), ("event_id", "ascending")]


@dataclass
class Exported:
    """What an export wrote: rows that are new, days that were written; records that are no events were passed by."""

    name: str
    rows: int = 0
    days: int = 0
    passed_by: int = 0


def arrow_schema(event: type[Event]) -> pa.Schema:
    """The columns of an event, in the order of its fields."""
    return pa.schema([pa.field(name, _arrow_type(field.annotation)) for name, field in event.model_fields.items()])


def _arrow_type(annotation: Any) -> pa.DataType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(arguments[0])
    if origin is Union or type(annotation).__name__ == "UnionType":
        return _arrow_type(next(each for each in arguments if each is not NoneType))
    if origin is list:
        return pa.list_(_arrow_type(arguments[0]))
    if origin is Literal:
        return _arrow_type(type(arguments[0]))
    simple = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), UUID: pa.string()}
    if annotation in simple:
        return simple[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string()
    if annotation is AwareDatetime:
        return pa.timestamp("us", "UTC")
    raise TypeError(f"no column type for {annotation}")


async def export_topic(
    config: Config, root: Path, state: State, event: type[Event], say: Callable[[str], None]
) -> Exported:
    """Bring the files of a topic up to its end; goes on where an interrupted export stopped. Raises KafkaError.

    A topic that ends before what was read of it was made anew, and is read from its beginning.
    """
    place, exported = state.topic(event.topic), Exported(event.topic)
    async with _Reader(config) as reader:
        ends = await reader.ends(event.topic)
    if _made_anew(place, ends):
        say(f"{event.topic} ends before what was read of it: it was made anew, and is read from its beginning")
        for copy in (root / WORK).glob(f"{event.topic}-*.parquet"):
            copy.unlink()
        place["done"], place["target"] = {}, None
    if place["target"] is None:
        place["target"] = ends
        state.save()
    parts = _parts(root, event.topic, place)
    missing = [part for part in parts if not part.copy.exists()]
    if missing:
        async with _Reader(config) as reader:
            for part in missing:
                exported.passed_by += await _copy(reader, event, part)
                say(f"{event.topic} partition {part.partition} read")
    copies = [part.copy for part in parts]
    exported.rows = sum(pq.read_metadata(copy).num_rows for copy in copies)
    for day in _days(copies):
        _write_day(root, event, day, copies)
        exported.days += 1
        say(f"{event.topic} {day} written")
    place["done"], place["target"] = place["target"], None
    state.save()
    for copy in copies:
        copy.unlink()
    return exported


def _made_anew(place: dict[str, Any], ends: dict[str, int]) -> bool:
    """Whether offsets stand for other records now. To read too much is harmless: each event is written once."""
    known = [*place["done"].items(), *(place["target"] or {}).items()]
    return any(ends.get(partition, 0) < offset for partition, offset in known)


@dataclass(frozen=True)
class _Part:
    """What is to be read of a partition, [begin, end), and the work file that it becomes."""

    partition: int
    begin: int
    end: int
    copy: Path


def _parts(root: Path, topic: str, place: dict[str, Any]) -> list[_Part]:
    """The partitions that have something new, in order."""
    parts = []
    for partition, end in sorted(place["target"].items(), key=lambda item: int(item[0])):
        begin = place["done"].get(partition, 0)
        if begin < end:
            copy = root / WORK / f"{topic}-{partition}-{begin}-{end}.parquet"
            parts.append(_Part(int(partition), begin, end, copy))
    return parts


class _Reader:
    """One consumer without a group: it reads, and nobody's offsets move."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._consumer = AIOKafkaConsumer(
            **kafka_kwargs(config),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )

    async def __aenter__(self) -> "_Reader":
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def ends(self, topic: str) -> dict[str, int]:
        """Where each partition ends now, by its number as text (JSON keys); empty when there is no such topic."""
        state = next(each for each in await check_topics(self._config) if each.name == topic)
        partitions = [TopicPartition(topic, each) for each in range(state.partitions)]
        found = await self._consumer.end_offsets(partitions)
        return {str(tp.partition): end for tp, end in found.items()}

    async def records(self, tp: TopicPartition, begin: int, end: int) -> AsyncIterator[list[Any]]:
        """Committed records of [begin, end), as many as are still kept."""
        self._consumer.assign([tp])
        kept = (await self._consumer.beginning_offsets([tp]))[tp]
        self._consumer.seek(tp, max(begin, kept))
        while await self._consumer.position(tp) < end:
            batch = await self._consumer.getmany(tp, timeout_ms=POLL_MS, max_records=COPY_ROWS)
            yield [record for record in batch.get(tp, []) if record.offset < end]


async def _copy(reader: _Reader, event: type[Event], part: _Part) -> int:
    """The partition's events as a work file, with the day each belongs to; returns how many records were no events."""
    tables, passed_by = [], 0
    async for records in reader.records(TopicPartition(event.topic, part.partition), part.begin, part.end):
        read = [read_event(event, record.value) for record in records]
        events = [each for each in read if not isinstance(each, Unreadable)]
        passed_by += len(read) - len(events)
        tables.append(_table(event, events))
    schema = arrow_schema(event).append(pa.field(DAY, pa.date32()))
    write_table(part.copy, pa.concat_tables([schema.empty_table(), *tables]))
    return passed_by


def _table(event: type[Event], events: Sequence[Event]) -> pa.Table:
    schema = arrow_schema(event)
    columns = [pa.array([_plain(getattr(each, field.name)) for each in events], field.type) for field in schema]
    days = [getattr(each, "occurred_at").astimezone(UTC).date() for each in events]  # noqa: B009 - not all events have it
    return pa.table([*columns, pa.array(days, pa.date32())], schema.append(pa.field(DAY, pa.date32())))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, UUID) else value


def _days(copies: Sequence[Path]) -> list[date]:
    found: set[date] = set()
    for copy in copies:
        found.update(pc.unique(pq.read_table(copy, columns=[DAY])[DAY]).to_pylist())
    return sorted(found)


def _write_day(root: Path, event: type[Event], day: date, copies: Sequence[Path]) -> None:
    """A day's events: those exported before and those of the copies, each once, in order of time."""
    schema, path = arrow_schema(event), day_file(root, event.topic, day)
    parts = [pq.read_table(copy, filters=[(DAY, "=", day)]).drop_columns([DAY]) for copy in copies]
    if path.exists():
        parts.append(pq.read_table(path, partitioning=None))
    whole = pa.concat_tables([schema.empty_table(), *parts], promote_options="default")
    whole = whole.select(schema.names).cast(schema).sort_by(ORDER)
    seen: set[str] = set()
    first = [not (each in seen or seen.add(each)) for each in whole["event_id"].to_pylist()]  # type: ignore[func-returns-value]
    write_table(path, whole.filter(pa.array(first, pa.bool_())))
