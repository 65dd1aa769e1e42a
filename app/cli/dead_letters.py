"""`dead-letters list`, `show` and `retry`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
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
    show_fields,
    show_table,
)

if TYPE_CHECKING:
    import asyncpg

    from app.cli.letters import Letter
    from app.config import Config

group = typer.Typer(
    name="dead-letters", help="What could not be used: see why, and try it again.", no_args_is_help=True
)

_PLACE: Final = re.compile(r"(\d+):(\d+)")

Reason = Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only letters with this reason code.")]
Topic = Annotated[str | None, typer.Option("--topic", help="Only letters that came from this topic.")]


@group.command("list", epilog="Example: draft-pipeline dead-letters list --reason unknown_workspace")
def list_(
    reason: Reason = None,
    topic: Topic = None,
    limit: Annotated[int, typer.Option(min=0, help="Letters to name, newest first.")] = 20,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Letters by reason and topic, and the newest one by one."""

    async def work(config: Config) -> int:
        letters = [replace(each, value=None) async for each in _matching(config, reason, topic)]
        counts = Counter((letter.reason, letter.topic) for letter in letters)
        newest = sorted(letters, key=lambda letter: letter.timestamp_ms, reverse=True)[:limit]
        if as_json:
            rows = [{"reason": name, "topic": source, "letters": count} for (name, source), count in counts.items()]
            emit({"total": len(letters), "by_reason": rows, "newest": [_as_json(letter) for letter in newest]})
            return OK
        if not letters:
            print("no dead letters")
            return OK
        show_table(("reason", "topic", "letters#"), [(*pair, count) for pair, count in counts.most_common()])
        print()
        columns = ("place", "at", "reason", "error", "bytes#", "from")
        show_table(columns, [_row(letter) for letter in newest])
        print("\nnext: draft-pipeline dead-letters show PLACE, or retry --reason CODE --dry-run")
        return OK

    run(env_file, "kafka", work)


async def _matching(config: Config, reason: str | None, topic: str | None) -> AsyncIterator[Letter]:
    from app.cli.letters import read_letters

    async for letter in read_letters(config):
        if reason in (None, letter.reason) and topic in (None, letter.topic):
            yield letter


def _when(letter: Letter) -> str:
    return datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _origin(letter: Letter) -> str:
    return f"{letter.topic} {letter.headers.get('dlq_partition', '?')}:{letter.headers.get('dlq_offset', '?')}"


def _row(letter: Letter) -> tuple[object, ...]:
    error = letter.headers.get("dlq_error", "")
    return letter.place, _when(letter), letter.reason, error, letter.size, _origin(letter)


def _as_json(letter: Letter) -> dict[str, object]:
    return {
        "place": letter.place,
        "at": _when(letter),
        "bytes": letter.size,
        "original_kept": letter.original_kept,
        **letter.headers,
    }


@group.command(epilog="Example: draft-pipeline dead-letters show 0:17")
def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="As `list` names it.")],
    raw: Annotated[bool, typer.Option("--raw", help="The original bytes, on stdout; they hold personal data.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """One letter; its content is masked unless --raw."""
    partition, offset = _parse(place)

    async def work(config: Config) -> int:
        import sys

        from app.cli.letters import described

        letter = await _find(config, partition, offset)
        if raw:
            sys.stdout.buffer.write(letter.value or b"")
            return OK
        content = described(letter.value)
        if as_json:
            emit({**_as_json(letter), "content": content})
            return OK
        show_fields({"place": letter.place, "at": _when(letter), **letter.headers})
        print("\ncontent (masked; --raw shows it)")
        show_fields(content if isinstance(content, dict) else {"value": content})
        return OK

    run(env_file, "kafka", work)


def _parse(place: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise WrongUse(f"{place!r} is no place; it looks like 0:17")
    return int(found[1]), int(found[2])


async def _find(config: Config, partition: int, offset: int) -> Letter:
    from app.cli.letters import read_letters

    async for letter in read_letters(config, {partition: offset}):
        if letter.offset == offset:
            return letter
        break
    raise Problem(f"no letter is at {partition}:{offset}; `draft-pipeline dead-letters list` names them")


@group.command(epilog="Example: draft-pipeline dead-letters retry --reason unknown_workspace --dry-run")
def retry(
    places: Annotated[list[str] | None, typer.Argument(metavar="PARTITION:OFFSET...", help="Or --reason.")] = None,
    reason: Reason = None,
    topic: Topic = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were retried before.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Send letters once more, the original bytes and key, to the topic they came from."""
    if bool(places) == (reason is not None):
        raise WrongUse("name letters as PARTITION:OFFSET, or give --reason")
    wanted = [_parse(place) for place in places or ()]

    async def work(config: Config) -> int:
        from app.cli.relettering import resend

        config.require(frozenset({"DATABASE_URL"}))
        letters = [await _find(config, *place) for place in wanted]
        if reason is not None:
            letters = [each async for each in _matching(config, reason, topic)]
        async with connection_to(config.database_url) as connection:
            done_before = set() if again or wanted else await _retried(connection)
            chosen = [each for each in letters if each.original_kept and each.place not in done_before]
            sent = [] if dry_run else await resend(config, connection, chosen, actor())
        _say_skipped(letters, done_before)
        if as_json:
            emit({"dry_run": dry_run, "chosen": [_as_json(each) for each in chosen], "sent": len(sent)})
        elif dry_run:
            show_table(("place", "at", "reason", "error", "bytes#", "from"), [_row(each) for each in chosen])
            print(f"dry run: {len(chosen)} letters would be sent, none was")
        else:
            print(f"sent {len(sent)} of {len(chosen)} letters")
        return OK if dry_run or len(sent) == len(chosen) else PROBLEM

    run(env_file, "kafka", work)


async def _retried(connection: asyncpg.Connection) -> set[str]:
    from app.cli.relettering import ACTION, UNSENT
    from db import sql

    return {row["subject"] for row in await sql.ops.subjects_of_action.rows(connection, action=ACTION, undone=UNSENT)}


def _say_skipped(letters: list[Letter], done_before: set[str]) -> None:
    before = sum(letter.place in done_before for letter in letters)
    lost = sum(not letter.original_kept for letter in letters)
    if before:
        say(f"{before} letters were retried before; --again sends them too")
    if lost:
        say(f"{lost} letters hold only a hash: their originals stand at the place that `show` names")
