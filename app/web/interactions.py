"""What a click in Slack says, and who may click."""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

import asyncpg

from app.config import Config
from app.review.sealing import unseal
from app.slack.blocks import APPROVE, EDIT, INPUT_ID, REJECT, RESEND
from schemas.review import Binding

_VIEW_SUBMISSION: Final = "view_submission"
_BLOCK_ACTIONS: Final = "block_actions"
_ACTIONS: Final = (APPROVE, EDIT, REJECT, RESEND)


@dataclass(frozen=True)
class Click:
    """What somebody did. `binding` None: sealed with no secret of ours. `text`: what a form was filled with."""

    user: str
    team: str
    action: str
    binding: Binding | None
    sealed: str
    trigger_id: str | None = None
    text: str | None = None
    response_url: str | None = None

    @property
    def opens_form(self) -> bool:
        return self.text is None and self.action in (EDIT, REJECT)

    @property
    def in_form(self) -> bool:
        return self.text is not None


def read_click(body: bytes, config: Config) -> Click | None:
    """The click in a request body that was verified before; None for anything we do not know. Never raises."""
    try:
        payload = json.loads(parse_qs(body.decode())["payload"][0])
        return _click(payload, config)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None


def _click(payload: dict[str, Any], config: Config) -> Click | None:
    user = payload["user"]
    team = str((payload.get("team") or {}).get("id") or user.get("team_id") or "")
    response_url, text = payload.get("response_url"), None
    if payload["type"] == _BLOCK_ACTIONS:
        action, sealed = payload["actions"][0]["action_id"], payload["actions"][0]["value"]
    elif payload["type"] == _VIEW_SUBMISSION:
        view = payload["view"]
        action, (sealed, response_url) = view["callback_id"], _unpacked(view["private_metadata"])
        text = str(view["state"]["values"][INPUT_ID][INPUT_ID]["value"] or "")
    else:
        return None
    if action not in _ACTIONS:
        return None
    binding = unseal(str(sealed), config.slack_signing_secrets)
    trigger = payload.get("trigger_id")
    return Click(
        user=str(user["id"]),
        team=team,
        action=str(action),
        binding=binding,
        sealed=str(sealed),
        trigger_id=str(trigger) if trigger else None,
        text=text,
        response_url=str(response_url) if response_url else None,
    )


def packed(sealed: str, response_url: str | None) -> str:
    """What a form carries from the click that opened it."""
    return json.dumps([sealed, response_url])


def _unpacked(metadata: str) -> tuple[str, str | None]:
    sealed, response_url = json.loads(metadata)
    return str(sealed), response_url


def may_decide(standing: asyncpg.Record, config: Config, click: Click) -> bool:
    """Only users on the list, of the one team that the workspace is bound to, else the one it was posted to."""
    team = standing["slack_team_id"] or standing["posted_team_id"]
    allowed = frozenset(standing["slack_approver_ids"]) or config.slack_approvers
    return team is not None and click.team == team and click.user in allowed
