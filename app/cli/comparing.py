"""The live schemas against `schema.sql`, which is built beside them in a transaction that is rolled back."""

from __future__ import annotations

import re
import secrets
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from db import sql

if TYPE_CHECKING:
    import asyncpg

Catalogue = dict[str, str]
_OURS_ONLY: Final = "schema_migration"  # written by `migrate`, not part of schema.sql
_STATEMENT_S_MAX: Final = 30
ANALYTICS: Final = "analytics"


class _Undo(Exception):
    """Ends the transaction that built the schema."""


async def schema_differences(connection: asyncpg.Connection) -> list[str]:
    """What the live schemas have otherwise: columns, defaults, constraints, indexes, triggers, functions, views; empty
    when nothing.

    Raises asyncpg.InsufficientPrivilegeError where the role may not create a schema.
    """
    live = await connection.fetchval("SELECT current_schema()")
    found: dict[str, Catalogue] = {}
    try:
        async with connection.transaction():
            found["live"] = await _catalogue(connection, live, ANALYTICS)
            found["expected"] = await _built(connection)
            raise _Undo
    except _Undo:
        return _differences(found["live"], found["expected"])


async def _built(connection: asyncpg.Connection) -> Catalogue:
    """The catalogue of schema.sql in a schema of its own; its second schema gets another name as well."""
    name = f"doctor_{secrets.token_hex(6)}"
    text = re.sub(rf"\b{ANALYTICS}\b", f"{name}_{ANALYTICS}", files("db").joinpath("schema.sql").read_text("utf-8"))
    await connection.execute(f"CREATE SCHEMA {name}")
    await connection.execute(f"SET LOCAL search_path = {name}")
    await connection.execute(text, timeout=_STATEMENT_S_MAX)
    return await _catalogue(connection, name, f"{name}_{ANALYTICS}")


async def _catalogue(connection: asyncpg.Connection, schema: str, analytics: str) -> Catalogue:
    """Name to definition of everything in a schema, and of the views beside it; the schemas' own names taken out."""

    def plain(definition: object) -> str:
        """Views name the tables of the live schema, wherever they are built."""
        return re.sub(rf"\b({schema}|{analytics}|{ANALYTICS}|public)\.", "", str(definition))

    found: Catalogue = {}
    for row in await sql.ops.columns_of.rows(connection, schema=schema):
        found[f"column {row['table']}.{row['column']}"] = plain(_column(row))
    for row in await sql.ops.constraints_of.rows(connection, schema=schema):
        found[f"constraint {row['name']} on {row['table']}"] = plain(row["definition"])
    for row in await sql.ops.indexes_of.rows(connection, schema=schema):
        valid = "" if row["valid"] else " (INVALID: build it again)"
        found[f"index {row['name']} on {row['table']}"] = plain(row["definition"]) + valid
    for row in await sql.ops.triggers_of.rows(connection, schema=schema):
        found[f"trigger {row['name']} on {row['table']}"] = "fires" if row["enabled"] else "is switched off"
    for row in await sql.ops.functions_of.rows(connection, schema=schema):
        found[f"function {row['name']}"] = plain(row["definition"])
    for place in (schema, analytics):
        for row in await sql.ops.views_of.rows(connection, schema=place):
            found[f"view {row['name']}"] = plain(row["definition"])
    return {name: definition for name, definition in found.items() if _OURS_ONLY not in name}


def _column(row: asyncpg.Record) -> str:
    required = " NOT NULL" if row["required"] else ""
    return f"{row['type']}{required}" + (f" DEFAULT {row['default']}" if row["default"] is not None else "")


def _differences(live: Catalogue, expected: Catalogue) -> list[str]:
    missing = [f"{name} is missing" for name in expected.keys() - live.keys()]
    extra = [f"{name} is not in schema.sql" for name in live.keys() - expected.keys()]
    other = [
        f"{name} is {live[name]!r}, expected {expected[name]!r}"
        for name in expected.keys() & live.keys()
        if live[name] != expected[name]
    ]
    return sorted(missing) + sorted(other) + sorted(extra)
