"""Workspaces with a calendar, and drafts of runs that want a time in it, for tests of bookings on a real Postgres."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.rim import Interrupted
from db import sql
from db.pool import Executor, Pool, transaction
from schemas.ids import derive

WORKSPACE = "ws-meet"
_numbers = itertools.count(1)
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)


@dataclass
class Want:
    """One draft of one RUNNING run."""

    lead: str
    draft: uuid.UUID = field(default_factory=uuid.uuid4)
    run: uuid.UUID = field(default_factory=uuid.uuid4)
    epoch: int = 1


async def add_workspace(db: Executor, workspace: str = WORKSPACE, **settings: Any) -> None:
    await db.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", workspace)
    await db.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", workspace)
    for name, value in settings.items():
        await db.execute(f"UPDATE workspace_settings SET {name} = $2 WHERE workspace_id = $1", workspace, value)


async def add_slot(db: Executor, starts_at: datetime = TOMORROW, minutes: int = 30, workspace: str = WORKSPACE) -> int:
    """Its id."""
    number: int = await db.fetchval(
        "INSERT INTO availability_slot (workspace_id, starts_at, ends_at) VALUES ($1, $2, $3) RETURNING id",
        workspace,
        starts_at,
        starts_at + timedelta(minutes=minutes),
    )
    return number


async def add_want(db: Executor, lead: str | None = None, *, thread: str = "") -> Want:
    """A lead who wrote, with the run and the draft that answer."""
    want = Want(lead or f"lead-{next(_numbers)}")
    message = f"m-{want.draft}"
    await db.execute(
        "INSERT INTO lead (workspace_id, lead_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", WORKSPACE, want.lead
    )
    await db.execute(
        "INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, mode, body,"
        " disposition, received_at) VALUES ($1, $2, $3, 'chat', $4, $5, 'inbound', 'AI_AUTO_SEND', 'hello', 'run', now())",
        uuid.uuid4(), WORKSPACE, want.lead, thread, message,
    )  # fmt: skip
    await db.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, thread_id,"
        " policy_revision, lease_owner, lease_until) VALUES ($1, $2, $3, $4, $5, 'chat', $6, 1, 'w', now() + interval '1 h')",
        want.run, WORKSPACE, want.lead, message, want.draft, thread,
    )  # fmt: skip
    await db.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode, channel,"
        " thread_id, content, content_sha256) SELECT $1, $2, $3, $4, $5, ingest_seq, mode, channel, thread_id, 'hi', ''"
        " FROM message WHERE message_id = $5",
        want.draft, want.run, WORKSPACE, want.lead, message,
    )  # fmt: skip
    return want


async def hold(pool: Pool, want: Want, slot_id: int, starts_at: datetime = TOMORROW, minutes: int = 30) -> str:
    """What `agents.holding` does for a run: lock, release what was superseded, hold. The row's status."""
    async with transaction(pool) as connection:
        await sql.booking.lock_bookings.run(connection, workspace_id=WORKSPACE)
        await sql.booking.release_superseded_holds.run(connection, run_id=want.run)
        status: str | None = await sql.booking.hold_slot_if_leased.value(
            connection,
            booking_id=derive("booking", want.draft),
            run_id=want.run,
            epoch=want.epoch,
            slot_id=slot_id,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(minutes=minutes),
        )
    if status is None:
        raise Interrupted("lease_lost")
    return status


async def deliver(db: Executor, want: Want, status: str) -> None:
    """A delivery of the draft, in that status."""
    await db.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,"
        " content_sha256, status, finished_at) SELECT gen_random_uuid(), id, workspace_id, lead_id, trigger_message_id,"
        " channel, true, content, content_sha256, $2, CASE WHEN $2 <> 'claimed' THEN now() END FROM ai_draft WHERE id = $1",
        want.draft,
        status,
    )


async def settle(db: Executor, want: Want, status: str) -> None:
    """The draft comes to that end."""
    await db.execute("UPDATE ai_draft SET status = $2 WHERE id = $1", want.draft, status)


async def booking_of(db: Executor, want: Want) -> tuple[str, str] | None:
    """Status and reason of the draft's booking."""
    row = await db.fetchrow("SELECT status, reason FROM booking WHERE draft_id = $1", want.draft)
    return tuple(row) if row is not None else None


async def followup_of(db: Executor, want: Want) -> tuple[str, str] | None:
    """Outcome and reason that were recorded."""
    row = await db.fetchrow("SELECT outcome, reason FROM followup_task WHERE draft_id = $1", want.draft)
    return tuple(row) if row is not None else None


OVERLAPS = """
SELECT count(*) FROM booking a JOIN booking b ON a.workspace_id = b.workspace_id AND a.id < b.id
WHERE a.status <> 'released' AND b.status <> 'released' AND a.starts_at < b.ends_at AND b.starts_at < a.ends_at
"""
