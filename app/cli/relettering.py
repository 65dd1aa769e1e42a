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
UNSENT: Final = "dead-letter-retry-unsent"


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

    Nothing is sent without a trace: the audit is written first, and after it what the broker did not take. A letter may
    be sent twice when this is interrupted; unique keys absorb that.
    """
    known = [letter for letter in letters if letter.topic in TOPICS]
    who = {"actor": actor, "via": via, "reason": reason}
    asked = await _remember(connection, ACTION, known, who)
    sent: list[Letter] = []
    try:
        results = await _produce(config, known)
        sent = [letter for letter, result in zip(known, results, strict=True) if not isinstance(result, BaseException)]
    finally:
        unsent = [letter for letter in known if letter not in sent]
        await _remember(connection, UNSENT, unsent, who, before=asked)
    refused = [result for result in results if isinstance(result, BaseException) and not isinstance(result, KafkaError)]
    if refused:
        raise refused[0]
    return sent


async def _produce(config: Config, letters: Sequence[Letter]) -> list[object]:
    """What the broker says to each: an exception where it did not take it. Raises KafkaError when it is away."""
    producer = new_producer(config)
    await producer.start()
    try:
        futures = [
            await producer.send(letter.topic, letter.value, key=letter.key, headers=_headers(letter))
            for letter in letters
        ]
        return list(await asyncio.gather(*futures, return_exceptions=True))
    finally:
        await producer.stop()


def _headers(letter: Letter) -> list[tuple[str, bytes]]:
    return [(name, letter.headers[name].encode()) for name in _KEPT_HEADERS if name in letter.headers]


async def _remember(
    connection: asyncpg.Connection,
    action: str,
    letters: Sequence[Letter],
    who: dict[str, str],
    before: dict[str, int] | None = None,
) -> dict[str, int]:
    """Audit ids by the letters' places. `before`: the ids of the rows that these say something about."""
    async with connection.transaction():
        return {
            letter.place: await sql.admin.add_audit.value(
                connection,
                action=action,
                workspace_id=None,
                subject=letter.place,
                before=before[letter.place] if before is not None else None,
                after=letter.reason,
                **who,
            )
            for letter in letters
        }
