"""What the stories about analysts and about deleting share: two workspaces, messages of every fate, and helpers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from app.exporting.everything import export_everything
from app.stack.postgres import _binary
from db.pool import connect
from tests.db.meeting_rows import TOMORROW
from tests.story.harness import Pipeline
from tests.story.rows import Row, Workspace, planted, row
from tests.story.told import Differences, Rows, Told

MARKS = ("!!confident", "!!near", "!!near", "!!never", "!!low", "!!claim", "can we schedule a meeting?", "!!nonsense")
AUTO = Workspace(
    "ws-auto",
    settings={
        "quiet_window_s": 0.0,
        "lead_context_bundle_enabled": True,
        "lead_context_bundle_budgets": {"evaluator": {"tokens": 20}, "draft": {"tokens": 4000}},
        "auto_replies_per_hour_max": 100,
    },
    campaigns={"spring": "AI_AUTO_SEND", "old": "LEGACY_AUTO_REPLY"},
)
ASK = Workspace("ws-ask", mode="DRAFT_ONLY", settings={"quiet_window_s": 0.0})
LEAD = "lead-ws-auto-1"


def messages() -> list[Row]:
    """Every fate in both workspaces and three channels; the texts carry marks that must never leak."""
    made = []
    for number in range(48):
        workspace = AUTO if number % 3 else ASK
        campaign = {1: "spring", 2: None, 0: None}[number % 3] if number % 11 else "old"
        made.append(
            row(
                workspace.id,
                f"lead-{workspace.id}-{number}",
                f"Question {chr(97 + number % 26)} {MARKS[number % len(MARKS)]}",
                channel=("chat", "email", "sms")[number % 3],
                campaign_id=campaign if workspace is AUTO else None,
            )
        )
    accepts = f"Let us schedule the meeting at {TOMORROW:%Y-%m-%dT%H:%MZ}. !!confident"
    made.append(row(AUTO.id, f"lead-{AUTO.id}-meets", accepts, campaign_id="spring"))
    return planted(made)


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float() | Decimal():
            return value + 1
        case date():  # a datetime is one
            return value + timedelta(days=1)
        case list():
            return [*value, "x"]
        case _:
            return f"{value}x"


def noticed(check: Callable[[Told, Rows], Differences], told: Told, rows: Rows, name: str) -> bool:
    """Whether a wrong value of this column makes a difference, in one of the rows that have it."""
    filled = [place for place, row in enumerate(rows) if row[name] is not None]
    return any(
        _differs(check, told, [*rows[:place], {**rows[place], name: changed(rows[place][name])}, *rows[place + 1 :]])
        for place in filled
    )


def _differs(check: Callable[[Told, Rows], Differences], told: Told, rows: Rows) -> bool:
    try:
        return check(told, rows) != []
    except KeyError:  # a draft of another id
        return True


async def run_export(flow: Pipeline, root: Path, stop_after: int | None = None, only: list[str] | None = None) -> int:
    """Export in this process; stopped after so many steps. Returns the steps that were made."""
    steps = 0

    def step(_: str) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_after:
            raise KeyboardInterrupt

    connection = await connect(flow.stack.postgres.url)
    try:
        await export_everything(flow.config, connection, root, only, None, step)
    except KeyboardInterrupt:
        pass
    finally:
        await connection.close()
    return steps


def files(root: Path) -> dict[str, bytes]:
    """Everything that readers see, byte for byte."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for pattern in ("*/day=*/*", "*/_schema.json")
        for path in root.glob(pattern)
    }


def in_lake(root: Path, name: str, column: str) -> list[Any]:
    """A column of everything that was exported under a name."""
    query = f"SELECT {column} FROM read_parquet('{root}/{name}/*/data.parquet', hive_partitioning = true)"
    return [row[0] for row in duckdb.connect().execute(query).fetchall()]


def env(flow: Pipeline) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return {**kept, **flow.stack.env}


async def ran(flow: Pipeline, *command: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=env(flow), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def marks_in_dump(flow: Pipeline, *marks: str) -> list[bytes]:
    """Lines of a dump that hold a mark, plain or as digits of a bytea."""
    process = await asyncio.create_subprocess_exec(
        *(str(_binary("pg_dump")), "--inserts", flow.stack.postgres.url),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    dumped, _ = await process.communicate()
    assert process.returncode == 0
    wanted = [text for mark in marks for text in (mark.encode(), mark.encode().hex().encode())]
    return [line[:200] for line in dumped.splitlines() if any(text in line for text in wanted)]


async def outside(flow: Pipeline) -> tuple[int, int, int]:
    """What model, webhook receiver and mailbox have seen."""
    return len(flow.stack.model.ledger()), len(flow.stack.webhook.ledger()), len(flow.stack.mail.ledger())


async def make_old(flow: Pipeline) -> None:
    """As if all of it had happened sixty days ago. A trigger keeps ends of runs as they are, but for this."""
    await flow.db.execute("ALTER TABLE draft_pipeline_run DISABLE TRIGGER USER")
    await flow.db.execute(
        "UPDATE draft_pipeline_run SET created_at = created_at - interval '60 days',"
        " finished_at = finished_at - interval '60 days'"
    )
    await flow.db.execute("ALTER TABLE draft_pipeline_run ENABLE TRIGGER USER")
    await flow.db.execute(
        "UPDATE outbox SET created_at = created_at - interval '60 days', published_at = published_at - interval '60 days'"
    )


async def counts(flow: Pipeline) -> dict[str, Any]:
    tables = (
        "lead message ai_draft draft_pipeline_run draft_pipeline_artifact model_call delivery review_request outbox"
    )
    return {table: await flow.db.fetchval(f"SELECT count(*) FROM {table}") for table in tables.split()}
