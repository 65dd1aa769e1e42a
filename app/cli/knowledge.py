"""`knowledge import`, `list` and `remove`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import (
    OK,
    PROBLEM,
    AsJson,
    EnvFile,
    Problem,
    WrongUse,
    actor,
    connection_to,
    emit,
    run,
    say,
    show_table,
    stamp,
)

if TYPE_CHECKING:
    import asyncpg

    from app.cli.reading_knowledge import Entry, Reading
    from app.config import Config

group = typer.Typer(name="knowledge", help="What replies may be based on.", no_args_is_help=True)

BATCH_ROWS: Final = 500
SHOWN_MAX: Final = 20

Workspace = Annotated[str, typer.Option("--workspace", metavar="ID", help="Whose knowledge.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]


@dataclass(frozen=True)
class Difference:
    """What an import changes. `removed` are ids of entries whose file or heading is gone."""

    added: list[Entry]
    changed: list[Entry]
    removed: list[int]
    unchanged: int


@group.command(
    "import", epilog="Example: draft-pipeline knowledge import ./handbook --workspace ws-1 --verified --dry-run"
)
def import_(
    directory: Annotated[Path, typer.Argument(help="A folder of .md, .txt and .csv files.")],
    workspace: Workspace,
    verified: Annotated[
        bool, typer.Option("--verified", help="The entries are facts: replies may state what they say.")
    ] = False,
    language: Annotated[
        str | None, typer.Option(metavar="TAG", help="Of all entries, such as de. [default: each one's own words tell]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Under which the entries are kept. [default: the folder's name]")
    ] = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a workspace's knowledge to what a folder holds; again changes only what differs.

    Markdown: one entry per heading. Text: one per file. CSV: one per row, with the columns title (or question) and text
    (or answer), and if wanted language and verified. An entry whose file or heading is gone is removed.
    """
    from app.cli.reading_knowledge import read_folder, search_language

    if not directory.is_dir():
        raise WrongUse(f"{directory} is no folder")
    chosen = name if name is not None else directory.resolve().name
    if not chosen or "/" in chosen:
        raise WrongUse("--name must be a word without a slash")
    reading = read_folder(directory, chosen, search_language(language) if language else None, verified)
    _tell(reading)

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            await known_workspace(connection, workspace)
            await sql.knowledge.lock_knowledge.run(connection, workspace_id=workspace)
            difference = await _difference(connection, workspace, chosen, reading.entries)
            if not dry_run:
                await _write(connection, workspace, chosen, difference)
        _report(difference, reading, dry_run, as_json)
        return OK

    run(env_file, "database", work)


def _tell(reading: Reading) -> None:
    """Remarks and problems, one a line. Raises Problem when there is one: nothing is imported then."""
    for line in reading.remarks[:SHOWN_MAX]:
        say(line)
    if reading.problems:
        for line in reading.problems[:SHOWN_MAX]:
            say(line)
        raise Problem(f"{len(reading.problems)} problem(s) in the files; nothing was imported")
    if not reading.entries:
        raise Problem("the folder holds no .md, .txt or .csv file; nothing was imported")


async def known_workspace(connection: asyncpg.Connection, workspace: str) -> None:
    """Raises Problem unless there is such a workspace."""
    from db import sql

    if not await sql.booking.known_workspace.value(connection, workspace_id=workspace):
        raise Problem(f"workspace {workspace} is unknown; `draft-pipeline workspace list` shows all")


async def _difference(
    connection: asyncpg.Connection, workspace: str, name: str, entries: Sequence[Entry]
) -> Difference:
    from db import sql

    rows = await sql.knowledge.entries_of_import.rows(connection, workspace_id=workspace, prefix=f"{name}/")
    standing = {(row["source"], row["title"]): row for row in rows}
    wanted = {entry.key for entry in entries}
    added = [entry for entry in entries if entry.key not in standing]
    changed = [entry for entry in entries if entry.key in standing and _differs(entry, standing[entry.key])]
    removed = [row["id"] for key, row in standing.items() if key not in wanted]
    return Difference(added, changed, removed, len(entries) - len(added) - len(changed))


def _differs(entry: Entry, row: asyncpg.Record) -> bool:
    return (entry.text, entry.language, entry.verified) != (row["text"], row["language"], row["verified"])


async def _write(connection: asyncpg.Connection, workspace: str, name: str, difference: Difference) -> None:
    from db import sql

    entries = [*difference.added, *difference.changed]
    for done in range(0, len(entries), BATCH_ROWS):
        batch = entries[done : done + BATCH_ROWS]
        await sql.knowledge.put_entries.run(
            connection,
            workspace_id=workspace,
            sources=[entry.source for entry in batch],
            titles=[entry.title for entry in batch],
            texts=[entry.text for entry in batch],
            languages=[entry.language for entry in batch],
            verified=[entry.verified for entry in batch],
        )
        if len(entries) > BATCH_ROWS:
            say(f"{done + len(batch)} of {len(entries)} entries")
    await sql.knowledge.remove_entries.run(connection, workspace_id=workspace, ids=difference.removed)
    if entries or difference.removed:
        await _audit(connection, workspace, "knowledge.import", name, _counts(difference))


async def _audit(
    connection: asyncpg.Connection, workspace: str, action: str, subject: str, counts: dict[str, int]
) -> None:
    from db import sql

    await sql.admin.add_audit.value(
        connection,
        actor=actor(),
        via="cli",
        action=action,
        workspace_id=workspace,
        subject=subject,
        before=None,
        after=counts,
        reason="",
    )


def _counts(difference: Difference) -> dict[str, int]:
    return {
        "added": len(difference.added),
        "changed": len(difference.changed),
        "removed": len(difference.removed),
        "unchanged": difference.unchanged,
    }


def _report(difference: Difference, reading: Reading, dry_run: bool, as_json: bool) -> None:
    counts = _counts(difference)
    languages = dict(Counter(entry.language for entry in reading.entries).most_common())
    verified = sum(entry.verified for entry in reading.entries)
    if as_json:
        emit({**counts, "dry_run": dry_run, "languages": languages, "verified": verified, "remarks": reading.remarks})
        return
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    spoken = ", ".join(f"{language} {count}" for language, count in languages.items())
    print(f"{'dry run: ' if dry_run else ''}{told}; {verified} verified; languages: {spoken}")


@group.command("list", epilog="Example: draft-pipeline knowledge list --workspace ws-1 --source handbook/")
def list_(
    workspace: Workspace,
    source: Annotated[str, typer.Option(metavar="PREFIX", help="Only sources that begin so.")] = "",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """A workspace's entries, without their texts."""

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection:
            await known_workspace(connection, workspace)
            rows = await sql.knowledge.entry_list.rows(connection, workspace_id=workspace, prefix=source)
        if as_json:
            emit([dict(row) for row in rows])
            return OK
        table = [
            (
                row["id"],
                row["title"],
                row["language"],
                "verified" if row["verified"] else "",
                row["source"],
                row["chars"],
                stamp(row["updated_at"]),
            )
            for row in rows
        ]
        show_table(("id#", "title", "language", "", "source", "characters#", "since"), table)
        return OK

    run(env_file, "database", work)


@group.command(epilog="Example: draft-pipeline knowledge remove --workspace ws-1 --source handbook/old.md")
def remove(
    workspace: Workspace,
    ids: Annotated[list[int] | None, typer.Argument(help="Entries, as `knowledge list` numbers them.")] = None,
    source: Annotated[str | None, typer.Option(metavar="PREFIX", help="All whose source begins so.")] = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove entries by number or by source. Runs under way keep what they have seen."""
    if bool(ids) == (source is not None) or source == "":
        raise WrongUse("give either entry numbers or --source PREFIX")

    async def work(config: Config) -> int:
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            await known_workspace(connection, workspace)
            await sql.knowledge.lock_knowledge.run(connection, workspace_id=workspace)
            rows = await sql.knowledge.entry_list.rows(connection, workspace_id=workspace, prefix=source or "")
            chosen = [row["id"] for row in rows if source is not None or row["id"] in (ids or ())]
            if not dry_run and chosen:
                await sql.knowledge.remove_entries.run(connection, workspace_id=workspace, ids=chosen)
                await _audit(connection, workspace, "knowledge.remove", source or "ids", {"removed": len(chosen)})
        if as_json:
            emit({"removed": chosen, "dry_run": dry_run})
        else:
            print(f"{'dry run: ' if dry_run else ''}{len(chosen)} removed")
        return OK if chosen else PROBLEM

    run(env_file, "database", work)
