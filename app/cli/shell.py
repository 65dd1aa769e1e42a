"""What every command shares: options, addresses, connections, output."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    import asyncpg
    from rich.console import Console

    from app.config import Config
    from db.pool import Pool

OK: Final = 0
PROBLEM: Final = 1
WRONG_USE: Final = 2
PIPE_COLUMNS: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline

EnvFile = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="Addresses; what the environment sets goes first.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")]


class Problem(Exception):
    """The command cannot do what it was asked: one line that says what happened and what to do."""

    code = PROBLEM


class WrongUse(Problem):
    """The command was called wrongly."""

    code = WRONG_USE


def run(env_file: Path | None, needs: str, work: Callable[[Config], Coroutine[Any, Any, int]]) -> None:
    """Read the configuration, do the work, end with its exit code."""
    import asyncio
    import logging

    from app.config import NEEDS, load_config

    logging.getLogger().addHandler(logging.NullHandler())  # what a library complains of, the command tells itself
    raise typer.Exit(asyncio.run(work(load_config(env_file, NEEDS[needs]))))


def actor() -> str:
    """Who is at the command line, for the audit."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"operator:{os.getuid()}"


# ---- connections


def place_of(url: str | None) -> str:
    """Host and database of a DSN, never user or password."""
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(url or "")
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"{host}{port}, database {parts.path.lstrip('/') or '(default)'}"


@asynccontextmanager
async def connection_to(url: str | None, variable: str = "DATABASE_URL") -> AsyncIterator[asyncpg.Connection]:
    """One connection for one command. Raises Problem when the server is away."""
    import asyncpg

    from db.pool import connect

    try:
        connection = await connect(url or "", application="draft-pipeline cli")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        what = type(error).__name__
        raise Problem(f"{variable}: no connection to {place_of(url)} ({what}); is Postgres running there?") from None
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def pool_to(url: str | None, size: int = 4) -> AsyncIterator[Pool]:
    """A pool for one command. Raises Problem when the server is away."""
    import asyncpg

    from db.pool import create_pool

    try:
        pool = await create_pool(url or "", size=size, application="draft-pipeline cli")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        what = type(error).__name__
        raise Problem(f"DATABASE_URL: no connection to {place_of(url)} ({what}); is Postgres running there?") from None
    try:
        yield pool
    finally:
        await pool.close()


# ---- output


def say(text: str) -> None:
    """Progress and remarks, on stderr."""
    print(text, file=sys.stderr, flush=True)


def on_screen(text: str) -> str:
    """What a stranger wrote, as it is; on a terminal its control characters are spelled out, for they could erase lines
    above or pass for our words."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text) if sys.stdout.isatty() else text


def emit(value: Any) -> None:
    """A result as JSON on stdout; a terminal obeys no control character in it."""
    told = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", told))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def console(*, stderr: bool = False) -> Console:
    """A terminal keeps its width and colours; a pipe gets wide plain lines."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_COLUMNS, highlight=False, soft_wrap=False)


@contextmanager
def progress(total: int, doing: str) -> Iterator[Callable[[], None]]:
    """A bar on stderr where somebody looks; the function it gives is called after each step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table on stdout. A column whose name ends with `#` holds numbers and is aligned right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*[Text("" if cell is None else on_screen(str(cell))) for cell in row])
    console().print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        print(f"{name:<{width}}  {'-' if value is None else on_screen(str(value))}")


def stamp(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%SZ") if moment else "-"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
