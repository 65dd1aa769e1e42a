"""`slots import` and `slots list`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.shell import (
    OK,
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

    from app.cli.reading_calendars import Reader, Span
    from app.config import Config

group = typer.Typer(name="slots", help="Free appointments that replies may offer.", no_args_is_help=True)

DAYS_DEFAULT: Final = 60
DAYS_MAX: Final = 730
LENGTH_MIN_MAX: Final = 24 * 60

Workspace = Annotated[str, typer.Option("--workspace", metavar="ID", help="Whose calendar.")]
Days = Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="How far ahead.")]


@group.command("import", epilog="Example: draft-pipeline slots import free.ics --workspace ws-1 --length 30 --dry-run")
def import_(
    file: Annotated[Path, typer.Argument(help="An iCalendar file.")],
    workspace: Workspace,
    days: Days = DAYS_DEFAULT,
    length: Annotated[
        int | None,
        typer.Option(min=5, max=LENGTH_MIN_MAX, metavar="MINUTES", help="Cut free time into appointments this long."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times that name none. [default: the workspace's]")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Under which they are kept. [default: the file's name]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring the free appointments of one calendar to what its file says; again changes only what differs.

    An event is free unless it says busy (TRANSP:OPAQUE) or cancelled; what is busy is taken out of what is free.
    Recurrences, time zones, whole days (with --length, within business hours) and VFREEBUSY are understood.
    """
    from app.cli.reading_calendars import FILE_BYTES_MAX, read_calendar

    if not file.is_file():
        raise WrongUse(f"{file} is no file")
    if file.stat().st_size > FILE_BYTES_MAX:
        raise Problem(f"{file} is larger than {FILE_BYTES_MAX // 1024**2} MB; nothing was imported")
    chosen = f"ics:{source or file.name}"

    async def work(config: Config) -> int:
        from app.cli.knowledge import known_workspace
        from db import sql

        async with connection_to(config.database_url) as connection, connection.transaction():
            await known_workspace(connection, workspace)
            reader = await _reader(connection, workspace, file, days, length, timezone)
            wanted, remarks = read_calendar(file.read_bytes(), reader)
            await sql.slot.lock_slots.run(connection, workspace_id=workspace)
            counts = await _bring(connection, workspace, chosen, wanted, reader, dry_run=dry_run)
        _report(counts, remarks, dry_run, as_json)
        return OK

    run(env_file, "database", work)


async def _reader(
    connection: asyncpg.Connection, workspace: str, file: Path, days: int, length: int | None, timezone: str | None
) -> Reader:
    from agents.hard_blocks.zones import region
    from agents.policy import business_hours
    from agents.starting import settings_of
    from app.cli.reading_calendars import Reader, Span
    from db import sql
    from schemas.settings import BusinessHours

    standing = await sql.admin.workspace_standing.one(connection, workspace_id=workspace)
    settings, now = settings_of(standing["settings"]), datetime.now(UTC)
    zone = region(timezone or settings.timezone)
    if zone is None:
        raise WrongUse(f"time zone {timezone or settings.timezone}: use a name such as Europe/Berlin")
    return Reader(
        name=file.name,
        window=Span(now, now + timedelta(days=days)),
        zone=zone,
        length=timedelta(minutes=length) if length is not None else None,
        hours=business_hours(settings) or BusinessHours(),
    )


async def _bring(
    connection: asyncpg.Connection, workspace: str, source: str, wanted: list[Span], reader: Reader, *, dry_run: bool
) -> dict[str, int]:
    """Add what is missing, remove what is gone within the window; counts of what was done."""
    from db import sql

    rows = await sql.slot.slots_of_source.rows(connection, workspace_id=workspace, source=source)
    standing = {(row["starts_at"], row["ends_at"]): row["id"] for row in rows}
    missing = [span for span in wanted if span not in standing]
    within = {key: number for key, number in standing.items() if key[1] <= reader.window.ends_at}
    gone = [number for key, number in within.items() if key not in set(wanted)]
    held = await sql.slot.holds_on.value(connection, slot_ids=gone)
    counts = {
        "added": len(missing),
        "removed": len(gone),
        "unchanged": len(wanted) - len(missing),
        "held_removed": held,
    }
    if not dry_run and (missing or gone):
        await sql.slot.remove_slots.run(connection, slot_ids=gone)
        added = await sql.slot.add_slots.rows(
            connection,
            workspace_id=workspace,
            source=source,
            starts=[span.starts_at for span in missing],
            ends=[span.ends_at for span in missing],
        )
        counts |= {"added": len(added), "unchanged": len(wanted) - len(added)}
        await sql.admin.add_audit.value(
            connection, actor=actor(), via="cli", action="slots.import", workspace_id=workspace, subject=source,
            before=None, after=counts, reason="",
        )  # fmt: skip
    return counts


def _report(counts: dict[str, int], remarks: Counter[str], dry_run: bool, as_json: bool) -> None:
    left_out = {reason: number for reason, number in remarks.items() if number}
    if as_json:
        emit({**counts, "left_out": left_out, "dry_run": dry_run})
        return
    for reason, number in left_out.items():
        say(f"left out, {reason}: {number}")
    if counts["held_removed"]:
        say(f"{counts['held_removed']} of the removed ones are held by drafts: a person is asked about those")
    told = ", ".join(f"{number} {what}" for what, number in counts.items() if what != "held_removed")
    print(f"{'dry run: ' if dry_run else ''}{told}")


@group.command("list", epilog="Example: draft-pipeline slots list --workspace ws-1 --days 14")
def list_(
    workspace: Workspace,
    days: Days = DAYS_DEFAULT,
    free: Annotated[bool, typer.Option("--free", help="Only those that nobody has.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """A workspace's appointments to come, who has them, and what became of its meetings so far."""

    async def work(config: Config) -> int:
        from app.cli.knowledge import known_workspace
        from db import sql

        async with connection_to(config.database_url) as connection:
            await known_workspace(connection, workspace)
            rows = await sql.slot.slot_list.rows(connection, workspace_id=workspace, days=days)
            outcomes = await sql.booking.meeting_outcomes.rows(connection, workspace_ids=[workspace])
        shown: list[Any] = [dict(row) for row in rows if not free or row["state"] == "free"]
        counted = {row["outcome"]: row["tasks"] for row in outcomes}
        if as_json:
            emit({"slots": shown, "meetings": counted})
            return OK
        table = [
            (
                stamp(row["starts_at"]),
                stamp(row["ends_at"]),
                row["state"],
                row["lead_id"],
                row["draft_id"] or row["external_id"],
                row["source"],
            )
            for row in shown
        ]
        show_table(("from", "until", "state", "lead", "by", "source"), table)
        if counted:
            print(f"meetings so far: {', '.join(f'{name} {number}' for name, number in counted.items())}")
        return OK

    run(env_file, "database", work)
