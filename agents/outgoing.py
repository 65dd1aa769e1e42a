"""The reply as it goes out. Recipient, thread and text come from the record, never from a model."""

import uuid

import asyncpg

from agents.ports import Outgoing


def outgoing_of(delivery: asyncpg.Record, now: asyncpg.Record) -> Outgoing:
    """The reply of a `delivery` row; `now` is its row of `send_standing`."""
    headers = {name.lower(): value for name, value in (now["headers"] or {}).items()}
    replied_to = headers.get("message-id")
    references = (*headers.get("references", "").split(), *([replied_to] if replied_to else []))
    return Outgoing(
        key=str(delivery["id"]),
        draft_id=uuid.UUID(int=delivery["draft_id"].int),
        workspace_id=delivery["workspace_id"],
        channel=delivery["channel"],
        recipient=delivery["recipient"],
        text=delivery["content"],
        subject=now["subject"],
        thread_id=delivery["thread_id"],
        in_reply_to=replied_to,
        references=references,
        automatic=delivery["automatic"],
        config=dict(now["channels"].get(delivery["channel"]) or {}),
        traceparent=now["traceparent"],
    )
