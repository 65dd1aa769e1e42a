"""A run's snapshot as `agents.starting` takes it, with one of everything; tests change what they are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.codes import Channel, Mode
from schemas.context import DraftRunSnapshot, Knowledge, Profile, Slot, Turn
from schemas.settings import PolicyRules, WorkspaceSettings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def turn(number: int, body: str, author: str = "lead") -> Turn:
    return Turn(message_id=f"m{number}", author=author, body=body, received_at=NOW + timedelta(minutes=number))


def snapshot(**changes: Any) -> DraftRunSnapshot:
    fields: dict[str, Any] = {
        "run_id": UUID(int=1),
        "draft_id": UUID(int=2),
        "workspace_id": "w",
        "workspace_name": "Acme",
        "lead_id": "l",
        "channel": Channel.EMAIL,
        "thread_id": "t",
        "campaign_id": None,
        "mode": Mode.AI_AUTO_SEND,
        "campaign_instructions": "Mention the spring offer.",
        "settings": WorkspaceSettings(instructions="Be brief."),
        "policy": PolicyRules(revision=1),
        "now": NOW,
        "trigger": turn(9, "How much is the small plan? Tuesday at ten would suit me."),
        "trigger_ingest_seq": 9,
        "recipient": "ann@example.com",
        "profile": Profile(name="Ann", timezone="Europe/Berlin"),
        "conversation": [turn(1, "Hello there"), turn(2, "Hello Ann", "ai")],
        "knowledge": [
            Knowledge(id=1, title="Prices", text="The small plan is 10 EUR.", verified=True),
            Knowledge(id=2, title="Blog", text="Somebody wrote it is free.", verified=False),
        ],
        "free_slots": [Slot(id=1, starts_at=NOW + timedelta(days=1), ends_at=NOW + timedelta(days=1, minutes=30))],
        "bundle_enabled": True,
    }
    return DraftRunSnapshot(**(fields | changes))
