"""Named queries. `sql/<table>.sql` holds blocks: `-- name: query(argument, ...)`, a sentence of comment, the statement.

The arguments are the names of $1, $2, ... in order, so that a call reads
`await sql.run.take_lease_if_free.row(connection, run_id=..., owner=..., lease_s=..., phase=...)`.
"""

import re
from importlib.resources import files
from typing import Any

from asyncpg import Record

from db.pool import Executor

_NAME = re.compile(r"^-- name: (\w+)\(([^)]*)\)\n", re.MULTILINE)


class Query:
    """One statement. Arguments are given by name; a missing or unknown one raises TypeError."""

    def __init__(self, name: str, arguments: tuple[str, ...], text: str) -> None:
        self.name, self.arguments, self.text = name, arguments, text

    def _bind(self, given: dict[str, Any]) -> list[Any]:
        if len(given) != len(self.arguments):
            raise TypeError(f"{self.name} takes {', '.join(self.arguments)}; given {', '.join(given)}")
        return [given[argument] for argument in self.arguments]

    async def rows(self, connection: Executor, **given: Any) -> list[Record]:
        return await connection.fetch(self.text, *self._bind(given))

    async def row(self, connection: Executor, **given: Any) -> Record | None:
        return await connection.fetchrow(self.text, *self._bind(given))

    async def one(self, connection: Executor, **given: Any) -> Record:
        """The row that is always there. Raises LookupError when it is not."""
        row = await self.row(connection, **given)
        if row is None:
            raise LookupError(self.name)
        return row

    async def value(self, connection: Executor, **given: Any) -> Any:
        return await connection.fetchval(self.text, *self._bind(given))

    async def run(self, connection: Executor, **given: Any) -> int:
        """Rows changed."""
        status: str = await connection.execute(self.text, *self._bind(given))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0


class Queries:
    """The queries of one file, as attributes."""

    def __init__(self, table: str) -> None:
        parts = _NAME.split(files("db").joinpath("sql", f"{table}.sql").read_text("utf-8"))
        self._by_name = {
            name: Query(name, tuple(argument.strip() for argument in arguments.split(",") if argument.strip()), text)
            for name, arguments, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        }
        if len(self._by_name) * 3 != len(parts) - 1:
            raise ValueError(f"sql/{table}.sql names a query twice")

    def __getattr__(self, name: str) -> Query:
        try:
            return self._by_name[name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Any:
        return iter(self._by_name.values())
