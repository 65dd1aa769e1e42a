"""A claim with a COMMIT that may be unknown: asyncpg raises the same error whether it landed or not.

So after such an error the truth is read back by the token that was written. "The claim write failed" means: the claim
is not ours after reading back, or it cannot be read.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from agents.persist import TRANSIENT, backoff_s
from agents.rim import Rim
from db import sql
from db.pool import Connection, transaction

READ_BACKS_MAX: Final = 5


@dataclass(frozen=True)
class Ours:
    """The claim is ours since `age_s` seconds (more than 0 when it was taken over)."""

    token: uuid.UUID
    age_s: float


@dataclass(frozen=True)
class HeldElsewhere:
    lease_s: float


@dataclass(frozen=True)
class Settled:
    outcome: str


@dataclass(frozen=True)
class NotAllowed:
    """The gates inside the statement said no."""


@dataclass(frozen=True)
class WriteFailed:
    """Not ours after reading back, or not readable. Fail closed: a person decides."""

    error: str


Claim = Ours | HeldElsewhere | Settled | NotAllowed | WriteFailed


async def claim(
    rim: Rim, draft_id: uuid.UUID, purpose: str, write: Callable[[Connection, uuid.UUID], Awaitable[float | None]]
) -> Claim:
    """Try to take a claim once. `write` returns the claim's age in seconds when it is ours, None when it is not.

    The kill switch lock is shared with a flip: no claim commits after a flip did.
    """
    token = uuid.uuid4()
    try:
        async with transaction(rim.pool) as connection:
            await sql.draft.share_kill_switch_lock.run(connection)
            age_s = await write(connection, token)
            rim.crash_point(f"claim.{purpose}.before_commit")
        rim.crash_point(f"claim.{purpose}.committed")
    except TRANSIENT as error:
        return await _read_back(rim, draft_id, purpose, token, type(error).__name__)
    except asyncpg.PostgresError as error:
        return WriteFailed(error.sqlstate or type(error).__name__)
    if age_s is not None:
        return Ours(token, age_s)
    return await _standing(rim, draft_id, purpose)


async def _standing(rim: Rim, draft_id: uuid.UUID, purpose: str) -> Claim:
    row = await sql.draft.claim_standing.row(rim.pool, draft_id=draft_id, purpose=purpose)
    if row is None:
        return NotAllowed()
    if row["settled"]:
        return Settled(row["outcome"])
    return HeldElsewhere(row["lease_s"]) if row["lease_s"] > 0 else NotAllowed()


async def _after_the_doubt(rim: Rim, draft_id: uuid.UUID, purpose: str) -> asyncpg.Record | None:
    """The claim as it is once the transaction in doubt has ended: its row locks are waited for first, since a COMMIT
    may still be on its way."""
    async with transaction(rim.pool) as connection:
        await sql.draft.lock_draft.row(connection, draft_id=draft_id)
        await sql.delivery.lock_deliveries_of_draft.run(connection, draft_id=draft_id)
        return await sql.draft.claim_standing.row(connection, draft_id=draft_id, purpose=purpose)


async def _read_back(rim: Rim, draft_id: uuid.UUID, purpose: str, token: uuid.UUID, error: str) -> Claim:
    for failures in range(1, READ_BACKS_MAX + 1):
        try:
            row = await _after_the_doubt(rim, draft_id, purpose)
        except (*TRANSIENT, asyncpg.PostgresError):
            await rim.wait(backoff_s(failures))
            continue
        if row is not None and row["token"] == token:
            return Ours(token, row["age_s"])
        return WriteFailed(error)
    return WriteFailed("unreadable")
