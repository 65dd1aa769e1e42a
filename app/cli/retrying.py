"""A FAILED run again: the request for its next attempt goes into the outbox, and the worker does the rest."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from agents.requesting import Request, write_requests
from app.cli.shell import Problem
from db import sql
from schemas.codes import DraftStatus, RunStatus
from schemas.ids import run_id as id_of_run

if TYPE_CHECKING:
    import asyncpg


async def retry_run(
    connection: asyncpg.Connection, run_id: uuid.UUID, *, actor: str, reason: str
) -> tuple[int, uuid.UUID]:
    """Request the next attempt, in the caller's transaction; returns its number and the id its run will have."""
    found = await sql.ops.run_by_id.row(connection, run_id=run_id)
    if found is None:
        raise Problem(f"run {run_id} is unknown; `draft-pipeline runs list` shows the newest")
    await sql.delivery.lock_lead.run(connection, workspace_id=found["workspace_id"], lead_id=found["lead_id"])
    run = await sql.ops.lock_run.one(connection, run_id=run_id)
    if obstacle := await _obstacle(connection, run):
        raise Problem(f"run {run_id} cannot be tried again: {obstacle}")
    attempt = run["attempt"] + 1
    conversation = (run["workspace_id"], run["lead_id"], run["channel"], run["thread_id"])
    request = Request(conversation, run["trigger_message_id"], run["message_traceparent"], attempt, run["id"])
    await write_requests(connection, [request])
    await sql.admin.add_audit.value(
        connection,
        actor=actor,
        via="cli",
        action="retry",
        workspace_id=run["workspace_id"],
        subject=f"run:{run_id}",
        before=run["attempt"],
        after=attempt,
        reason=reason,
    )
    return attempt, id_of_run(run["workspace_id"], run["trigger_message_id"], run["channel"], attempt)


async def _obstacle(connection: asyncpg.Connection, run: asyncpg.Record) -> str | None:
    """What stands against another attempt, if anything."""
    facts = await sql.run.request_facts.row(
        connection, workspace_id=run["workspace_id"], message_id=run["trigger_message_id"], attempt=run["attempt"]
    )
    against = (
        (run["status"] != RunStatus.FAILED, f"it is {run['status']}, only a FAILED one can"),
        (run["revision_outcome"] is not None, "its revision-result was published, so its decision is made"),
        (run["attempt_newest"] > run["attempt"], f"attempt {run['attempt_newest']} exists; retry that one"),
        (facts is None, "its message is gone"),
        (facts is not None and facts["newer_inbound"], "a newer message of the conversation has taken its place"),
        (
            run["draft_status"] not in (None, DraftStatus.PENDING),
            f"a person or a newer message has settled its draft: {run['draft_status']}",
        ),
    )
    return next((words for stands, words in against if stands), None)
