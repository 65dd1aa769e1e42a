"""A draft as a reviewer is shown it, in Slack and on its page: what binds a decision, and what may be decided."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from agents.approval import binding_of, blocks_of, changed, forbidding
from agents.hard_blocks import HardBlock
from db import sql
from db.pool import Executor
from schemas.codes import Action, DeliveryStatus, DraftStatus, ReviewAction
from schemas.review import Binding


@dataclass(frozen=True)
class Shown:
    """`standing` is `review_standing`. `blocks` None: what they are checked against is past retention."""

    standing: asyncpg.Record
    text: str
    blocks: tuple[HardBlock, ...] | None
    binding: Binding

    @property
    def forbidden(self) -> bool:
        """Whether nobody may send this text."""
        return self.blocks is None or forbidding(self.blocks, self.binding, self.text, edited=False) is not None


async def shown(connection: Executor, draft_id: Any) -> Shown | None:
    """The draft with the blocks of its text as it is now, which are the ones that an approval is bound to."""
    standing = await sql.review.review_standing.row(connection, draft_id=draft_id)
    if standing is None:
        return None
    text = standing["content"] or ""
    blocks = await blocks_of(connection, draft_id, text)
    return Shown(standing, text, blocks, binding_of(standing, blocks))


def offered(draft: Shown, now: asyncpg.Record, send_status: str | None, at: datetime) -> frozenset[ReviewAction]:
    """What a person may do with the draft now. `now` is `send_standing`; `send_status` of its last delivery.

    Whoever asks for something else is refused by the agent all the same.
    """
    if send_status == DeliveryStatus.SCHEDULED:
        return frozenset({ReviewAction.UNDO})
    if draft.standing["review_status"] != "open" or send_status == DeliveryStatus.CLAIMED:
        return frozenset()
    stale = changed(draft.binding, at, now, now) is not None
    sendable = not stale and not draft.forbidden and bool(draft.text.strip())
    if now["status"] == DraftStatus.UNKNOWN:
        return frozenset({ReviewAction.REJECT, *([ReviewAction.CONFIRM_RESEND] if sendable else [])})
    if now["status"] != DraftStatus.PENDING or now["auto_send_action"] == Action.NONE:
        return frozenset()
    edit = [ReviewAction.EDIT] if not stale and draft.blocks is not None else []
    return frozenset({ReviewAction.REJECT, *edit, *([ReviewAction.APPROVE] if sendable else [])})
