"""Records that ingest commits per second, against bare asyncpg; and against the rate at which drafts are made."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from dataclasses import dataclass
from typing import Final

import asyncpg

from agents.reading import Unreadable, read_event
from agents.requesting import Request, conversation_key
from agents.rim import headers_of
from schemas.events import InboundMessage
from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import Message
from tests.bench.processes import BenchError
from tests.bench.progress import say
from tests.bench.waiting import until

ROW: Final = "ingest"
AGAINST_BARE: Final = (
    "`inbound-message` records committed per second and worker / the same rows (lead, message, waiting request)"
    " inserted by bare asyncpg, one transaction per message, one connection"
)
AGAINST_DRAFTS: Final = (
    "`inbound-message` records committed per second and worker / standard runs per second of the same worker"
)
BARE_AIM: Final = 0.5
DRAFTS_AIM: Final = 10.0
_A_DAY_S: Final = 3_600.0
_S_MAX: Final = 180.0
_LEAD: Final = "INSERT INTO lead (workspace_id, lead_id) VALUES ($1, $2)"
_MESSAGE: Final = """
INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, mode, body, disposition,
                     received_at)
VALUES ($1, $2, $3, 'chat', $4, $5, 'inbound', 'AI_AUTO_SEND', $6, 'waiting', now())
"""
_REQUEST: Final = """
INSERT INTO outbox (event_id, topic, key, value, headers, workspace_id, conversation, message_id, not_before)
VALUES ($1, 'draft-requested', $2, $3, $4, $5, $6, $7, now() + make_interval(secs => 3600))
"""
_RATE: Final = """
WITH batches AS (SELECT ingested_at, count(*) AS rows FROM message WHERE message_id = ANY ($1) GROUP BY 1)
SELECT sum(rows) FILTER (WHERE ingested_at > (SELECT min(ingested_at) FROM batches))
       / extract(epoch FROM max(ingested_at) - min(ingested_at)) FROM batches
"""


@dataclass(frozen=True)
class Size:
    records: int
    bare_records: int
    runs: int
    rounds: int


FULL: Final = Size(records=20_000, bare_records=3_000, runs=400, rounds=3)
QUICK: Final = Size(records=2_000, bare_records=300, runs=40, rounds=1)


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        await place.set_all(quiet_window_s=_A_DAY_S)
        ours, bare, messages_only = [], [], []
        for number in range(size.rounds):
            ours.append(await _ingested(place, size.records))
            bare.append(await _inserted(place, place.messages(size.bare_records), whole=True))
            messages_only.append(await _inserted(place, place.messages(size.bare_records), whole=False))
            say(f"  round {number + 1}: worker {ours[-1]:.0f}, bare {bare[-1]:.0f} records/s")
    drafts = await _drafted(size.runs)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    rate = statistics.median(ours)
    sides: dict[str, float | str] = {
        "worker records/s": rate,
        "bare records/s": statistics.median(bare),
        "bare, the message rows alone, records/s": statistics.median(messages_only),
    }
    note = f"median of {size.rounds} rounds of {size.records} records that waited on the topic when the worker started."
    return [
        Figure(ROW, "ingest against bare asyncpg", AGAINST_BARE, ratio, "x", BARE_AIM, False, sides, note),
        Figure(ROW, "ingest against drafting", AGAINST_DRAFTS, rate / drafts, "x", DRAFTS_AIM, False,
               {"worker records/s": rate, "standard runs/s": drafts}),
    ]  # fmt: skip


async def _ingested(place: Arena, count: int) -> float:
    """Records a second, by the transactions' own time stamps; the first batch only starts the clock."""
    messages = place.messages(count)
    await place.produce(messages)
    worker = await place.worker()
    ids = [message.id for message in messages]

    async def stored() -> bool:
        found: int = await place.pool.fetchval("SELECT count(*) FROM message WHERE message_id = ANY ($1)", ids)
        return found == count

    await until(stored, _S_MAX, f"ingest has not stored {count} records", poll_s=0.5)
    rate: float = float(await place.pool.fetchval(_RATE, ids))
    await worker.stop()
    waiting = await place.pool.fetchval("SELECT count(*) FROM outbox WHERE message_id = ANY ($1)", ids)
    if waiting != count:
        raise BenchError(f"{waiting} of {count} records have a waiting request")
    return rate


async def _inserted(place: Arena, messages: list[Message], *, whole: bool) -> float:
    """Records a second of one bare connection; the values are made beforehand."""
    values = [_rows(message) for message in messages]
    connection = await asyncpg.connect(place.config.database_url)
    try:
        if not whole:
            await connection.executemany(_LEAD, [lead for lead, _, _ in values])
        started = time.monotonic()
        for lead, message, request in values:
            if not whole:
                await connection.execute(_MESSAGE, *message)
                continue
            async with connection.transaction():
                await connection.execute(_LEAD, *lead)
                await connection.execute(_MESSAGE, *message)
                await connection.execute(_REQUEST, *request)
        return len(values) / (time.monotonic() - started)
    finally:
        await connection.close()


def _rows(message: Message) -> tuple[tuple[object, ...], tuple[object, ...], tuple[object, ...]]:
    """What ingest writes for a message: its lead, itself, its waiting request."""
    read = read_event(InboundMessage, message.value())
    if isinstance(read, Unreadable):
        raise BenchError("the bench's own record cannot be read")
    place = (read.workspace_id, read.lead_id, read.channel.value, read.thread_id or "")
    request, conversation = Request(place, read.message_id).event(), conversation_key(place)
    headers = json.dumps(headers_of(request, request.event_id, None))
    return (
        (read.workspace_id, read.lead_id),
        (uuid.uuid4(), read.workspace_id, read.lead_id, read.thread_id, read.message_id, read.body),
        (request.event_id, request.key, request.value(), headers, read.workspace_id, conversation, read.message_id),
    )


async def _drafted(runs: int) -> float:
    """Standard runs a second of one worker."""
    async with arena() as place:
        await place.worker()
        warm_up = runs // 2
        await place.produce(place.messages(warm_up))
        await place.sent(warm_up, _S_MAX)
        started = await place.produce(place.messages(runs))
        rate = runs / (await place.sent(warm_up + runs, _S_MAX) - started)
        await place.check_standard(warm_up + runs)
        return rate
