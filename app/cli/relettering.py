"""Dead letters sent once more, and remembered in the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from app.cli.letters import Letter
from app.config import Config
from app.kafka.producer import new_producer
from db import sql
from schemas.topics import TOPICS

if TYPE_CHECKING:
    import asyncpg

_KEPT_HEADERS: Final = ("traceparent",)
ACTION: Final = "dead-letter-retry"


async def resend(
    config: Config,
    connection: asyncpg.Connection,
    letters: Sequence[Letter],
    actor: str,
    *,
    via: str = "cli",
    reason: str = "dead-letters retry",
) -> list[Letter]:
    """Produce original bytes and key to the source topics; returns the letters that the broker took.

    A letter may be sent twice when this is interrupted; unique keys absorb that.
    """
    known = [letter for letter in letters if letter.topic in TOPICS]
    producer = new_producer(config)
    await producer.start()
    try:
        futures = [
            await producer.send(letter.topic, letter.value, key=letter.key, headers=_headers(letter))
            for letter in known
        ]
        results = await asyncio.gather(*futures, return_exceptions=True)
    finally:
        await producer.stop()
    sent = [letter for letter, result in zip(known, results, strict=True) if not isinstance(result, BaseException)]
    await _remember(connection, sent, {"actor": actor, "via": via, "reason": reason})
    refused = [result for result in results if isinstance(result, BaseException) and not isinstance(result, KafkaError)]
    if refused:
        raise refused[0]
    return sent


def _headers(letter: Letter) -> list[tuple[str, bytes]]:
    return [(name, letter.headers[name].encode()) for name in _KEPT_HEADERS if name in letter.headers]


async def _remember(connection: asyncpg.Connection, letters: Sequence[Letter], who: dict[str, str]) -> None:
    async with connection.transaction():
        for letter in letters:
            await sql.admin.add_audit.value(
                connection,
                action=ACTION,
                workspace_id=None,
                subject=letter.place,
                before=None,
                after=letter.reason,
                **who,
            )
