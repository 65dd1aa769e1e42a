"""A person decides in Slack, on exactly what they saw."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp

from app.stack.slack_server import TEAM
from tests.story.audit import audit
from tests.story.harness import Pipeline
from tests.story.rows import Workspace, row
from tests.story.test_flow import draft_of
from tests.story.web import web

INTERACTIONS = "/webhooks/slack/interactions"


def signed(flow: Pipeline, payload: dict[str, Any], at: float | None = None) -> tuple[bytes, dict[str, str]]:
    """A request as Slack signs it."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = str(int(at or time.time()))
    secret = flow.stack.env["SLACK_SIGNING_SECRET"].encode()
    digest = hmac.new(secret, f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return body, {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


async def click(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{INTERACTIONS}", data=body, headers=headers) as response,
    ):
        return response.status


async def posted(flow: Pipeline, draft_id: Any) -> dict[str, Any]:
    """The Slack message of a draft, once it was posted."""

    async def found() -> dict[str, Any] | None:
        return next(
            (
                line["body"]
                for line in flow.stack.slack.ledger()
                if line["method"] == "chat.postMessage" and str(draft_id) in json.dumps(line["body"])
            ),
            None,
        )

    message: dict[str, Any] = await flow.until(found, 20.0, "the draft is shown in Slack")
    return message


async def told_about(flow: Pipeline, draft_id: Any) -> str:
    """What somebody who clicked was told of a draft; empty so far."""
    lines = [json.dumps(line["body"]) for line in flow.stack.slack.ledger() if line["method"] == "chat.postEphemeral"]
    return next((line for line in lines if str(draft_id) in line), "")


def pressed(message: dict[str, Any], action: str, user: str) -> dict[str, Any]:
    """What Slack sends when `user` presses the button `action` of a message."""
    blocks = message["blocks"] if isinstance(message["blocks"], list) else json.loads(message["blocks"])
    buttons = [element for block in blocks if block["type"] == "actions" for element in block["elements"]]
    button = next(each for each in buttons if each["action_id"] == action)
    return {
        "type": "block_actions",
        "user": {"id": user},
        "team": {"id": TEAM},
        "actions": [{"action_id": action, "value": button["value"]}],
    }


async def asked(flow: Pipeline, workspace: str) -> tuple[Any, dict[str, Any]]:
    """A draft that waits for a person, and its Slack message."""
    await flow.provision([Workspace(workspace, mode="DRAFT_ONLY")])
    message = row(workspace, f"lead-{workspace}", "Hello, !!confident please tell me more")
    await flow.produce([message])
    draft = await draft_of(flow, message)
    return draft, await posted(flow, draft["id"])


async def test_an_approved_draft_is_sent_once_as_it_was_shown(flow: Pipeline) -> None:
    """Approve sends exactly the text that was shown; pressing again, or replaying the request, changes nothing."""
    draft, message = await asked(flow, "ws-approve")
    approver = flow.stack.env["SLACK_APPROVER_IDS"]
    async with web(flow) as url:
        request = signed(flow, pressed(message, "approve", approver))
        assert [await click(url, *request) for _ in range(3)] == [200, 200, 200]
        sent = await flow.until_row(
            "SELECT body, sent_by, source, approved_by, approved_via FROM message WHERE draft_id = $1", draft["id"]
        )
    assert tuple(sent) == (draft["content"], "ai", "draft-pipeline", approver, "slack")
    await flow.idle()
    accepted = [line for line in flow.stack.webhook.ledger() if str(draft["id"]) in line["body"]]
    assert [line["outcome"] for line in accepted] == ["accepted"]
    assert await flow.db.fetchval("SELECT count(*) FROM review_action WHERE draft_id = $1", draft["id"]) == 1
    await audit(flow, floor={"accepted": 1})


async def test_a_click_on_a_stale_draft_sends_nothing(flow: Pipeline) -> None:
    """When the lead wrote again meanwhile, the approval of the old draft is refused."""
    draft, message = await asked(flow, "ws-stale")
    await flow.produce([row("ws-stale", "lead-ws-stale", "One more thing: !!confident")])
    await flow.until_row("SELECT id FROM ai_draft WHERE id = $1 AND status = 'superseded'", draft["id"])
    async with web(flow) as url:
        request = signed(flow, pressed(message, "approve", flow.stack.env["SLACK_APPROVER_IDS"]))
        assert await click(url, *request) == 200
        done = await flow.until_row(
            "SELECT result FROM review_action WHERE draft_id = $1 AND done_at > now() - interval '1 hour'", draft["id"]
        )
    assert done["result"] == "refused_draft_superseded"
    told = await flow.until(lambda: told_about(flow, draft["id"]), 10.0, "who clicked is told")
    assert "it was overtaken" in told
    assert "One more thing" in told
    assert await flow.db.fetchval("SELECT count(*) FROM delivery WHERE draft_id = $1", draft["id"]) == 0


async def test_a_rejected_draft_stays_unsent(flow: Pipeline) -> None:
    """Reject asks for a reason and ends the draft; what was written is kept."""
    draft, message = await asked(flow, "ws-reject")
    approver = flow.stack.env["SLACK_APPROVER_IDS"]
    binding = pressed(message, "reject", approver)["actions"][0]["value"]
    submission = {
        "type": "view_submission",
        "user": {"id": approver},
        "team": {"id": TEAM},
        "view": {
            "callback_id": "reject",
            "private_metadata": json.dumps([binding, None]),
            "state": {"values": {"text": {"text": {"value": "tone"}}}},
        },
    }
    async with web(flow) as url:
        assert await click(url, *signed(flow, submission)) == 200
        await flow.until_row("SELECT id FROM ai_draft WHERE id = $1 AND status = 'rejected'", draft["id"])
    assert await flow.db.fetchval("SELECT reject_reason FROM review_action WHERE draft_id = $1", draft["id"]) == "tone"
    assert await flow.db.fetchval("SELECT count(*) FROM delivery WHERE draft_id = $1", draft["id"]) == 0
