"""Two workspaces with one of everything. Whatever belongs to the second bears a mark that nobody of the first may see."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from app.config import Config
from app.kafka.producer import new_producer
from app.kafka.topics import create_topics
from db import sql
from schemas.codes import FEATURE_ID, Stage
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE

OWN, OTHER = "ws-own", "ws-other"
# Stands in every text and every id that a producer chose, of the other workspace.
MARK = "other-mark"
MARKS = (OTHER, MARK)


@dataclass(frozen=True)
class Seeded:
    """What was written for one workspace; the names are those of path parameters."""

    workspace_id: str
    run_id: uuid.UUID
    draft_id: uuid.UUID
    letter: str = ""

    def parameter(self, name: str) -> str:
        """The value for a path parameter of this name. A new name needs a line here."""
        known = {"workspace_id": self.workspace_id, "run_id": str(self.run_id), "draft_id": str(self.draft_id)}
        known |= {"name": "AUTO_SEND_DISABLED", "audit_id": "1"}
        known |= {"place": self.letter}
        assert name in known, f"tests/web/seeding.py does not know what {{{name}}} stands for"
        return known[name]


async def seed_both(connection: asyncpg.Connection) -> dict[str, Seeded]:
    """Both workspaces, by id."""
    return {OWN: await seed(connection, OWN, "own-mark"), OTHER: await seed(connection, OTHER, MARK)}


async def seed(connection: asyncpg.Connection, workspace: str, mark: str) -> Seeded:
    """A workspace with a message, a run that ended, a draft that waits for a person, calls, telemetry."""
    seeded = Seeded(workspace, uuid.uuid4(), uuid.uuid4())
    lead, message, now = f"lead-{mark}", f"message-{mark}", datetime.now(UTC)
    await sql.admin.create_workspace_if_absent.run(connection, workspace_id=workspace)
    await sql.admin.change_workspace.run(
        connection, workspace_id=workspace, name=f"Name {mark}", default_mode="AI_AUTO_SEND"
    )
    await sql.admin.put_campaign.run(
        connection,
        workspace_id=workspace,
        campaign_id=f"campaign-{mark}",
        name=mark,
        mode="DRAFT_ONLY",
        instructions=None,
    )
    await insert(
        connection, "lead", workspace_id=workspace, lead_id=lead, name=f"Lead {mark}", email=f"{mark}@example.com"
    )
    await insert(
        connection, "message", id=uuid.uuid4(), workspace_id=workspace, lead_id=lead, channel="email", message_id=message,
        direction="inbound", mode="AI_AUTO_SEND", body=f"body {mark}", disposition="run", received_at=now,
    )  # fmt: skip
    await insert(
        connection, "draft_pipeline_run", id=seeded.run_id, workspace_id=workspace, lead_id=lead, trigger_message_id=message,
        draft_id=seeded.draft_id, channel="email", status="COMPLETED", phase="done", reason="below_threshold",
        policy_revision=1, lease_owner="worker-1", lease_until=now, created_at=now - timedelta(minutes=5), finished_at=now,
    )  # fmt: skip
    await insert(
        connection, "ai_draft", id=seeded.draft_id, run_id=seeded.run_id, workspace_id=workspace, lead_id=lead,
        trigger_message_id=message, trigger_ingest_seq=1, mode="AI_AUTO_SEND", channel="email", recipient=f"{mark}@example.com",
        content=f"draft {mark}", content_sha256="0" * 64, policy_revision=1, auto_send_evaluated_at=now,
        auto_send_confidence=0.84, auto_send_threshold=0.9, auto_send_reason="below_threshold",
        auto_send_action="needs_review", auto_send_original_confidence=0.7, auto_send_revision_confidence=0.84,
        auto_send_revision_applied=True, auto_send_revision_attempted_at=now, auto_send_revision_iterations=2,
        revision_outcome="applied",
    )  # fmt: skip
    await insert(
        connection, "review_request", id=uuid.uuid4(), draft_id=seeded.draft_id, workspace_id=workspace,
        reason="below_threshold", content_sha256="0" * 64, expires_at=now + timedelta(days=7),
    )  # fmt: skip
    for number, stage in enumerate(Stage):
        status = "unusable" if stage is Stage.REVISER else "answered"
        call = {"model": "gpt-5.2", "input_tokens": 900, "output_tokens": 120, "latency_ms": 400 + 50 * number}
        await insert(
            connection, "model_call", id=uuid.uuid4(), run_id=seeded.run_id, draft_id=seeded.draft_id, workspace_id=workspace,
            stage=stage.value, iteration=int(stage in (Stage.SELECTOR, Stage.REVISER)), attempt=1, effort="low",
            input_sha256="1" * 64, status=status, cost_usd=0.002, finished_at=now, **call,
        )  # fmt: skip
        await insert(
            connection, "ai_interaction", id=uuid.uuid4(), workspace_id=workspace, run_id=seeded.run_id,
            feature_id=FEATURE_ID[stage], source="pipeline", status=status, cost_usd=0.002, metadata={"attempt": 1}, **call,
        )  # fmt: skip
    return seeded


async def seed_letters(config: Config, seeded: dict[str, Seeded]) -> dict[str, Seeded]:
    """A dead letter for each workspace, with a text that nobody may see; with the places in `letter`."""
    await create_topics(config, 1)
    marks = {OWN: "own-mark", OTHER: MARK}
    return {
        name: replace(each, letter=await add_letter(config, name, marks[name], reason="invalid_field"))
        for name, each in seeded.items()
    }


async def add_letter(config: Config, workspace: str, mark: str, *, reason: str, body: str = "a private text") -> str:
    """A dead letter as the pipeline writes it; its place."""
    value = {"schema_version": 1, "message_id": f"message-{mark}", "workspace_id": workspace, "body": body}
    headers = {"dlq_reason": reason, "dlq_error": "channel: missing", "dlq_topic": INBOUND_MESSAGE.name}
    headers |= {"dlq_partition": "3", "dlq_offset": "14", "dlq_attempts": "1", "dlq_at": "2026-11-02T08:00:00Z"}
    producer = new_producer(config)
    await producer.start()
    try:
        taken = await producer.send_and_wait(
            DEAD_LETTER.name,
            json.dumps(value).encode(),
            key=f"lead-{mark}".encode(),
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
    finally:
        await producer.stop()
    return f"{taken.partition}:{taken.offset}"


async def insert(connection: asyncpg.Connection, table: str, **columns: Any) -> None:
    """One row."""
    names, places = ", ".join(columns), ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *columns.values())
