"""The schema and what it promises by itself, whatever the code above it does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.stack.local import LocalStack
from db import migrate, sql
from db.pool import connect
from db.queries import Query
from tests.conftest import Database, administer
from tests.db.catalog import describe, differences
from tests.db.nonsense import CLAIM, NONSENSE, SEND, SENSE, Nonsense
from tests.db.rows import WORKSPACE, Seeded, seed

QUERIES = [
    pytest.param(query, id=f"{table}.{query.name}")
    for table in sql.__all__
    if table != "Query"
    for query in getattr(sql, table)
]


@pytest.fixture(scope="module")
async def migrated(stack: LocalStack, template_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with the schema, shared by tests that roll back."""
    name = "schema_tests"
    await administer(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    connection = await connect(stack.postgres.url_of(name))
    yield connection
    await connection.close()
    await administer(stack, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def rows(migrated: asyncpg.Connection) -> AsyncIterator[Seeded]:
    """One of each row, gone after the test."""
    transaction = migrated.transaction()
    await transaction.start()
    yield await seed(migrated)
    await transaction.rollback()


OPEN_WORK = ("draft_pipeline_run_open", "draft_pipeline_run_not_well", "draft_claim_unsettled", "message_not_begun")


@pytest.mark.parametrize("query", [each for each in QUERIES if "_if_" in str(each.id)])
async def test_a_write_by_id_is_not_led_through_all_that_is_open(migrated: asyncpg.Connection, query: Query) -> None:
    """Not even where statistics say that nothing is open, as in these empty tables."""
    async with migrated.transaction():
        await migrated.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await migrated.execute(f"PREPARE written AS {query.text}")
        nothing = ", ".join(["NULL"] * len(query.arguments))
        plan = "\n".join(row[0] for row in await migrated.fetch(f"EXPLAIN EXECUTE written({nothing})"))
        await migrated.execute("DEALLOCATE written")
    by_lead = "Index Cond: ((workspace_id ="  # who knows the lead reads what is open of that lead
    assert not [index for index in OPEN_WORK if index in plan and by_lead not in plan], plan


async def test_schema_sql_equals_all_migrations_applied(stack: LocalStack, database: Database) -> None:
    """`schema.sql` is what a database looks like after every migration: tables, checks, functions, seeded rows."""
    await administer(stack, "CREATE DATABASE from_schema_sql")
    first, second = await connect(database.url), await connect(stack.postgres.url_of("from_schema_sql"))
    try:
        await second.execute(files("db").joinpath("schema.sql").read_text())
        assert differences(await describe(first), await describe(second)) == []
    finally:
        await first.close()
        await second.close()
        await administer(stack, "DROP DATABASE from_schema_sql WITH (FORCE)")


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """A second `migrate` applies nothing and leaves every object as it was."""
    connection = await connect(database.url)
    before = await describe(connection)
    assert await migrate.apply(database.url) == []
    assert differences(before, await describe(connection)) == []
    assert await migrate.schema_number(connection) == migrate.migrations()[-1].number
    await connection.close()


async def test_a_migration_that_changed_after_it_was_applied_is_refused(database: Database) -> None:
    """Whoever edits an applied migration is told so before anything runs."""
    connection = await connect(database.url)
    await connection.execute("UPDATE schema_migration SET sha256 = repeat('0', 64) WHERE number = 1")
    with pytest.raises(migrate.MigrationError, match="migration 1 changed"):
        await migrate.apply(database.url)
    await connection.close()


def test_migrations_are_numbered_without_gap_and_say_when_they_run() -> None:
    """Numbers go 1, 2, 3, ... and each file says whether it runs before or after the new code."""
    found = migrate.migrations()
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert {each.when for each in found} <= {"before", "after"}


@pytest.mark.parametrize("query", QUERIES)
async def test_every_named_query_prepares_and_takes_the_arguments_it_names(
    migrated: asyncpg.Connection, query: Query
) -> None:
    """The database accepts each named query, which takes as many parameters as its name line gives names."""
    statement = await migrated.prepare(query.text)
    assert len(statement.get_parameters()) == len(query.arguments)
    assert len(set(query.arguments)) == len(query.arguments)


@pytest.mark.parametrize("query", QUERIES)
def test_every_named_query_has_its_sentence(query: Query) -> None:
    """Each query starts with a comment that says what it is for."""
    assert re.match(r"-- \S.*[.:]", query.text), query.name


def test_every_named_query_is_used() -> None:
    """By an attribute or a name in quotes, in the code that ships."""
    folders = (Path(__file__).parents[2] / each for each in ("agents", "app", "db"))
    code = "\n".join(path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py"))
    used = set(re.findall(r"[.\"](\w+)\b", code))
    assert [each.id for each in QUERIES if str(each.id).partition(".")[2] not in used] == []


# ---- nonsense that the database refuses, and what it must allow


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda each: each.what.replace(" ", "_"))
async def test_the_database_refuses_nonsense(migrated: asyncpg.Connection, rows: Seeded, nonsense: Nonsense) -> None:
    """Each statement that no correct code would send is refused by a constraint or trigger with a name."""
    await migrated.execute(nonsense.before)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await migrated.execute(nonsense.statement)
    assert nonsense.constraint in str(getattr(refused.value, "constraint_name", None))


@pytest.mark.parametrize(("what", "statement", "before"), SENSE, ids=[each[0].replace(" ", "_") for each in SENSE])
async def test_the_database_allows_what_the_pipeline_does(
    migrated: asyncpg.Connection, rows: Seeded, what: str, statement: str, before: str
) -> None:
    """The guards are no tighter than the promise."""
    await migrated.execute(before)
    assert await migrated.execute(statement) == "INSERT 0 1", what


async def test_deleting_a_workspace_takes_everything_of_its_leads_along(
    migrated: asyncpg.Connection, rows: Seeded
) -> None:
    """After `DELETE FROM workspace` no table with text holds a row of it."""
    await migrated.execute(CLAIM)
    await migrated.execute(SEND.format("true", "NULL", "NULL", "sent"))
    await migrated.execute("DELETE FROM workspace WHERE id = $1", WORKSPACE)
    left: list[Any] = []
    for table in ("lead", "message", "draft_pipeline_run", "ai_draft", "delivery", "workspace_settings"):
        left += await migrated.fetch(f"SELECT '{table}' AS name FROM {table} WHERE workspace_id = $1", WORKSPACE)
    assert left == []
