"""People who review, simulated: they decide on exactly what is shown, through the same rows and events as Slack's clicks."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from agents.outcomes import add_event, sha256_of
from app.kafka.producer import RowProducer
from app.relay import Relay
from db import sql
from db.pool import transaction
from schemas.events import ReviewCommand
from schemas.ids import derive, event_id
from tests.story.harness import Pipeline

REASON = "not what I would say"
# What a reviewer makes of a draft, by a number from 0 to 99 that the draft's id gives.
SHARES = ((45, "approve"), (65, "edit"), (85, "reject"), (100, None))


def choice(draft: uuid.UUID) -> str | None:
    """Always the same for the same draft; None: it is left for later."""
    number = int.from_bytes(hashlib.sha256(draft.bytes).digest()[:4]) % 100
    return next(action for share, action in SHARES if number < share)


async def review(flow: Pipeline, *, everything: bool = False) -> Counter[str]:
    """Decide on every open review; with `everything` none is left for later. Returns what was decided."""
    producer, done = RowProducer(flow.config), Counter[str]()
    relay = Relay(flow.db, producer)
    rows = await flow.db.fetch(
        "SELECT q.draft_id, q.workspace_id, d.lead_id FROM review_request q JOIN ai_draft d ON d.id = q.draft_id"
        " WHERE q.status = 'open' AND d.status = 'pending' ORDER BY q.id"
    )
    for row in rows:
        action = choice(row["draft_id"]) or ("approve" if everything else None)
        if action is not None:
            await _decide(flow, relay, row, action)
            done[action] += 1
    await producer.stop()
    return done


async def _decide(flow: Pipeline, relay: Relay, row: Any, action: str) -> None:
    shown = await sql.review.review_standing.one(flow.db, draft_id=row["draft_id"])
    identity = derive("review-action", "simulated", row["draft_id"])
    async with transaction(flow.db) as connection:
        await sql.review.add_review_action.value(
            connection,
            action_id=identity,
            draft_id=row["draft_id"],
            workspace_id=row["workspace_id"],
            actor="U0SIMULATED",
            via="web",
            action=action,
            content_sha256=shown["content_sha256"],
            edited_text="Thank you, a colleague will write to you." if action == "edit" else None,
            reject_reason=REASON if action == "reject" else None,
            binding=_binding(row, shown),
        )
        command = ReviewCommand(
            event_id=event_id("review-command", identity),
            occurred_at=datetime.now(UTC),
            workspace_id=row["workspace_id"],
            lead_id=row["lead_id"],
            draft_id=row["draft_id"],
            review_action_id=identity,
        )
        events = await add_event(connection, command, row["workspace_id"], None)
    await relay.send(events)


def _binding(row: Any, shown: Any) -> dict[str, Any]:
    return {
        "draft_id": str(row["draft_id"]),
        "workspace_id": row["workspace_id"],
        "content_sha256": shown["content_sha256"],
        "recipient_sha256": sha256_of(shown["recipient"] or ""),
        "newest_seq": shown["newest_seq"],
        "policy_revision": shown["policy_now"],
        "expires_at": 4e9,
    }
