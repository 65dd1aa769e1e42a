"""One pipeline with its web pages and something of everything, for whoever types what our papers say."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from app.cli.token import make_token
from db import sql
from db.pool import transaction
from schemas.codes import Role, Stage
from schemas.events import PUBLIC_EVENTS
from tests import runbook
from tests.samples import machine_mails
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Workspace, row
from tests.story.web import web

WORKSPACE, GONE = "ws-1", "lead-gone"
READABLE = [topic for topic in PUBLIC_EVENTS if topic != "inbound-message"]


@dataclass
class Desk:
    """Where somebody types: a folder with the files that commands are given, the environment, what has a name."""

    flow: Pipeline
    folder: Path
    env: dict[str, str]
    places: dict[str, str]


@asynccontextmanager
async def opened(folder: Path, stack: Path) -> AsyncIterator[Desk]:
    """One worker, one web process, and a past: replies sent and revised, a failed run, a dead letter."""
    workspace = Workspace(WORKSPACE, settings={"quiet_window_s": 0.0})
    async with (
        pipeline(stack, workers=1, workspaces=[workspace]) as flow,
        web(flow) as url,
    ):
        async with transaction(flow.db) as connection:
            token = await make_token(connection, "typed", Role.SUPER_ADMIN, None, None, one_time=False, by="story")
            await make_token(connection, "old-one", Role.OPS, None, None, one_time=False, by="story")
            await sql.sign_in.start_session.run(
                connection, session_id=uuid4(), subject="oidc:gone", role=Role.OPS, workspace_id=None, session_s=3600.0
            )
        env = {**flow.stack.env, "PUBLIC_URL": url, "TOKEN": token}
        write_files(folder)
        places = await past_of(flow)
        yield Desk(flow, folder, env | {"RUN_ID": places["runs show: RUN"]}, places)


async def past_of(flow: Pipeline) -> dict[str, str]:
    """Messages of every kind, worked off; what of them has a name."""
    await flow.produce([row(WORKSPACE, "lead-1", "!!confident hello"), row(WORKSPACE, "lead-2", "!!near hello")])
    await flow.produce([row("ws-nowhere", "lead-3", "hello"), row(WORKSPACE, GONE, "!!confident hello")])
    await flow.produce([row(WORKSPACE, "lead-out", "unsubscribe")])
    await flow.idle()
    flow.stack.model.behave({"stages": {Stage.GENERATION: {"pnonsense": 1}}})
    await flow.produce([row(WORKSPACE, "lead-4", "!!confident hello")])
    await flow.until_row("SELECT 1 FROM draft_pipeline_run WHERE status = 'FAILED'")
    flow.stack.model.behave(None)
    await flow.idle()
    run = "SELECT id::text, draft_id::text FROM draft_pipeline_run WHERE status = $1 LIMIT 1"
    done, failed = await flow.db.fetchrow(run, "COMPLETED"), await flow.db.fetchrow(run, "FAILED")
    (dead,) = await flow.topic("dead-letter")
    policy = "INSERT INTO confidence_policy_revision (scope, workspace_id, created_by, reason) VALUES ('workspace', $1, 's', 's')"
    revision = await flow.db.fetchval(f"{policy} RETURNING revision", WORKSPACE)
    assert done is not None
    assert failed is not None
    return {
        "runs show: RUN": done["id"],
        "explain: DRAFT": done["draft_id"],
        "runs retry: RUN": failed["id"],
        "suppression lift: LEAD": "lead-out",
        "PARTITION": str(dead.partition),
        "OFFSET": str(dead.offset),
        "policy rollback: REVISION": str(revision),
    }


def write_files(folder: Path) -> None:
    """The files that commands are given."""
    message = json.loads(snippets("inbound-message", "json")[0]) | {"workspace_id": WORKSPACE}
    begin = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    event = (
        f"BEGIN:VEVENT\r\nUID:one\r\nDTSTART:{begin:%Y%m%dT%H%M%SZ}\r\nDTEND:{begin:%Y%m%dT%H}3000Z\r\nEND:VEVENT\r\n"
    )
    past = {"kind": "message", **message, "message_id": "m-past", "lead_id": "lead-past"}
    case = {"id": "one", "label": "send", "group": "plain", "body": "!!confident hello"}
    files = {
        "message.json": json.dumps(message),
        "chats.jsonl": json.dumps({**message, "channel": "chat"}) + "\n",
        "history.jsonl": json.dumps(past) + "\n",
        "cases.jsonl": f'{{"define": "default"}}\n{json.dumps(case)}\n',
        "rules.json": '{"forbidden_phrases": ["cheap"]}',
        "then.sql": "SELECT 1",
        "free.ics": f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\n{event}END:VCALENDAR\r\n",
        "handbook/sharing.md": "# Sharing\nBoards are shared by a link.\n",
    }
    files |= {f"mails/{name.removesuffix('.eml')}.eml": raw.decode("latin-1") for name, raw in machine_mails().items()}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "latin-1", newline="")


def snippets(topic: str, language: str) -> list[str]:
    """The blocks of this language on the page of a topic."""
    page = runbook.FILE.parent / "deploy" / "topics" / f"{topic}.md"
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


async def taken(desk: Desk, message_id: str) -> None:
    """Wait until a message is stored."""
    query = "SELECT 1 FROM message WHERE workspace_id = $1 AND message_id = $2"
    await desk.flow.until_row(query, WORKSPACE, message_id)


def message(desk: Desk, message_id: str) -> None:
    """The page's example in its file, as a message of its own."""
    path = desk.folder / "message.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"message_id": message_id}))
