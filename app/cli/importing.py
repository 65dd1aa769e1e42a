"""`import-history`: messages and drafts of another system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, Problem, emit, pool_to, run, say

if TYPE_CHECKING:
    from app.config import Config
    from app.history import Checked, Imported

group = typer.Typer()


@group.command(
    "import-history", epilog="Example: draft-pipeline import-history old.jsonl", rich_help_panel="Keep house"
)
def import_history(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, each with a kind: message or draft.")],
    check: Annotated[bool, typer.Option("--check", help="Read the file, write nothing.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Import messages and drafts that another system made. Nothing is drafted, sent or published for them.

    A message has `"kind": "message"` and the fields of inbound-message. A draft has `"kind": "draft"`, `workspace_id`,
    `trigger_message_id`, `content`, `mode`, `status`, `created_at`, and `sent_message_id` when it was sent. Importing a
    file again changes nothing. Afterwards `backfill` gives the drafts the decisions they lack.
    """
    if not file.is_file():
        raise Problem(f"{file}: no such file")

    async def work(config: Config) -> int:
        from app import history

        checked = history.check(file, lambda so_far: say(f"import-history: {so_far.lines} lines checked"))
        _refuse_broken(checked)
        async with pool_to(config.database_url) as pool:
            unknown = await history.unknown_workspaces(pool, checked.workspaces)
            if unknown:
                raise Problem(
                    f"workspace {unknown[0]} is unknown: apply it with `workspace apply`; nothing was imported"
                )
            if check:
                _tell_checked(checked, as_json=as_json)
                return OK
            imported = await history.import_file(pool, file, _progress)
        if as_json:
            emit(imported.as_dict())
        else:
            print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in imported.as_dict().items()))
        return PROBLEM if imported.drafts_without_message else OK

    run(env_file, "database", work)


def _tell_checked(checked: Checked, *, as_json: bool) -> None:
    if as_json:
        emit({"check": True, "lines": checked.lines, "workspaces": checked.workspaces})
    else:
        print(f"{checked.lines} lines can be imported; nothing was")


def _progress(so_far: Imported) -> None:
    drafts = so_far.drafts + so_far.drafts_known + so_far.drafts_without_message
    say(f"import-history: {so_far.messages + so_far.messages_known} messages, {drafts} drafts")


def _refuse_broken(checked: Checked) -> None:
    from app.history import BROKEN_SHOWN_MAX

    for broken in checked.broken[:BROKEN_SHOWN_MAX]:
        say(f"line {broken.line}: {broken.error}")
    if checked.broken:
        raise Problem(f"{len(checked.broken)} of {checked.lines} lines cannot be imported; nothing was")
