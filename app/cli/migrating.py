"""`migrate`: bring the database to the schema of this version."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, connection_to, emit, place_of, run, say

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()

_LOCK_BITS: Final = 62


class When(StrEnum):
    """Which migrations: those meant for before the new code, or for after it."""

    BEFORE = "before"
    AFTER = "after"


@group.command(epilog="Example: draft-pipeline migrate --env-file local.env", rich_help_panel="Run")
def migrate(
    when: Annotated[When | None, typer.Option(help="Only those meant to run before, or after, the new code.")] = None,
    then: Annotated[
        Path | None,
        typer.Option("--then", metavar="FILE", help="SQL to run afterwards, such as deploy/postgres/grants.sql."),
    ] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Apply missing migrations over DIRECT_URL, else DATABASE_URL; says first which database that is."""

    async def work(config: Config) -> int:
        from db.migrate import apply

        await refuse_two_databases(config)
        say(f"migrating {place_of(config.migration_url)}")
        async with connection_to(config.migration_url, "DIRECT_URL" if config.direct_url else "DATABASE_URL"):
            statements = _read(then)
            applied = await apply(config.migration_url or "", when=when)
            await _run_then(config, statements)
        if as_json:
            emit([{"number": each.number, "name": each.name, "when": each.when} for each in applied])
            return OK
        for migration in applied:
            print(f"applied {migration.number:04d} {migration.name}")
        if not applied:
            print("nothing to apply: the schema is up to date")
        return OK

    run(env_file, "migrate", work)


def _read(file: Path | None) -> str | None:
    """The text of `--then`, read before anything is changed."""
    if file is None:
        return None
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"--then: {file} cannot be read ({type(error).__name__}); nothing was changed") from None


async def _run_then(config: Config, statements: str | None) -> None:
    """All of it or nothing, over the connection that migrations take."""
    if statements is None:
        return
    import asyncpg

    try:
        async with connection_to(config.migration_url) as connection, connection.transaction():
            await connection.execute(statements)
    except asyncpg.PostgresError as error:
        raise Problem(
            f"--then: refused ({type(error).__name__}, SQLSTATE {error.sqlstate}); it changed nothing"
        ) from None
    say("ran --then")


async def refuse_two_databases(config: Config) -> None:
    """Raise Problem unless DIRECT_URL and DATABASE_URL reach the same database.

    An advisory lock of one database is seen in that database only. The server's system identifier would not tell a
    physical copy from its original.
    """
    if not (config.direct_url and config.database_url) or config.direct_url == config.database_url:
        return
    marker = secrets.randbits(_LOCK_BITS)
    async with (
        connection_to(config.direct_url, "DIRECT_URL") as direct,
        connection_to(config.database_url, "DATABASE_URL") as pooled,
        direct.transaction(),
        pooled.transaction(),
    ):
        await direct.fetchval("SELECT pg_advisory_xact_lock($1)", marker)
        other = await pooled.fetchval("SELECT pg_try_advisory_xact_lock($1)", marker)
    if other:
        raise Problem(
            f"DIRECT_URL ({place_of(config.direct_url)}) and DATABASE_URL ({place_of(config.database_url)}) reach"
            " different databases; nothing was changed"
        )
