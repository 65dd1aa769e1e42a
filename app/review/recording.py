"""What a person did, written down with its event before anything follows from it. Slack and the web share it."""

import re
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from agents.outcomes import add_event, sha256_of
from agents.rim import OutboxRow
from db import sql
from db.pool import Pool, transaction
from schemas.codes import ReviewAction
from schemas.events import ReviewCommand
from schemas.ids import derive, event_id
from schemas.limits import DRAFT_CHARS_MAX, REJECT_REASON_CHARS_MAX
from schemas.review import Binding

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_CHARS_MAX: Final = {ReviewAction.EDIT: DRAFT_CHARS_MAX, ReviewAction.REJECT: REJECT_REASON_CHARS_MAX}


@dataclass(frozen=True)
class Decision:
    """`text`: the edited reply, or why it is rejected. `response_url`: where Slack takes an answer to the click."""

    binding: Binding
    action: ReviewAction
    actor: str
    via: str
    text: str | None = None
    response_url: str | None = None

    @property
    def draft_id(self) -> uuid.UUID:
        return uuid.UUID(self.binding.draft_id)

    @property
    def id(self) -> uuid.UUID:
        """The same decision, clicked again or delivered again, has the same id."""
        seen = map(str, self.binding.columns().values())
        return derive("review-action", self.action, self.via, self.actor, sha256_of(self.text or ""), *seen)


@dataclass(frozen=True)
class Recorded:
    """`rows`: the event to publish; none when the decision had been recorded before."""

    action_id: uuid.UUID
    rows: list[OutboxRow]


def unchanged_is_approved(decision: Decision) -> Decision:
    """An edit that changes nothing is an approval: the text stays its writer's."""
    if decision.action is ReviewAction.EDIT and sha256_of(decision.text or "") == decision.binding.content_sha256:
        return replace(decision, action=ReviewAction.APPROVE, text=None)
    return decision


def problem_of(decision: Decision) -> str | None:
    """Why this cannot be recorded, in words for whoever wrote it; None when it can."""
    if decision.action not in _CHARS_MAX:
        return None
    text, what = decision.text or "", "reply" if decision.action is ReviewAction.EDIT else "reason"
    if not text.strip():
        return f"The {what} is empty."
    if len(text) > _CHARS_MAX[decision.action]:
        return f"The {what} has {len(text):,} characters; at most {_CHARS_MAX[decision.action]:,} are taken."
    if _UNSTORABLE.search(text):
        return f"The {what} holds characters that cannot be stored."
    return None


async def record(pool: Pool, decision: Decision) -> Recorded | None:
    """The decision and its event in one transaction; again changes nothing. None: the draft is gone."""
    async with transaction(pool) as connection:
        draft = await sql.review.lead_of_draft.row(
            connection, draft_id=decision.draft_id, workspace_id=decision.binding.workspace_id
        )
        if draft is None:
            return None
        added = await sql.review.add_review_action.value(
            connection,
            action_id=decision.id,
            draft_id=decision.draft_id,
            workspace_id=decision.binding.workspace_id,
            actor=decision.actor,
            via=decision.via,
            action=decision.action,
            content_sha256=decision.binding.content_sha256,
            edited_text=decision.text if decision.action is ReviewAction.EDIT else None,
            reject_reason=decision.text if decision.action is ReviewAction.REJECT else None,
            binding=decision.binding.columns(),
        )
        if added is None:
            return Recorded(decision.id, [])
        if decision.response_url is not None:
            await sql.review.keep_response_url.run(
                connection, action_id=decision.id, response_url=decision.response_url
            )
        command = ReviewCommand(
            event_id=event_id("review-command", decision.id),
            occurred_at=datetime.now(UTC),
            workspace_id=decision.binding.workspace_id,
            lead_id=draft["lead_id"],
            draft_id=decision.draft_id,
            review_action_id=decision.id,
        )
        rows = await add_event(connection, command, decision.binding.workspace_id, draft["traceparent"])
        return Recorded(decision.id, rows)
