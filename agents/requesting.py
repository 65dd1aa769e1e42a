"""The request for a draft: one waits per conversation, in the outbox, until it is due and its workspace has room."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.rim import headers_of
from db import sql
from db.pool import Executor
from schemas.events import DraftRequested
from schemas.ids import draft_id, event_id

Conversation = tuple[str, str, str, str]  # workspace, lead, channel, thread


@dataclass(frozen=True)
class Request:
    """A message that wants a draft. `attempt` above 1 retries the run `retry_of`; it waits `quiet_s` seconds first."""

    conversation: Conversation
    message_id: str
    traceparent: str | None = None
    attempt: int = 1
    retry_of: uuid.UUID | None = None
    quiet_s: float = 0.0

    def event(self) -> DraftRequested:
        """The event that this request is."""
        workspace, lead, channel, _ = self.conversation
        cause = (workspace, self.message_id, channel)
        return DraftRequested.model_validate(
            {
                "event_id": event_id("draft-requested", *cause, self.attempt),
                "occurred_at": datetime.now(UTC),
                "workspace_id": workspace,
                "lead_id": lead,
                "channel": channel,
                "trigger_message_id": self.message_id,
                "draft_id": draft_id(*cause),
                "attempt": self.attempt,
                "retry_of": self.retry_of,
            }
        )


def conversation_key(conversation: Conversation) -> str:
    """One short text for lead, channel and thread, unambiguous whatever they hold: it stands in an index."""
    return hashlib.sha256(json.dumps(conversation[1:]).encode()).hexdigest()


async def write_requests(executor: Executor, requests: Sequence[Request]) -> None:
    """Let `requests` wait; each takes the place of an older one of its conversation that nobody has taken yet."""
    if not requests:
        return
    events = [request.event() for request in requests]
    await sql.ingest.replace_waiting_requests.run(
        executor,
        event_ids=[event.event_id for event in events],
        keys=[event.key for event in events],
        values=[event.value() for event in events],
        headers=[
            headers_of(event, event.event_id, request.traceparent)
            for event, request in zip(events, requests, strict=True)
        ],
        workspace_ids=[event.workspace_id for event in events],
        conversations=[conversation_key(request.conversation) for request in requests],
        message_ids=[event.trigger_message_id for event in events],
        quiet_windows_s=[request.quiet_s for request in requests],
    )
