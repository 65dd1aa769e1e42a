"""A reviewer's desk: the web process in this one, a real Postgres, the stack's Slack, and no worker but what is asked for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx2
from fastapi import FastAPI

from agents import review
from agents.fates import Fate
from agents.outcomes import sha256_of
from agents.review import expire_reviews
from agents.rim import Rim
from app.cli.token import make_token
from app.config import Config
from app.slack.client import SlackClient
from app.slack.posting import SlackPosting
from app.stack.local import LocalStack
from app.stack.slack_server import TEAM
from app.web.server import Web, create_app
from app.worker import Worker
from db import sql
from db.pool import Pool, create_pool
from schemas.codes import Channel, Mode, Role
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Knowledge, Profile, Turn
from schemas.events import ReviewCommand
from schemas.settings import PolicyRules, WorkspaceSettings
from tests.conftest import Database

APPROVER = "U0LOCAL"
FACT = "The basic plan costs €20 a month."
_numbers = itertools.count(1)


@dataclass
class Desk:
    """What a test of reviewing works with. `rim` is a worker's, which does nothing by itself."""

    app: FastAPI
    config: Config
    pool: Pool
    rim: Rim
    slack: SlackClient
    stack: LocalStack
    posting: SlackPosting

    async def clear(self) -> None:
        """As a new database: no workspace, no event, the first policy."""
        await self.pool.execute(
            "DELETE FROM workspace; DELETE FROM outbox; DELETE FROM api_token;"
            " DELETE FROM confidence_policy_revision WHERE revision > 1"
        )
        web: Web = self.app.state.web
        web.limiter._buckets.clear()

    # ---- what is there

    async def draft(self, text: str = "Hello", *, workspace: str = "ws-review", **more: Any) -> uuid.UUID:
        """A draft whose run pinned `FACT`, and the question to a person about it; `more` are columns of `ai_draft`.

        `reason` and `expires_s` belong to the question.
        """
        reason, expires_s = more.pop("reason", "below_threshold"), more.pop("expires_s", 3_600.0)
        draft = uuid.uuid4()
        seq = await self._message(workspace, f"lead-{draft}", f"message-{draft}")
        await self._run(workspace, draft, seq)
        columns = {
            "id": draft, "run_id": draft, "workspace_id": workspace, "lead_id": f"lead-{draft}",
            "trigger_message_id": f"message-{draft}", "trigger_ingest_seq": seq, "mode": "AI_AUTO_SEND",
            "channel": "chat", "recipient": "ann@example.com", "content": text, "original_content": text,
            "content_sha256": sha256_of(text), "language": "en", "policy_revision": 1, "auto_send_confidence": 0.7,
            "auto_send_threshold": 0.9, "auto_send_action": "needs_review", "auto_send_reason": reason,
        }  # fmt: skip
        await self.insert("ai_draft", **(columns | more))
        await self.ask(draft, workspace, reason, expires_s)
        return draft

    async def ask(self, draft: uuid.UUID, workspace: str, reason: str, expires_s: float = 3_600.0) -> None:
        """Ask a person, again if need be."""
        await sql.review.open_review_if_absent.run(
            self.pool, review_id=draft, draft_id=draft, workspace_id=workspace, reason=reason, content_sha256=None,
            review_s=expires_s,
        )  # fmt: skip

    async def _message(self, workspace: str, lead: str, message_id: str) -> int:
        await sql.admin.create_workspace_if_absent.run(self.pool, workspace_id=workspace)
        await self.pool.execute(
            "INSERT INTO lead (workspace_id, lead_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", workspace, lead
        )
        await self.write(workspace, lead, "What does it cost?", message_id=message_id)
        seq: int = await self.pool.fetchval("SELECT ingest_seq FROM message WHERE message_id = $1", message_id)
        return seq

    async def write(self, workspace: str, lead: str, body: str, **more: Any) -> None:
        """A message of the lead, or with `direction="outbound"` somebody's answer."""
        outbound = more.get("direction") == "outbound"
        columns = {
            "id": uuid.uuid4(), "workspace_id": workspace, "lead_id": lead, "channel": "chat",
            "message_id": f"m-{next(_numbers)}-{lead}", "direction": "inbound", "mode": "AI_AUTO_SEND", "body": body,
            "disposition": "outbound" if outbound else "run", "received_at": datetime.now(UTC),
        }  # fmt: skip
        await self.insert("message", **(columns | more))

    async def _run(self, workspace: str, draft: uuid.UUID, seq: int) -> None:
        now = datetime.now(UTC)
        await self.insert(
            "draft_pipeline_run", id=draft, workspace_id=workspace, lead_id=f"lead-{draft}",
            trigger_message_id=f"message-{draft}", draft_id=draft, channel="chat", status="COMPLETED", phase="done",
            reason="below_threshold", policy_revision=1, lease_owner="w", lease_until=now, finished_at=now,
        )  # fmt: skip
        await self.insert(
            "draft_run_context",
            run_id=draft,
            snapshot=snapshot(workspace, draft, seq).model_dump(mode="json"),
            context_pack=DraftRunContextPack().model_dump(mode="json"),
        )

    async def insert(self, table: str, **columns: Any) -> None:
        """One row."""
        names, places = ", ".join(columns), ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        await self.pool.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *columns.values())

    async def set(self, draft: uuid.UUID, **columns: Any) -> None:
        """Change a draft behind everybody's back."""
        for name, value in columns.items():
            await self.pool.execute(f"UPDATE ai_draft SET {name} = $2 WHERE id = $1", draft, value)

    async def of(self, draft: uuid.UUID) -> asyncpg.Record:
        """The draft's row."""
        row = await self.pool.fetchrow("SELECT * FROM ai_draft WHERE id = $1", draft)
        assert row is not None
        return row

    async def actions(self, draft: uuid.UUID) -> list[asyncpg.Record]:
        """What people did, oldest first."""
        return await self.pool.fetch("SELECT * FROM review_action WHERE draft_id = $1 ORDER BY created_at", draft)

    async def delivery(self, draft: uuid.UUID, status: str, **more: Any) -> uuid.UUID:
        """A delivery of the draft's text in this status."""
        row, made = await self.of(draft), uuid.uuid4()
        ended = datetime.now(UTC) if status in ("sent", "refused", "unknown", "cancelled") else None
        columns = {
            "id": made, "draft_id": draft, "workspace_id": row["workspace_id"], "lead_id": row["lead_id"],
            "trigger_message_id": row["trigger_message_id"], "channel": row["channel"], "automatic": True,
            "content": row["content"], "content_sha256": row["content_sha256"], "status": status, "finished_at": ended,
        }  # fmt: skip
        await self.insert("delivery", **(columns | more))
        return made

    # ---- what happens

    async def carry_out(self, draft: uuid.UUID) -> list[str]:
        """Let the review agent do what was recorded; the results, oldest first."""
        for action in await self.actions(draft):
            await self.handle(action)
        return [action["result"] for action in await self.actions(draft)]

    async def handle(self, action: asyncpg.Record) -> Fate:
        """One command, as the agent gets it."""
        command = ReviewCommand(
            event_id=uuid.uuid4(), occurred_at=datetime.now(UTC), workspace_id=action["workspace_id"], lead_id="lead",
            draft_id=action["draft_id"], review_action_id=action["id"],
        )  # fmt: skip
        return await review.handle(command, self.rim)

    async def expire(self, draft: uuid.UUID) -> None:
        """Let the time of this question run out, and the sweep find it."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")  # it is not asked again
            await connection.execute(
                "UPDATE review_request SET expires_at = now() - interval '1 s' WHERE draft_id = $1", draft
            )
        await expire_reviews(self.rim, 100)

    # ---- Slack

    async def tick(self) -> None:
        """Tell Slack everything that it is to be told now."""
        await self.posting.tick(self.slack)

    def told(self, draft: uuid.UUID, method: str) -> list[dict[str, Any]]:
        """What Slack took by this method about this draft, oldest first."""
        lines = self.stack.slack.ledger()
        return [line["body"] for line in lines if method in line["method"] and str(draft) in json.dumps(line["body"])]

    async def posted(self, draft: uuid.UUID) -> dict[str, Any]:
        """The newest message of this draft."""
        await self.tick()
        message: dict[str, Any] = self.told(draft, "chat.postMessage")[-1]
        return message

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
        """What follows an answer happens soon."""
        give_up = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < give_up, f"not within {seconds} s: {what}"
            await asyncio.sleep(0.01)
        return found

    async def slack_says(self, payload: dict[str, Any], **how: Any) -> httpx2.Response:
        """A request of Slack; `secret` and `at` (Unix time) for those that are not right."""
        return await self.send(*signed(payload, how.get("secret", self.config.slack_signing_secrets[0]), how.get("at")))

    async def send(self, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        """Any request to where Slack's clicks go."""
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://desk.test") as client:
            return await client.post("/webhooks/slack/interactions", content=body, headers=headers)

    # ---- the web

    def visitor(self, **headers: str) -> httpx2.AsyncClient:
        """A browser that nobody signed in; it follows where it is led."""
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(
            transport=transport, base_url=self.config.public_url, headers=headers, follow_redirects=True
        )

    async def token(self, role: Role = Role.REVIEWER, workspace: str | None = "ws-review", **more: Any) -> str:
        """A token of somebody named `ann`."""
        async with self.pool.acquire() as connection:
            return await make_token(
                connection, "ann", role, workspace, **({"expires": None, "one_time": False, "by": "test"} | more)
            )

    @asynccontextmanager
    async def browser(self, role: Role = Role.REVIEWER, workspace: str | None = "ws-review") -> AsyncIterator[Browser]:
        """Somebody signed in, whose browser runs no scripts; a worker carries out what they decide."""
        await sql.admin.create_workspace_if_absent.run(self.pool, workspace_id="ws-review")
        token = await self.token(role, workspace)
        working = asyncio.create_task(self.work())
        try:
            async with self.visitor() as visitor:
                await visitor.post("/sign-in", data={"token": token})
                yield Browser(visitor)
        finally:
            working.cancel()

    async def work(self) -> None:
        """A worker's agent: what is recorded is carried out at once."""
        while True:
            for action in await self.pool.fetch("SELECT * FROM review_action WHERE done_at IS NULL"):
                await self.handle(action)
            await asyncio.sleep(0.01)

    def response_url(self) -> str:
        """An address as Slack gives one with each click."""
        return f"{self.stack.slack.url}/response/{next(_numbers)}"


@dataclass
class Browser:
    """Shows pages and fills in their forms, as one without scripts does."""

    client: httpx2.AsyncClient

    async def show(self, address: str) -> str:
        """The page at an address of ours."""
        answer = await self.client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def submit(self, page: str, form: str, **fields: str) -> httpx2.Response:
        """Send the form of this page whose address ends with `form`, with what stands in it and what is written."""
        action, given = next(each for each in forms_of(page) if each[0].partition("?")[0].endswith(form))
        unknown = fields.keys() - given.keys()
        assert not unknown, f"no such field: {unknown}"
        written = {name: value.replace("\n", "\r\n") for name, value in (given | fields).items()}
        return await self.client.post(action, data=written)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._field: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((given.get("action", ""), {}))
        elif tag in ("input", "textarea") and "name" in given and self.found:
            self.found[-1][1][given["name"]] = given.get("value", "")
            self._field = given["name"] if tag == "textarea" else None

    def handle_endtag(self, tag: str) -> None:
        self._field = None if tag == "textarea" else self._field

    def handle_data(self, data: str) -> None:
        if self._field is not None:
            self.found[-1][1][self._field] += data.removeprefix("\n")  # the first newline of a text area is not its


def forms_of(page: str) -> list[tuple[str, dict[str, str]]]:
    """Address and fields of each form of a page."""
    reader = _Forms()
    reader.feed(page)
    return reader.found


def snapshot(workspace: str, draft: uuid.UUID, seq: int) -> DraftRunSnapshot:
    """What a run knows: one question, one verified fact."""
    now = datetime.now(UTC)
    return DraftRunSnapshot(
        run_id=draft, draft_id=draft, workspace_id=workspace, workspace_name="Acme", lead_id=f"lead-{draft}",
        channel=Channel.CHAT, thread_id="", campaign_id=None, mode=Mode.AI_AUTO_SEND, campaign_instructions="",
        settings=WorkspaceSettings(), policy=PolicyRules(revision=1), now=now,
        trigger=Turn(message_id=f"message-{draft}", author="lead", body="What does it cost?", received_at=now),
        trigger_ingest_seq=seq, recipient="ann@example.com", profile=Profile(name="Ann"), conversation=[],
        knowledge=[Knowledge(id=1, title="Price", text=FACT, verified=True)], free_slots=[], bundle_enabled=False,
    )  # fmt: skip


def signed(payload: dict[str, Any], secret: str, at: float | None = None) -> tuple[bytes, dict[str, str]]:
    """A request as Slack signs it."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={digest}",
    }


def buttons(message: dict[str, Any]) -> dict[str, str]:
    """The values of a message's buttons by their action."""
    blocks = message["blocks"] if isinstance(message["blocks"], list) else json.loads(message["blocks"])
    pressed = [element for block in blocks if block["type"] == "actions" for element in block["elements"]]
    return {button["action_id"]: button["value"] for button in pressed}


def press(message: dict[str, Any], action: str, response_url: str | None = None, **more: Any) -> dict[str, Any]:
    """What Slack sends when somebody presses a button of a message."""
    payload = {
        "type": "block_actions",
        "user": {"id": APPROVER},
        "team": {"id": TEAM},
        "trigger_id": "1.2.3",
        "response_url": response_url,
        "actions": [{"action_id": action, "value": buttons(message)[action]}],
    }
    return payload | more


def submit(view: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
    """What Slack sends when somebody fills in a form."""
    payload = {
        "type": "view_submission",
        "user": {"id": APPROVER},
        "team": {"id": TEAM},
        "view": {
            "callback_id": view["callback_id"],
            "private_metadata": view["private_metadata"],
            "state": {"values": {"text": {"text": {"type": "plain_text_input", "value": text}}}},
        },
    }
    return payload | more


@asynccontextmanager
async def desk_at(stack: LocalStack, database: Database, **env: str) -> AsyncIterator[Desk]:
    """A desk on this database; `env` goes before the stack's variables."""
    variables = {**stack.env, "DATABASE_URL": database.url, "DIRECT_URL": database.url, **env}
    values: dict[str, Any] = {name.lower(): value for name, value in variables.items()}
    config = Config(_env_file=None, **values)
    app, pool = create_app(config), await create_pool(database.url, size=6, application="desk")
    slack = SlackClient(config)
    try:
        async with app.router.lifespan_context(app):
            yield Desk(app, config, pool, Worker(config, pool).rim, slack, stack, SlackPosting(config, pool))
    finally:
        await slack.close()
        await pool.close()
