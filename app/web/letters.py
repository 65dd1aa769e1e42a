"""Dead letters as pages show them: masked, bounded, and only those that somebody may see.

Content is described by `described`: its shape, and what looks like an id. A letter whose content names no workspace is
for those who see all workspaces.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka.errors import KafkaError
from fastapi import HTTPException

from app.cli.letters import Letter, described, read_letters
from app.cli.relettering import ACTION, UNSENT, resend
from app.cli.shell import Problem
from app.config import Config
from app.web.identity import Identity
from db import sql
from db.pool import Pool
from schemas.codes import DeadLetterReason
from schemas.limits import LETTERS_READ_MAX, LETTERS_READ_S_MAX, LETTERS_RETRIED_MAX

_CONTRACT: Final = "The producer breaks the contract: the error names the field. Have it mended there and sent anew."
REMEDY: Final[dict[str, str]] = {
    **dict.fromkeys(DeadLetterReason, _CONTRACT),
    DeadLetterReason.UNKNOWN_WORKSPACE: "Provision the workspace (draft-pipeline workspace apply), then retry.",
    DeadLetterReason.REFUSED_BY_DATABASE: "A defect, or a schema changed by hand: run doctor, mend it, then retry.",
    DeadLetterReason.UNEXPECTED_ERROR: "A defect: the log line event_failed has the place. Mend it, then retry.",
}
# A repeat of these gives the same letter again, unless somebody mended what reads them.
MENDED_HERE: Final = frozenset(
    {DeadLetterReason.UNKNOWN_WORKSPACE, DeadLetterReason.REFUSED_BY_DATABASE, DeadLetterReason.UNEXPECTED_ERROR}
)
_HEADERS_SHOWN: Final = ("dlq_", "ce_", "traceparent", "content-type")
# Memory is what a letter's bytes cost: one page at a time reads them.
_reading = asyncio.Semaphore(2)


@dataclass(frozen=True)
class Shown:
    """A letter without its content. `source` is where the original stands, as PARTITION:OFFSET."""

    place: str
    at: datetime
    reason: str
    topic: str
    source: str
    error: str
    bytes: int
    workspace_id: str | None
    original_kept: bool
    attempts: str


@dataclass(frozen=True)
class Found:
    """Letters, the newest first; `complete`: there are no older ones."""

    letters: list[Shown]
    complete: bool


def shown(letter: Letter) -> Shown:
    return Shown(
        place=letter.place,
        at=datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC),
        reason=letter.reason,
        topic=letter.topic,
        source=f"{letter.headers.get('dlq_partition', '?')}:{letter.headers.get('dlq_offset', '?')}",
        error=letter.headers.get("dlq_error", ""),
        bytes=len(letter.value or b""),
        workspace_id=letter.workspace_id,
        original_kept=letter.original_kept,
        attempts=letter.headers.get("dlq_attempts", ""),
    )


def may_see(who: Identity, letter: Letter) -> bool:
    return who.workspace_id is None or letter.workspace_id == who.workspace_id


async def find(config: Config, who: Identity) -> Found:
    """The newest letters of each partition that they may see. Raises 503 when the broker is away."""
    found, read = [], dict[int, int]()
    complete = True
    try:
        async with _reading, asyncio.timeout(LETTERS_READ_S_MAX):
            async for letter in read_letters(config, newest=LETTERS_READ_MAX):
                read[letter.partition] = read.get(letter.partition, 0) + 1
                if may_see(who, letter):
                    found.append(shown(letter))
    except TimeoutError:
        complete = False
    except (KafkaError, Problem) as error:
        raise _away(error) from None
    complete = complete and all(count < LETTERS_READ_MAX for count in read.values())
    return Found(sorted(found, key=lambda each: (each.at, each.place), reverse=True), complete)


def _away(error: Exception) -> HTTPException:
    said = str(error) if isinstance(error, Problem) else "the broker does not answer"
    return HTTPException(503, said)


def place_of(text: str) -> tuple[int, int]:
    """Partition and offset. Raises 404 for what is no place: nothing is there."""
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise HTTPException(404)
    if len(partition) > 9 or len(offset) > 18:
        raise HTTPException(404)
    return int(partition), int(offset)


async def at_places(config: Config, who: Identity, places: Iterable[tuple[int, int]]) -> list[Letter]:
    """The letters at these places that they may see. Raises 503 when the broker is away."""
    wanted = set(places)
    found: list[Letter] = []
    try:
        async with _reading, asyncio.timeout(LETTERS_READ_S_MAX):
            for partition in sorted({each[0] for each in wanted}):
                offsets = sorted(offset for of, offset in wanted if of == partition)
                async for letter in read_letters(config, {partition: offsets[0]}):
                    if (letter.partition, letter.offset) in wanted and may_see(who, letter):
                        found.append(letter)
                    if letter.offset >= offsets[-1]:
                        break
    except (KafkaError, Problem, TimeoutError) as error:
        raise _away(error) from None
    return found


def inside(letter: Letter) -> dict[str, Any]:
    """What may be shown of a letter: its headers of ours, and its content masked."""
    content = described(letter.value)
    headers = {name: value for name, value in letter.headers.items() if name.startswith(_HEADERS_SHOWN)}
    return {
        **{name: value for name, value in vars(shown(letter)).items() if name != "workspace_id"},
        "workspace_id": letter.workspace_id,
        "headers": headers,
        "content": content if isinstance(content, dict) else {"value": content},
    }


async def retried(pool: Pool) -> set[str]:
    """Places of letters that were sent once more, from the command line or here."""
    return {row["subject"] for row in await sql.ops.subjects_of_action.rows(pool, action=ACTION, undone=UNSENT)}


def to_send(letters: Sequence[Shown], done_before: set[str], *, again: bool) -> tuple[list[Shown], dict[str, int]]:
    """Which of these a retry would send, and how many it would not, by why."""
    kept = [each for each in letters if each.original_kept]
    fresh = [each for each in kept if again or each.place not in done_before]
    chosen = fresh[:LETTERS_RETRIED_MAX]
    skipped = {
        "retried before": len(kept) - len(fresh),
        "only a hash is kept; the original stands at its source": len(letters) - len(kept),
        f"more than {LETTERS_RETRIED_MAX} at once": len(fresh) - len(chosen),
    }
    return chosen, {why: count for why, count in skipped.items() if count}


async def send(
    config: Config, pool: Pool, who: Identity, places: Sequence[tuple[int, int]], *, reason: str, again: bool
) -> list[Letter]:
    """Send these letters once more, audited; returns those that the broker took."""
    letters = await at_places(config, who, places)
    done_before = set() if again else await retried(pool)
    chosen = [each for each in letters if each.original_kept and each.place not in done_before]
    try:
        async with pool.acquire() as connection:
            return await resend(config, connection, chosen, who.subject, via="web", reason=reason)
    except KafkaError as error:
        raise _away(error) from None
