"""`evaluate`: labelled cases through the real flow, in workspaces that deliver to nobody."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.cli.applying import apply_document
from app.cli.cases import Case, CaseFile, Script, WorkspaceGiven
from app.cli.documents import WorkspaceDocument
from app.cli.judging import Bounds, Report, is_settled, report, verdict
from app.cli.producing import produce_lines
from app.cli.shell import Problem, connection_to, say
from app.config import Config
from db import sql
from schemas.codes import Channel, KillSwitch

if TYPE_CHECKING:
    import asyncpg

LOOK_S: Final = 0.3
TELL_S: Final = 5.0
LOCAL_PARTS: Final = ("kafka", "postgres", "model")
_MODEL_COLUMNS: Final = (
    "draft_model",
    "draft_verification_model",
    "overseer_model",
    "evaluation_model",
    "auto_send_revision_model",
)
# Reviews of made-up messages end by themselves; nothing waits for a burst.
_SETTINGS: Final[dict[str, Any]] = {"quiet_window_s": 0, "review_s_max": 600, "auto_send_revision_enabled": True}

Behave = Callable[[Mapping[str, Any] | None], None]


@asynccontextmanager
async def local_system() -> AsyncIterator[tuple[Config, Behave]]:
    """A stack of our own with one worker and the scripted model, gone afterwards."""
    from app.cli.demonstrating import config_of, workers
    from app.kafka.topics import create_topics
    from app.stack.local import LocalStack
    from db import migrate

    with tempfile.TemporaryDirectory(prefix="draft-pipeline-evaluate-") as folder:
        say("evaluate: starting broker, database, scripted model and a worker of our own")
        async with LocalStack(Path(folder), LOCAL_PARTS) as local:
            config = config_of(local.env)
            await migrate.apply(local.postgres.url)
            await create_topics(config, 1)
            async with workers(local, 1):
                yield config, local.model.behave


@contextmanager
def behaviour_of(stack: Path) -> Iterator[Behave]:
    """Tells the scripted model of a running `up --dir STACK`; its behaviour is put back afterwards."""
    from app.stack.process import write_file

    file = stack / "model.json"
    if not (stack / "model.jsonl").exists():
        raise Problem(f"--stack {stack}: no scripted model runs there; give the folder of `draft-pipeline up`")
    before = file.read_text() if file.exists() else None
    try:
        yield lambda wanted: write_file(file, json.dumps({**json.loads(before or "{}"), **(wanted or {})}))
    finally:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            write_file(file, before)


async def evaluate(
    config: Config, file: CaseFile, bounds: Bounds, *, behave: Behave | None, model: str | None, timeout_s: float
) -> Report:
    """Send every case, wait until all are decided, judge. Without `behave` the model is not ours to direct: cases
    about what a model says are skipped."""
    script = Script(secrets.token_hex(4), datetime.now(UTC), behave is not None)
    cases = [case for case in file.cases if behave is not None or not case.needs_script]
    skipped = [case.id for case in file.cases if behave is None and case.needs_script]
    if behave is not None:
        behave({"cases": script.answers(cases, file.workspaces)})
    async with connection_to(config.database_url) as connection:
        await _refuse_when_off(connection)
        for workspace in file.workspaces.values():
            await provision(connection, workspace, script, model)
        await _make_leads(config, connection, file, script, timeout_s)
        say(f"evaluate: {len(cases)} cases, {len(skipped)} skipped (they need the scripted model: --local or --stack)")
        await produce_lines(
            config, [record for case in cases for record in script.records(case, file.workspaces[case.workspace])]
        )
        rows = await _decided(connection, file.workspace_ids, [script.message_id(case) for case in cases], timeout_s)
    return report([verdict(case, rows.get(script.message_id(case))) for case in cases], skipped, bounds)


async def _refuse_when_off(connection: asyncpg.Connection) -> None:
    """With sending off nothing would be sent, and everything would look safe."""
    rows = await sql.ops.effective_switches.rows(connection)
    off = [
        row["name"]
        for row in rows
        if row["name"] == KillSwitch.AUTO_SEND_DISABLED and (row["disabled"] or row["off_in"])
    ]
    if off:
        raise Problem("AUTO_SEND is off: nothing would be sent, so nothing can be evaluated; switch it on first")


async def provision(
    connection: asyncpg.Connection, workspace: WorkspaceGiven, script: Script, model: str | None
) -> None:
    """The reserved workspace with its knowledge and slots; every channel delivers to nobody."""
    channels = {channel.value: {"adapter": "discard", "from": f"support@{workspace.id}.example"} for channel in Channel}
    models = dict.fromkeys(_MODEL_COLUMNS, model) if model is not None else {}
    given = {**_SETTINGS, **models, **workspace.settings, "channels": channels}
    document = WorkspaceDocument.model_validate(
        {
            "workspace_id": workspace.id,
            "name": "Example Company",
            "default_mode": workspace.mode,
            "threshold": workspace.threshold,
            "settings": given,
            "campaigns": workspace.campaigns,
        }
    )
    async with connection.transaction():
        await apply_document(connection, document, actor="evaluate", reason="evaluate", force=True)
        for entry in workspace.knowledge:
            await sql.ops.add_knowledge.run(
                connection, workspace_id=workspace.id, title=entry.title, text=entry.text, verified=entry.verified
            )
        await sql.ops.clear_calendar.run(connection, workspace_id=workspace.id)
        first = script.slot_of(workspace)
        for hours in workspace.slots_in_h:
            begin = first + timedelta(hours=hours - workspace.slots_in_h[0])
            end = begin + timedelta(minutes=30)
            await sql.ops.add_slot.run(connection, workspace_id=workspace.id, starts_at=begin, ends_at=end)


async def _make_leads(
    config: Config, connection: asyncpg.Connection, file: CaseFile, script: Script, timeout_s: float
) -> None:
    """Other leads are known before any case arrives."""
    made = [each for workspace in file.workspaces.values() for each in script.leads(workspace)]
    if not made:
        return
    await produce_lines(config, [record for _, record in made])
    give_up, ids = time.monotonic() + timeout_s, [name for name, _ in made]
    while await sql.ops.messages_stored.value(connection, workspace_ids=file.workspace_ids, message_ids=ids) < len(ids):
        if time.monotonic() > give_up:
            raise Problem("no worker ingests; see `draft-pipeline lag` and `draft-pipeline doctor`")
        await asyncio.sleep(LOOK_S)


async def _decided(
    connection: asyncpg.Connection, workspaces: Sequence[str], messages: Sequence[str], timeout_s: float
) -> dict[str, dict[str, Any]]:
    """The rows of the messages once all are settled, or time is up."""
    give_up, told_at = time.monotonic() + timeout_s, time.monotonic()
    while True:
        found = await sql.ops.cases_decided.rows(connection, workspace_ids=workspaces, message_ids=messages)
        rows = [dict(row) for row in found]
        settled = sum(is_settled(row) for row in rows)
        if settled == len(messages) or time.monotonic() > give_up:
            return {row["message_id"]: row for row in rows}
        if time.monotonic() - told_at > TELL_S:
            told_at = time.monotonic()
            say(f"evaluate: {settled} of {len(messages)} decided")
        await asyncio.sleep(LOOK_S)


def chosen(file: CaseFile, only: str | None) -> CaseFile:
    """The cases whose id or group holds `only`."""
    if only is None:
        return file
    cases: list[Case] = [case for case in file.cases if only in case.id or only in case.group]
    if not cases:
        raise Problem(f"--only {only}: no case or group has that in its name")
    return CaseFile(file.workspaces, cases)
