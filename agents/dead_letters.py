"""What cannot be used: the original bytes and key untouched, the reason in headers, durable before the ack."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agents.reading import Unreadable
from agents.rim import OutboxRow
from db import sql
from db.pool import Connection
from schemas.ids import derive
from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX, KEY_BYTES_MAX, OUTBOX_TAKEN_S
from schemas.topics import DEAD_LETTER

_HEADER_BYTES_RESERVED: Final = 64 * 1024


@dataclass(frozen=True)
class Incoming:
    """One record, as it came."""

    topic: str
    partition: int
    offset: int
    timestamp_s: float
    key: bytes | None
    value: bytes | None
    traceparent: str | None = None


async def add_dead_letters(
    connection: Connection, letters: Sequence[tuple[Incoming, Unreadable]], attempts: int = 1
) -> list[OutboxRow]:
    """Write dead letters: the original bytes and key untouched, the reason in headers."""
    if not letters:
        return []
    now = datetime.now(UTC).isoformat()
    ids = [derive("event:dead-letter", r.topic, r.partition, r.offset, str(r.timestamp_s)) for r, _ in letters]
    headers = [_letter_headers(record, why, attempts, now) for record, why in letters]
    values = [_letter_value(record.value) for record, _ in letters]
    keys = [_letter_key(record.key) for record, _ in letters]
    rows = await sql.outbox.add_events.rows(
        connection,
        event_ids=ids,
        topics=[DEAD_LETTER.name] * len(letters),
        keys=keys,
        values=values,
        headers=headers,
        workspace_ids=[None] * len(letters),
        taken_s=OUTBOX_TAKEN_S,
    )
    by_id = {identity: position for position, identity in enumerate(ids)}
    return [
        OutboxRow(row["id"], DEAD_LETTER.name, keys[at], values[at], headers[at])
        for row in rows
        for at in [by_id[row["event_id"]]]
    ]


def _letter_headers(record: Incoming, why: Unreadable, attempts: int, now: str) -> dict[str, str]:
    return {
        "dlq_reason": why.code.value,
        "dlq_error": why.error,
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
        "dlq_attempts": str(attempts),
        "dlq_at": now,
        **({"traceparent": record.traceparent} if record.traceparent else {}),
    }


def _letter_key(key: bytes | None) -> bytes | None:
    """The original; a key too long to be an id is named by its hash."""
    return key if key is None or len(key) <= KEY_BYTES_MAX else hashlib.sha256(key).hexdigest().encode()


def _letter_value(value: bytes | None) -> bytes | None:
    """The original; what does not fit on the topic is named by its hash and stays at its source offset."""
    if value is None or len(value) <= DEAD_LETTER_RECORD_BYTES_MAX - _HEADER_BYTES_RESERVED:
        return value
    return json.dumps(
        {"omitted": "too_large", "bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    ).encode()
