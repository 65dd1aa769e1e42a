"""What stands between us and Postgres: nothing, or a pooler that gives each transaction another server connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from app.cli.shell import connection_to

_ROUNDS: Final = 6


@dataclass(frozen=True)
class Path:
    """`moves`: transactions of one client meet several server connections. `refused`: the class of the error that a
    prepared statement met on the way, None when it worked everywhere."""

    moves: bool
    refused: str | None


async def look(url: str | None, variable: str) -> Path:
    """Prepare a statement once and run it in several transactions, with and without another client in the way: while
    that one holds a server connection, a pooler must give us a different one."""
    seen: set[int] = set()
    async with connection_to(url, variable) as ours, connection_to(url, variable) as other:
        try:
            statement = await ours.prepare("SELECT pg_backend_pid() + 0 * $1::int")
            for number in range(_ROUNDS):
                in_the_way = other.transaction()
                if number % 2:
                    await in_the_way.start()
                    await other.fetchval("SELECT 1")
                async with ours.transaction():
                    seen.add(await statement.fetchval(number))
                if number % 2:
                    await in_the_way.rollback()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return Path(moves=True, refused=type(error).__name__)
    return Path(moves=len(seen) > 1, refused=None)
