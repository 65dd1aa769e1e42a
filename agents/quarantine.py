"""After a restore: nobody knows what was sent since, so people decide on whatever was not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from agents.undoing import ask_instead
from db import sql
from db.pool import Pool, transaction
from schemas.codes import DecidedBy

QUARANTINED: Final = "quarantined"
_PAGE_ROWS: Final = 200


@dataclass(frozen=True)
class Quarantined:
    """`until`: messages received before it are answered by people only. Counts of what was done now."""

    until: datetime
    reviews: int
    events: int


async def quarantine(pool: Pool, *, actor: str, reason: str) -> Quarantined:
    """Put every scheduled send to review, and let unfinished work be published again. No worker may run.

    A claimed send is left to the workers: they look it up, or tell a person. Called again it finds nothing to stop.
    """
    async with transaction(pool) as connection:
        until = await sql.quarantine.add_quarantine.value(connection, actor=actor, reason=reason)
        await sql.admin.add_audit.value(
            connection,
            actor=actor,
            via="cli",
            action="restore-quarantine",
            workspace_id=None,
            subject="restore-quarantine",
            before=None,
            after=until.isoformat(),
            reason=reason,
        )
    reviews, after = 0, None
    while page := await sql.quarantine.scheduled_drafts.rows(pool, after=after, limit=_PAGE_ROWS):
        for row in page:
            reviews += await _to_review(pool, row)
        after = page[-1]["draft_id"]
    return Quarantined(until, reviews, await sql.quarantine.publish_open_work_again.run(pool))


async def _to_review(pool: Pool, row: asyncpg.Record) -> bool:
    """Its event stays in the outbox until a worker publishes it."""
    draft_id: UUID = row["draft_id"]
    async with transaction(pool) as connection:
        await sql.delivery.lock_lead.run(connection, workspace_id=row["workspace_id"], lead_id=row["lead_id"])
        draft = await sql.draft.lock_draft.one(connection, draft_id=draft_id)
        return await ask_instead(connection, draft, QUARANTINED, DecidedBy.POLICY) is not None
