"""`export`: result topics and views to Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, connection_to, emit, run, say, show_table

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config
    from app.exporting.topics import Exported
    from schemas.events import Event

group = typer.Typer()

RESULT_TOPICS: Final = ("draft-evaluated", "revision-result", "draft-outcome")


@group.command(epilog="Example: draft-pipeline export --dir lake --only draft-outcome", rich_help_panel="Analyse")
def export(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the files go; the next call adds to them.")
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="A topic or view; may be repeated.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", formats=["%Y-%m-%d"], help="Days of views before this one are left alone."),
    ] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Write result topics and views as Parquet, a file a day, with their schema beside them. No texts.

    Topics: what is new since the last call is added to its days. Views: their days are written anew. Interrupted, the
    next call goes on where it stopped, with the same result. Topics need Kafka, views and schemas the database.
    """

    async def work(config: Config) -> int:
        config.require(frozenset({"KAFKA_BOOTSTRAP_SERVERS"} if _wants_topics(only) else set()))
        with _alone(directory):
            exported = await _export(config, directory, only, since.date() if since else None)
        if as_json:
            emit([asdict(each) for each in exported])
            return OK
        show_table(("name", "new rows#", "days written#"), [(each.name, each.rows, each.days) for each in exported])
        for each in exported:
            if each.passed_by:
                say(f"{each.name}: {each.passed_by} records are no events of ours and were passed by")
        print(f"\nread them with DuckDB, pandas, ...: {directory}/NAME/day=*/data.parquet; fields: NAME/schema.json")
        return OK

    run(env_file, "database", work)


def _wants_topics(only: list[str] | None) -> bool:
    return only is None or any(name in RESULT_TOPICS for name in only)


async def _export(config: Config, root: Path, only: list[str] | None, since: date | None) -> list[Exported]:
    from app.exporting.files import State
    from app.exporting.topics import export_topic
    from app.exporting.views import export_view, views_by_day

    state, exported = State(root), []
    async with connection_to(config.database_url) as connection:
        views = await views_by_day(connection)
        topics = _events()
        unknown = [name for name in only or () if name not in views and name not in topics]
        if unknown:
            raise WrongUse(f"nothing is called {unknown[0]}; there are {', '.join([*topics, *views])}")
        await _write_schemas(connection, root, [name for name in (*topics, *views) if only is None or name in only])
        for name, event in topics.items():
            if only is None or name in only:
                exported.append(await export_topic(config, root, state, event, _progress()))
        for name, columns in views.items():
            if only is None or name in only:
                exported.append(await export_view(connection, root, state, name, columns, since, _progress()))
    return exported


def _events() -> dict[str, type[Event]]:
    from schemas.events import PUBLIC_EVENTS

    return {name: PUBLIC_EVENTS[name] for name in RESULT_TOPICS}


async def _write_schemas(connection: asyncpg.Connection, root: Path, names: list[str]) -> None:
    from app.dictionary import dictionary
    from app.exporting.files import write_json

    for source in await dictionary(connection):
        name = source.name.removeprefix("analytics.")
        if name in names:
            write_json(root / name / "schema.json", {**source.as_dict(), "partitioned_by": "day"})


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One export at a time in a folder."""
    import fcntl

    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Problem(f"{root}: another export is writing there; wait for it, or choose another --dir") from None
        yield


def _progress() -> Callable[[str], None]:
    return lambda text: say(f"export: {text}")
