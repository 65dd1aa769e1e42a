"""Views for analysts to Parquet, by day. All days of a view are of one moment; a day is written whole or not at all."""

from collections.abc import AsyncIterator, Callable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import asyncpg
import pyarrow as pa

from app.exporting.files import State, day_file, write_table
from app.exporting.topics import DAY, Exported
from db import sql
from db.pool import Executor

FETCH_ROWS: Final = 5_000
_TYPES: Final = {
    "uuid": pa.string(),
    "text": pa.string(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "double precision": pa.float64(),
    "bigint": pa.int64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "text[]": pa.list_(pa.string()),
}


async def views_by_day(connection: Executor) -> dict[str, list[tuple[str, str]]]:
    """Columns and types of the views that have a day; what is about now (drift) has none and is no history."""
    rows = await sql.analytics.view_columns.rows(connection)
    views = {name: [(row["column"], row["type"]) for row in of] for name, of in groupby(rows, lambda row: row["view"])}
    return {name: columns for name, columns in views.items() if any(column == DAY for column, _ in columns)}


async def export_view(
    connection: asyncpg.Connection,
    root: Path,
    state: State,
    view: str,
    columns: list[tuple[str, str]],
    since: date | None,
    say: Callable[[str], None],
) -> Exported:
    """Write the days of a view from `since` on; days that an interrupted export has written stay as they are."""
    written, exported = state.view(view), Exported(view)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for day, rows in _days(connection, view, columns, since):
            if day.isoformat() in written:
                continue
            write_table(day_file(root, view, day), _table(columns, rows))
            written.append(day.isoformat())
            state.save()
            exported.rows += len(rows)
            exported.days += 1
            say(f"{view} {day} written")
    state.view_done(view)
    return exported


async def _days(
    connection: asyncpg.Connection, view: str, columns: list[tuple[str, str]], since: date | None
) -> AsyncIterator[tuple[date, list[Any]]]:
    """The rows of each day, in an order that does not depend on chance: by every column."""
    names = ", ".join(f'"{name}"' for name, _ in sorted(columns, key=lambda column: column[0] != DAY))
    text = f'SELECT * FROM analytics."{view}" WHERE day >= $1 ORDER BY {names}'  # noqa: S608 - names of the catalog
    day, rows = None, []
    async for row in connection.cursor(text, since or date.min, prefetch=FETCH_ROWS):
        if day is not None and row[DAY] != day:
            yield day, rows
            rows = []
        day = row[DAY]
        rows.append(row)
    if day is not None:
        yield day, rows


def _table(columns: list[tuple[str, str]], rows: list[Any]) -> pa.Table:
    """Without the day, which the folder's name tells."""
    chosen = [(name, _TYPES[kind]) for name, kind in columns if name != DAY]
    arrays = [pa.array([_plain(row[name], kind) for row in rows], kind) for name, kind in chosen]
    return pa.table(arrays, pa.schema([pa.field(name, kind) for name, kind in chosen]))


def _plain(value: Any, kind: pa.DataType) -> Any:
    return str(value) if value is not None and kind == pa.string() else value
