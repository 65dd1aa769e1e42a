"""A worker without a broker: the real agents on a real Postgres and the scripted model, one event after the other.

What Kafka would carry is read from the outbox, so a fault can be injected at one call and its end seen at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg

from agents import dispatch, draft, review, revise
from agents.approval import blocks_of, with_edit
from agents.delivering import deliver
from agents.fates import Done, Dropped
from agents.reading import Unreadable, read_event
from agents.requesting import Request
from agents.rim import OutboxRow, Rim
from app.config import Config
from app.delivery import adapters
from app.leases import LeaseKeeper
from app.model.client import ModelClient
from app.review.showing import shown
from app.stack.local import LocalStack
from db import sql
from db.pool import Pool
from schemas.events import DraftEvaluated, DraftRequested, ReviewCommand, RevisionResult
from schemas.ids import event_id
from schemas.limits import DELIVERY_LEASE_S

AGENTS: dict[str, tuple[Any, Any]] = {
    "draft-requested": (DraftRequested, draft.handle),
    "draft-evaluated": (DraftEvaluated, revise.handle),
    "revision-result": (RevisionResult, dispatch.handle),
    "review-command": (ReviewCommand, review.handle),
}


class _Passed:
    """Nobody produces here: ingest has everything."""

    async def passed(self, timeout_s: float) -> bool:
        return True


class Desk:
    """One workspace's messages, taken from the first event to the send."""

    def __init__(self, stack: LocalStack, pool: Pool, workspace: str) -> None:
        values: dict[str, Any] = {name.lower(): value for name, value in stack.env.items()}
        config = Config(_env_file=None, **values)
        self.pool, self.workspace, self.model = pool, workspace, ModelClient(config)
        self.rows: list[OutboxRow] = []
        self.keeper = LeaseKeeper(pool, pool)
        self.rim = Rim(
            pool=pool,
            model=self.model,
            leases=self.keeper,
            publisher=self,
            fence=_Passed(),
            adapter=adapters(config),
            process_id="desk",
            switched_off=frozenset(),
            crash_point=lambda name: None,
            deliver_soon=lambda: None,
            run_ended=lambda: None,
            wait=asyncio.sleep,
        )

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        self.rows += rows

    async def receive(self, lead: str, body: str, *, thread: str = "", **lead_fields: str) -> uuid.UUID:
        """Store a message as ingest would and write its request; the id of the draft that will answer it."""
        message = f"m-{uuid.uuid4()}"
        names = ", ".join(["workspace_id", "lead_id", *lead_fields])
        values = [self.workspace, lead, *lead_fields.values()]
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await self.pool.execute(f"INSERT INTO lead ({names}) VALUES ({places}) ON CONFLICT DO NOTHING", *values)
        await self.pool.execute(
            "INSERT INTO message (id, workspace_id, lead_id, channel, thread_id, message_id, direction, mode, body,"
            " disposition, received_at) SELECT gen_random_uuid(), id, $2, 'chat', $3, $4, 'inbound', default_mode, $5,"
            " 'waiting', now() FROM workspace WHERE id = $1",
            self.workspace, lead, thread, message, body,
        )  # fmt: skip
        event = Request((self.workspace, lead, "chat", thread), message).event()
        self.publish([OutboxRow(0, event.topic, event.key, event.value(), {})])
        return event.draft_id

    async def work(self, *until: str) -> None:
        """Handle events until none is left, or one of these topics is next."""
        while self.rows and self.rows[0].topic not in until:
            await self._handle(self.rows.pop(0))

    async def work_together(self) -> None:
        """Handle all events that are there at the same time, then those that they brought about, and so on."""
        while self.rows:
            rows, self.rows = self.rows, []
            await asyncio.gather(*(self._handle(row) for row in rows))

    async def _handle(self, row: OutboxRow) -> None:
        if row.topic not in AGENTS:
            return
        kind, handle = AGENTS[row.topic]
        event = read_event(kind, row.value)
        assert not isinstance(event, Unreadable), event
        fate = await handle(event, self.rim)
        assert isinstance(fate, Done | Dropped), fate

    async def send(self) -> None:
        """Make every delivery that is due."""
        due = await sql.delivery.take_due_deliveries.rows(
            self.pool, owner="desk", lease_s=DELIVERY_LEASE_S, limit=100, workspace_limit=100
        )
        for delivery in due:
            await deliver(self.rim, delivery)

    async def answer(self, lead: str, body: str, **fields: str) -> uuid.UUID:
        """From the message to the send."""
        made = await self.receive(lead, body, **fields)
        await self.work()
        await self.send()
        return made

    async def decide(self, draft_id: uuid.UUID, action: str, text: str | None = None) -> str:
        """What a reviewer does with a draft as it stands; the result's code."""
        row, seen = await self.draft(draft_id), await shown(self.pool, draft_id)
        assert seen is not None
        binding = seen.binding
        if text is not None:
            binding = with_edit(binding, text, await blocks_of(self.pool, draft_id, text) or ())
        action_id = uuid.uuid4()
        await sql.review.add_review_action.value(
            self.pool, action_id=action_id, draft_id=draft_id, workspace_id=self.workspace, actor="nora", via="web",
            action=action, content_sha256=row["content_sha256"], edited_text=text, reject_reason=None,
            binding=binding.columns(),
        )  # fmt: skip
        command = ReviewCommand(
            event_id=event_id("review-command", action_id), occurred_at=datetime.now(UTC), workspace_id=self.workspace,
            lead_id=row["lead_id"], draft_id=draft_id, review_action_id=action_id,
        )  # fmt: skip
        self.publish([OutboxRow(0, command.topic, command.key, command.value(), {})])
        await self.work()
        await self.send()
        result: str = await self.pool.fetchval("SELECT result FROM review_action WHERE id = $1", action_id)
        return result

    async def draft(self, draft_id: uuid.UUID) -> asyncpg.Record:
        row: asyncpg.Record | None = await self.pool.fetchrow("SELECT * FROM ai_draft WHERE id = $1", draft_id)
        assert row is not None
        return row


@asynccontextmanager
async def desk(stack: LocalStack, pool: Pool, workspace: str) -> AsyncIterator[Desk]:
    """A desk whose leases are renewed; the workspace's chat goes nowhere."""
    await pool.execute(
        "UPDATE workspace_settings SET channels = $2 WHERE workspace_id = $1",
        workspace,
        {"chat": {"adapter": "discard"}},
    )
    opened = Desk(stack, pool, workspace)
    renewing = asyncio.create_task(opened.keeper.run())
    try:
        yield opened
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await opened.model.close()
        stack.model.behave(None)
