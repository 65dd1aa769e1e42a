"""The dead-letter topic, read from its beginning to its end of now."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli.shell import Problem
from app.config import Config, kafka_kwargs
from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX
from schemas.topics import DEAD_LETTER

_POLL_MS: Final = 1_000
_SILENT_POLLS_MAX: Final = 15
_READ_BYTES_MAX: Final = 1024 * 1024
# An id is shown; what could be a sentence or an address is not.
_IDENTIFIER: Final = re.compile(r"[\w.:/+-]{1,80}")
_SHOWN: Final = frozenset({"schema_version", "message_id", "workspace_id", "lead_id", "channel", "received_at"})


@dataclass(frozen=True)
class Letter:
    """One dead letter; `headers` are those of ours. `original_kept` is False for a record that did not fit: the letter
    then holds its hash only."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    size: int
    original_kept: bool
    headers: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        return self.headers.get("dlq_reason", "unknown")

    @property
    def topic(self) -> str:
        return self.headers.get("dlq_topic", "unknown")

    @property
    def workspace_id(self) -> str | None:
        """The workspace that the content names, if it can be read and looks like an id."""
        if self.value is None or len(self.value) > _READ_BYTES_MAX:
            return None
        try:
            parsed = json.loads(self.value)
        except (ValueError, RecursionError):
            return None
        named = parsed.get("workspace_id") if isinstance(parsed, dict) else None
        return named if isinstance(named, str) and _IDENTIFIER.fullmatch(named) else None


async def read_letters(
    config: Config, start: dict[int, int] | None = None, newest: int | None = None
) -> AsyncIterator[Letter]:
    """Every letter, partition by partition. Raises Problem when the broker falls silent before the end.

    :param start: the partitions to read, and the offsets to begin at.
    :param newest: at most so many offsets of each partition, the last ones.
    """
    consumer = AIOKafkaConsumer(
        **kafka_kwargs(config),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=DEAD_LETTER_RECORD_BYTES_MAX,
    )
    try:
        await consumer.start()
        async for letter in _read_all(consumer, await _partitions(config), start, newest):
            yield letter
    finally:
        await consumer.stop()


async def _read_all(
    consumer: AIOKafkaConsumer, partitions: Sequence[int], start: dict[int, int] | None, newest: int | None
) -> AsyncIterator[Letter]:
    chosen = [TopicPartition(DEAD_LETTER.name, each) for each in partitions if start is None or each in start]
    if not chosen:
        return
    consumer.assign(chosen)
    begins, ends = await consumer.beginning_offsets(chosen), await consumer.end_offsets(chosen)
    for tp in chosen:
        last = 0 if newest is None else ends[tp] - newest
        consumer.seek(tp, max(begins[tp], (start or {}).get(tp.partition, 0), last))
    silent = 0
    while any([await consumer.position(tp) < ends[tp] for tp in chosen]):
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        silent = 0 if batches else silent + 1
        if silent == _SILENT_POLLS_MAX:
            raise Problem(f"the broker fell silent before the end of {DEAD_LETTER.name}; see `draft-pipeline doctor`")
        for tp, records in batches.items():
            for record in records:
                if record.offset < ends[tp]:
                    yield _letter(record)


async def _partitions(config: Config) -> list[int]:
    from app.kafka.topics import check_topics

    count = next(state.partitions for state in await check_topics(config) if state.name == DEAD_LETTER.name)
    if not count:
        raise Problem(f"topic {DEAD_LETTER.name} is missing: run `draft-pipeline topics create`")
    return list(range(count))


def _letter(record: Any) -> Letter:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    place = (record.partition, record.offset, record.timestamp)
    return Letter(*place, record.key, record.value, len(record.value or b""), _holds_original(record.value), headers)


def _holds_original(value: bytes | None) -> bool:
    if value is None or len(value) > 1_000 or not value.startswith(b'{"omitted"'):
        return True
    try:
        return set(json.loads(value)) != {"omitted", "bytes", "sha256"}
    except ValueError:
        return True


def described(value: bytes | None) -> Any:
    """What may be shown of a letter's content: its shape, and what looks like an id; never a text."""
    if value is None:
        return "no value"
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return f"{len(value)} bytes that are no JSON"
    if not isinstance(parsed, dict):
        return f"{len(value)} bytes, JSON {type(parsed).__name__}"
    return {
        str(name)[:40]: _shape(str(name), each) for name, each in parsed.items() if _IDENTIFIER.fullmatch(str(name))
    }


def _shape(name: str, value: Any) -> str:
    if name in _SHOWN and isinstance(value, str | int) and _IDENTIFIER.fullmatch(str(value)):
        return str(value)
    if isinstance(value, str):
        return f"<text, {len(value)} characters>"
    return f"<{type(value).__name__}>" if value is not None else "null"
