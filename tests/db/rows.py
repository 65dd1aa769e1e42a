"""A workspace with one lead, one message, one running run and its draft, for tests of what the tables refuse."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import asyncpg

WORKSPACE = "ws-schema"
LEAD = "lead-1"
MESSAGE = "message-1"


@dataclass(frozen=True)
class Seeded:
    """The ids of what `seed` wrote."""

    run: uuid.UUID
    draft: uuid.UUID


async def seed(connection: asyncpg.Connection) -> Seeded:
    """One of each, as the pipeline would leave them while a run is RUNNING."""
    seeded = Seeded(uuid.uuid4(), uuid.uuid4())
    await connection.execute("INSERT INTO workspace (id) VALUES ($1)", WORKSPACE)
    await connection.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", WORKSPACE)
    await connection.execute("INSERT INTO lead (workspace_id, lead_id) VALUES ($1, $2)", WORKSPACE, LEAD)
    await connection.execute(
        "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,"
        " received_at) VALUES ($1, $2, $3, 'chat', $4, 'inbound', 'AI_AUTO_SEND', 'hello', 'run', now())",
        uuid.uuid4(), WORKSPACE, LEAD, MESSAGE,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel,"
        " policy_revision, lease_owner, lease_until) VALUES ($1, $2, $3, $4, $5, 'chat', 1, 'w', now())",
        seeded.run, WORKSPACE, LEAD, MESSAGE, seeded.draft,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode,"
        " channel) VALUES ($1, $2, $3, $4, $5, 1, 'AI_AUTO_SEND', 'chat')",
        seeded.draft, seeded.run, WORKSPACE, LEAD, MESSAGE,
    )  # fmt: skip
    return seeded
