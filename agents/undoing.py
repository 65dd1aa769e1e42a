"""A person stops a scheduled send, until it is claimed. The draft then waits for a decision, as any other in review."""

from typing import Final

import asyncpg

from agents.outcomes import add_event, draft_outcome
from agents.rim import OutboxRow
from db import sql
from db.pool import Connection
from schemas.codes import Action, DecidedBy, DraftStatus, OutcomeStatus
from schemas.ids import derive

UNDO: Final = "undo"
UNDONE: Final = "undone"


async def undo(connection: Connection, draft: asyncpg.Record) -> tuple[str, list[OutboxRow]]:
    """Stop the send of a draft whose lead and row the caller has locked. Returns the result and the events.

    The result is `undone`, or a refusal: `refused_draft_STATUS`; `refused_not_scheduled`, also while it is being sent.
    """
    if draft["status"] not in (DraftStatus.SCHEDULED, DraftStatus.PENDING):
        return f"refused_draft_{draft['status']}", []
    rows = await ask_instead(connection, draft, UNDONE, DecidedBy.REVIEWER)
    return ("refused_not_scheduled", []) if rows is None else (UNDONE, rows)


async def ask_instead(
    connection: Connection, draft: asyncpg.Record, reason: str, decided_by: DecidedBy
) -> list[OutboxRow] | None:
    """Cancel what is scheduled of a draft, locked like in `undo`, and ask a person. None when nothing was scheduled."""
    stopped = await sql.delivery.cancel_scheduled_deliveries.rows(connection, draft_ids=[draft["id"]], reason=reason)
    if not stopped:
        return None
    now = await sql.delivery.send_standing.one(connection, draft_id=draft["id"])
    await sql.draft.set_draft_fate.value(
        connection, draft_id=draft["id"], status=DraftStatus.PENDING, action=Action.NEEDS_REVIEW, reason=reason
    )
    await sql.review.open_review_if_absent.run(
        connection,
        review_id=derive("review", draft["id"]),
        draft_id=draft["id"],
        workspace_id=draft["workspace_id"],
        reason=reason,
        content_sha256=draft["content_sha256"],
        review_s=now["review_s_max"],
    )
    event = draft_outcome(
        draft,
        run_id=draft["run_id"] or draft["id"],
        action=Action.NEEDS_REVIEW,
        status=OutcomeStatus.AWAITING_REVIEW,
        reason=reason,
        decided_by=decided_by,
    )
    return await add_event(connection, event, draft["workspace_id"], draft["traceparent"])
