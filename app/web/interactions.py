"""A click in Slack: verified, written to Postgres with its event, then answered. The work follows."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from agents.outcomes import add_event
from agents.rim import OutboxRow
from app.config import Config
from app.slack.binding import Binding, unseal
from app.slack.blocks import APPROVE, EDIT, INPUT_ID, REJECT, edit_view, reject_view
from db import sql
from db.pool import Pool, transaction
from schemas.codes import DraftStatus
from schemas.events import ReviewCommand
from schemas.ids import derive, event_id
from schemas.limits import REVIEW_S_MAX

_VIEW_SUBMISSION: Final = "view_submission"
_BLOCK_ACTIONS: Final = "block_actions"


@dataclass(frozen=True)
class Click:
    """What somebody did. `view` is the form to open instead of deciding at once."""

    user: str
    team: str
    action: str
    binding: Binding
    sealed: str
    trigger_id: str | None = None
    text: str | None = None

    @property
    def opens_form(self) -> bool:
        return self.text is None and self.action in (EDIT, REJECT)


def read_click(body: bytes, config: Config) -> Click | None:
    """The click in a request body that was verified before; None for anything we do not know. Never raises."""
    try:
        payload = json.loads(parse_qs(body.decode())["payload"][0])
        return _click(payload, config)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None


def _click(payload: dict[str, Any], config: Config) -> Click | None:
    user, team = str(payload["user"]["id"]), str((payload.get("team") or {}).get("id") or "")
    if payload["type"] == _BLOCK_ACTIONS:
        action, sealed, text = payload["actions"][0]["action_id"], payload["actions"][0]["value"], None
    elif payload["type"] == _VIEW_SUBMISSION:
        view = payload["view"]
        action, sealed = view["callback_id"], view["private_metadata"]
        text = str(view["state"]["values"][INPUT_ID][INPUT_ID]["value"] or "")
    else:
        return None
    binding = unseal(str(sealed), config.slack_signing_secrets, REVIEW_S_MAX)
    if binding is None or action not in (APPROVE, EDIT, REJECT):
        return None
    return Click(user, team, str(action), binding, str(sealed), payload.get("trigger_id"), text)


async def may_decide(pool: Pool, config: Config, click: Click) -> bool:
    """Only allowed users, of the team the workspace is bound to."""
    standing = await sql.review.review_standing.row(pool, draft_id=click.binding.draft)
    if standing is None or (standing["slack_team_id"] and standing["slack_team_id"] != click.team):
        return False
    return click.user in (frozenset(standing["slack_approver_ids"]) or config.slack_approvers)


async def form_for(pool: Pool, click: Click) -> dict[str, Any] | None:
    """The modal for Edit or Reject; None when the draft is too long to be edited in Slack."""
    if click.action == REJECT:
        return reject_view(click.sealed)
    standing = await sql.review.review_standing.row(pool, draft_id=click.binding.draft)
    return edit_view(click.sealed, standing["content"] or "") if standing is not None else None


async def record(pool: Pool, click: Click) -> list[OutboxRow]:
    """Write the decision and its event in one transaction; a second click finds the first and changes nothing."""
    draft = click.binding.draft
    action_id = derive("review-action", click.action, *map(str, click.binding.columns().values()))
    async with transaction(pool) as connection:
        standing = await sql.review.review_standing.one(connection, draft_id=draft)
        resends = click.action == APPROVE and standing["status"] == DraftStatus.UNKNOWN
        added = await sql.review.add_review_action.value(
            connection,
            action_id=action_id,
            draft_id=draft,
            workspace_id=click.binding.workspace_id,
            actor=click.user,
            via="slack",
            action="confirm_resend" if resends else click.action,
            content_sha256=click.binding.content_sha256,
            edited_text=click.text if click.action == EDIT else None,
            reject_reason=click.text if click.action == REJECT else None,
            binding=click.binding.columns(),
        )
        if added is None:
            return []
        command = _command(click, action_id, standing["lead_id"])
        return await add_event(connection, command, click.binding.workspace_id, standing["traceparent"])


def _command(click: Click, action_id: uuid.UUID, lead_id: str) -> ReviewCommand:
    return ReviewCommand(
        event_id=event_id("review-command", action_id),
        occurred_at=datetime.now(UTC),
        workspace_id=click.binding.workspace_id,
        lead_id=lead_id,
        draft_id=click.binding.draft,
        review_action_id=action_id,
    )
