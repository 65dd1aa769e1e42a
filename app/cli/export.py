"""`export`: result topics and views to Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, connection_to, emit, run, say, show_table

if TYPE_CHECKING:
    from app.config import Config
    from app.exporting.topics import Exported

group = typer.Typer()


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
        from app.exporting.everything import RESULT_TOPICS, NameUnknown, export_everything

        if only is None or set(only) & set(RESULT_TOPICS):
            config.require(frozenset({"KAFKA_BOOTSTRAP_SERVERS"}))
        day = since.date() if since else None
        with _alone(directory):
            async with connection_to(config.database_url) as connection:
                try:
                    exported = await export_everything(
                        config, connection, directory, only, day, lambda text: say(f"export: {text}")
                    )
                except NameUnknown as unknown:
                    known = ", ".join(unknown.known)
                    raise WrongUse(f"nothing is called {unknown.name}; there are {known}") from None
        if as_json:
            emit([asdict(each) for each in exported])
        else:
            _show(exported, directory)
        return OK

    run(env_file, "database", work)


def _show(exported: list[Exported], root: Path) -> None:
    show_table(("name", "new rows#", "days written#"), [(each.name, each.rows, each.days) for each in exported])
    for each in exported:
        if each.passed_by:
            say(f"{each.name}: {each.passed_by} records are no events of ours and were passed by")
    print(
        f"\nread them with DuckDB, pandas, ...: {root}/NAME/day=*/data.parquet; what the fields mean: NAME/_schema.json"
    )


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
