"""A decision that was not carried out: what is no longer as it was shown, and how the draft stands now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from agents.approval import binding_in, blocks_of, forbidding
from agents.outcomes import sha256_of
from app.review.words import RESULTS, STATUSES, places, refusal_in_words
from db import sql
from db.pool import Executor
from schemas.codes import DeliveryStatus, DraftStatus, ReviewAction
from schemas.review import Binding

_MESSAGES_MAX: Final = 3


@dataclass(frozen=True)
class Change:
    """One thing that differs from what was shown; `before` and `after` are texts to compare, where there are any."""

    words: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Refusal:
    """`words`: why, in one sentence. `state`: how the draft stands; people are named as `review_action` does."""

    words: str
    state: str
    changes: tuple[Change, ...]


def at(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time is not None else "an unknown time"


async def state_of(connection: Executor, draft_id: Any) -> str:
    """How a draft stands, in words; empty when it is gone."""
    row = await sql.review.review_outcome.row(connection, draft_id=draft_id)
    return state_in_words(row) if row is not None else "The draft is gone."


def state_in_words(row: asyncpg.Record | dict[str, Any]) -> str:
    """`row` as `review_outcome` gives it."""
    words = STATUSES.get(row["status"], "")
    if row["status"] == DraftStatus.SCHEDULED and row["send_status"] == DeliveryStatus.SCHEDULED:
        words = f"It is to be sent at {at(row['scheduled_for'])}."
    elif row["send_status"] == DeliveryStatus.CLAIMED:
        words = "It is being sent right now."
    elif row["status"] == DraftStatus.SENT:
        words = f"It was sent at {at(row['send_ended_at'])}."
    if row["result"] in RESULTS:
        return f"{RESULTS[row['result']]} by {row['actor']} at {at(row['acted_at'])}. {words}"
    return words


async def refusal_of(connection: Executor, action: asyncpg.Record) -> Refusal | None:
    """Why a recorded action was refused; None when it was not, or the draft is gone."""
    now = await sql.delivery.send_standing.row(connection, draft_id=action["draft_id"])
    if now is None or not (action["result"] or "").startswith("refused"):
        return None
    binding = binding_in(action)
    changes = await changes_since(connection, binding, now) if binding is not None else []
    changes += await _forbidden(connection, action, binding, now)
    verb = {ReviewAction.REJECT: "rejected", ReviewAction.UNDO: "taken back"}.get(action["action"], "sent")
    words = f"Not {verb}: {refusal_in_words(action['result'])}."
    return Refusal(words, await state_of(connection, action["draft_id"]), tuple(changes))


async def changes_since(connection: Executor, binding: Binding, now: asyncpg.Record) -> list[Change]:
    """Everything that differs from what was shown, not only the first. `now` is `send_standing`."""
    changes = []
    if binding.content_sha256 != (now["content_sha256"] or ""):
        shown = await sql.review.text_by_hash.value(
            connection, draft_id=now["id"], content_sha256=binding.content_sha256
        )
        changes.append(Change("The text changed.", shown, now["content"] or ""))
    if binding.recipient_sha256 != sha256_of(now["recipient"] or ""):
        changes.append(Change(f"The recipient is now {now['recipient'] or 'nobody'}."))
    if now["newer_inbound"] or now["answered"]:
        changes += await _messages(connection, now["id"])
    if now["suppressed"]:
        changes.append(Change("The lead wants no more messages."))
    if binding.policy_revision != now["policy_now"]:
        changes.append(await _policy(connection, binding.policy_revision, now))
    if binding.expires_at < now["now"].timestamp():
        changes.append(
            Change(f"The time to decide ended at {at(datetime.fromtimestamp(binding.expires_at, now['now'].tzinfo))}.")
        )
    return changes


async def _messages(connection: Executor, draft_id: Any) -> list[Change]:
    rows = await sql.review.messages_since_trigger.rows(connection, draft_id=draft_id, limit=_MESSAGES_MAX)
    return [
        Change(
            f"The lead wrote again at {at(row['received_at'])}:"
            if row["direction"] == "inbound"
            else f"Answered by {row['sent_by'] or row['source'] or 'somebody'} at {at(row['received_at'])}:",
            after=row["body"],
        )
        for row in rows
    ]


async def _policy(connection: Executor, shown: int, now: asyncpg.Record) -> Change:
    before = await sql.admin.policy_by_revision.row(connection, revision=shown)
    needed = f" (threshold {before['auto_send_threshold']:.2f})" if before is not None else ""
    is_now = f"{now['policy_now']} (threshold {now['threshold_now']:.2f})"
    return Change(f"The policy was revision {shown}{needed}, it is now {is_now}.")


async def _forbidden(
    connection: Executor, action: asyncpg.Record, binding: Binding | None, now: asyncpg.Record
) -> list[Change]:
    """The places of the text that nobody may send, or that were not shown."""
    if binding is None or action["action"] in (ReviewAction.REJECT, ReviewAction.UNDO):
        return []
    edited = action["action"] == ReviewAction.EDIT
    text = action["edited_text"] if edited else now["content"] or ""
    blocks = await blocks_of(connection, action["draft_id"], text)
    if blocks is None or forbidding(blocks, binding, text, edited=edited) is None:
        return []
    told = [{"rule": block.rule, "start": block.start, "end": block.end} for block in blocks]
    return [Change(each) for each in places(text, told)]
