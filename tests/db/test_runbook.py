"""The queries of RUNBOOK.md: every one is understood by the schema as it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from db.pool import connect
from tests.conftest import Database

_BLOCKS = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[2] / "RUNBOOK.md").read_text("utf-8"), re.DOTALL)
STATEMENTS = [
    statement.strip()
    for block in _BLOCKS
    for statement in re.sub(r"^--.*$", "", block, flags=re.MULTILINE).split(";")
    if statement.strip()
]
NAMES = {"RUN": "00000000-0000-0000-0000-000000000001", "DRAFT": "00000000-0000-0000-0000-000000000002"}


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(database.url)
    yield opened
    await opened.close()


async def test_every_query_runs_on_the_schema(connection: asyncpg.Connection) -> None:
    """With its capital placeholders filled in; whatever one changes is undone."""
    assert len(STATEMENTS) > 15
    for statement in STATEMENTS:
        for name, value in NAMES.items():
            statement = statement.replace(f"'{name}'", f"'{value}'")
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{error}: {statement}")
        finally:
            await transaction.rollback()
