"""Everything a finished story left behind, read once: tables, topics, the ledgers of the outside, logs, mails."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from app.stack.ledger import read_ledger
from schemas.topics import TOPICS
from tests.story.harness import Pipeline, Record
from tests.story.rows import PLANTED

TABLES = (
    "message draft_pipeline_run draft_pipeline_artifact ai_draft draft_claim delivery model_call outbox review_request"
    " review_action suppression kill_switch ai_interaction process_heartbeat ingest_watermark meeting_overseer_decision followup_task"
    " booking"
).split()
TextRow = Mapping[str, Any]


@dataclass(frozen=True)
class Accepted:
    """One message that a provider took: what it was told, and under which delivery's key."""

    delivery: str
    draft: str
    text: str
    recipient: str | None
    workspace: str | None


@dataclass
class Evidence:
    """What the audit looks at. Rows are mappings by column; `markers` are bytes that must never leak."""

    tables: dict[str, list[TextRow]]
    topics: dict[str, list[Record]]
    model: list[dict[str, Any]]
    accepted: list[Accepted]
    logs: dict[str, bytes]
    markers: tuple[bytes, ...] = (PLANTED,)
    now: Any = None
    runs: dict[str, TextRow] = field(default_factory=dict)
    drafts: dict[str, TextRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs = {str(row["id"]): row for row in self.tables["draft_pipeline_run"]}
        self.drafts = {str(row["id"]): row for row in self.tables["ai_draft"]}

    def events(self, topic: str) -> list[dict[str, Any]]:
        """The values of a topic of ours, each event once."""
        found = {}
        for record in self.topics[topic]:
            event = json.loads(record.value or b"{}")
            found[event["event_id"]] = event
        return list(found.values())


async def gather(pipeline: Pipeline) -> Evidence:
    """Read it all; the pipeline is idle, its workers may live or be dead."""
    tables: dict[str, list[TextRow]] = {
        name: [dict(row) for row in await pipeline.db.fetch(f"SELECT * FROM {name}")] for name in TABLES
    }
    topics = {name: await pipeline.topic(name) for name in TOPICS}
    folder = pipeline.stack.dir
    mails = _mails(folder, tables["delivery"])
    return Evidence(
        tables=tables,
        topics=topics,
        model=pipeline.stack.model.ledger(),
        accepted=[*_webhooks(folder), *mails],
        logs={worker.log.name: worker.log.read_bytes() for worker in pipeline.workers},
        now=await pipeline.db.fetchval("SELECT now()"),
    )


def _webhooks(folder: Path) -> list[Accepted]:
    taken = [line for line in read_ledger(folder / "webhook.jsonl") if line["outcome"] in ("accepted", "cut_after")]
    found = []
    for line in taken:
        body = json.loads(line["body"])
        workspace = unquote(line["path"].partition("?of=")[2]) or None
        found.append(Accepted(line["key"], body["draft_id"], body["text"], body["recipient"], workspace))
    return found


def _mails(folder: Path, deliveries: list[TextRow]) -> list[Accepted]:
    """Mails that were stored. Their Message-ID begins with the draft's id; a first delivery bears nothing else."""
    found = []
    for line in read_ledger(folder / "mail.jsonl"):
        if line["file"] is None:
            continue
        mail = email.message_from_bytes((folder / "mailbox" / line["file"]).read_bytes(), policy=email.policy.SMTP)
        local = str(mail["Message-ID"]).strip("<>").partition("@")[0]
        draft = local.partition(".")[0]
        keys = [str(row["id"]) for row in deliveries if str(row["draft_id"]) == draft]
        text = plain_text(mail)
        found.append(Accepted(keys[0] if len(keys) == 1 else local, draft, text, line["to"][0], None))
    return found


def plain_text(mail: EmailMessage) -> str:
    """The plain text of a mail, exactly."""
    part = mail.get_body(("plain",))
    assert part is not None
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()
