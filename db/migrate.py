"""Migrations: plain SQL, forward only, `migrations/NNNN_name.sql`.

The first lines of a file say `-- NNNN name` and `-- when: before|after the new code`. A line `-- no transaction` lets a
file hold one statement such as CREATE INDEX CONCURRENTLY. An advisory lock lets one process migrate at a time; the
checksum of what was applied is kept, and a file that changed afterwards is refused.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from db.pool import connect

_LOCK = "draft-pipeline:migrate"
_LOOK_S = 0.2
_WHEN = re.compile(r"^-- when: (before|after) the new code$", re.MULTILINE)


class MigrationError(Exception):
    """The migrations on disk and in the database do not fit together."""


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    when: str
    text: str
    transactional: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations in order. Raises MigrationError when one does not say when it runs."""
    found = []
    for path in sorted(files("db").joinpath("migrations").iterdir(), key=lambda entry: entry.name):
        if not path.name.endswith(".sql"):
            continue
        text = path.read_text("utf-8")
        when = _WHEN.search(text)
        if when is None:
            raise MigrationError(f"{path.name} does not say when it runs: add '-- when: before the new code'")
        number, _, name = path.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, when[1], text, "\n-- no transaction\n" not in text))
    return found


async def _applied(connection: asyncpg.Connection) -> dict[int, str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT number, sha256 FROM schema_migration")
    return {row["number"]: row["sha256"] for row in rows}


async def _numbers(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy) -> set[int]:
    if await connection.fetchval("SELECT to_regclass('schema_migration') IS NULL"):
        return set()
    return {row["number"] for row in await connection.fetch("SELECT number FROM schema_migration")}


async def schema_number(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy) -> int:
    """The newest migration in the database, 0 when there is none."""
    return max(await _numbers(connection), default=0)


async def missing(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy, when: str) -> list[int]:
    """The migrations meant for `before` or `after` the new code that the database lacks. This code works with one that
    lacks none of `before`."""
    done = await _numbers(connection)
    return [each.number for each in migrations() if each.when == when and each.number not in done]


async def too_old(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy) -> str | None:
    """One line that says what this code needs and the database lacks; None when it lacks nothing."""
    number, lacks = await schema_number(connection), await missing(connection, "before")
    return f"the database has schema {number}, this version needs {lacks[-1]}: run migrate" if lacks else None


async def apply(url: str, *, when: str | None = None) -> list[Migration]:
    """Apply what is missing over a direct connection; returns what was applied.

    `when` restricts to migrations meant for `before` or `after` the new code. Raises MigrationError when an applied
    file has changed since, and when one of `after` comes before what it builds on.
    """
    connection = await connect(url, application="draft-pipeline migrate")
    try:
        await _lock(connection)
        done, applied = await _applied(connection), []
        for migration in migrations():
            if migration.number in done:
                if done[migration.number] != migration.sha256:
                    raise MigrationError(f"migration {migration.number} changed after it was applied: add a new one")
                continue
            if when == "after" and migration.when == "before":
                raise MigrationError(
                    f"migration {migration.number} is missing: migrate --when before, then the new code"
                )
            if when is None or migration.when == when:
                await _apply_one(connection, migration)
                applied.append(migration)
        return applied
    finally:
        await connection.close()


async def _lock(connection: asyncpg.Connection) -> None:
    """Wait for whoever migrates now. A statement that waits holds a snapshot, which an index that is built CONCURRENTLY
    waits for: the two would wait for one another. So this asks again and again."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", _LOCK):  # noqa: ASYNC110 - the lock has no event
        await asyncio.sleep(_LOOK_S)


async def _apply_one(connection: asyncpg.Connection, migration: Migration) -> None:
    if migration.transactional:
        async with connection.transaction():
            await connection.execute(migration.text)
            await _note(connection, migration)
    else:
        try:
            await connection.execute(migration.text, timeout=None)
        except asyncpg.DuplicateTableError:
            raise MigrationError(
                f"migration {migration.number}: its index is there, left by a build that broke off or was not noted;"
                " drop it (RUNBOOK, Migrations and concurrent indexes) and migrate again"
            ) from None
        await _note(connection, migration)


async def _note(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migration (number, name, sha256) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.sha256,
    )
