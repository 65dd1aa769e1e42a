"""`migrate` beside another one, beside an index whose build broke off, in two parts, and with something to run after it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from app.worker import StartError, check_start
from db import migrate
from db.pool import connect, create_pool
from tests.cli.conftest import Cli
from tests.conftest import administer
from tests.runbook import section
from tests.story.harness import config_of

INDEX = "followup_task_recent"
ALL = [each.number for each in migrate.migrations()]


@pytest.fixture
async def empty(stack: LocalStack) -> AsyncIterator[str]:
    """A database without a schema."""
    await administer(stack, "CREATE DATABASE to_migrate")
    yield stack.postgres.url_of("to_migrate")
    await administer(stack, "DROP DATABASE to_migrate WITH (FORCE)")


async def _tables(url: str) -> int:
    connection = await connect(url)
    count: int = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return count


async def test_two_at_the_same_time_apply_each_migration_once(empty: str) -> None:
    """The one that waits is not waited for by an index that is built CONCURRENTLY: that would be a deadlock."""
    one, other = await asyncio.gather(migrate.apply(empty), migrate.apply(empty))
    assert sorted(each.number for each in one + other) == ALL


async def test_an_index_whose_build_broke_off_is_dropped_and_built_again(
    connection: asyncpg.Connection, cli: Cli
) -> None:
    """The runbook's query finds it, `migrate` names the heading, and what the runbook says mends it."""
    told = section("Migrations and concurrent indexes")
    (invalid,) = [each for each in told.queries if each.expected is not None]
    await connection.execute("DELETE FROM schema_migration WHERE number = 7")
    await connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", INDEX)
    assert await connection.fetchval(invalid.text) == 1

    refused = await cli("migrate")
    assert refused.code == 1
    assert told.heading in refused.err
    (drop,) = [each for each in told.queries if each.text.startswith("DROP INDEX")]
    await connection.execute(drop.text.replace("NAME", INDEX))
    assert (await cli("migrate")).out == "applied 0007 recent_followups\n"
    assert invalid.holds(await connection.fetchval(invalid.text))


async def test_web_on_a_schema_that_is_too_old_says_so(
    connection: asyncpg.Connection, env: dict[str, str], cli: Cli
) -> None:
    """One line with what to do and exit code 1, as `worker` does; no traceback in the log."""
    await connection.execute("DELETE FROM schema_migration WHERE number = 7")
    ended = await cli("web", "--port", "0", env=env)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == [
        f"draft-pipeline: the database has schema {ALL[-1]}, this version needs 7: run migrate"
    ]


async def test_web_on_a_port_that_is_taken_is_a_problem(env: dict[str, str], cli: Cli) -> None:
    """It names the port; exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await cli("web", "--port", str(port), env=env)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"draft-pipeline: 127.0.0.1:{port}")


def _meant_for(when: str) -> list[int]:
    return [each.number for each in migrate.migrations() if each.when == when]


async def test_each_half_applies_its_own_migrations(empty: str, cli: Cli) -> None:
    """`--when before`, before the new code, applies all that are meant for it, `--when after` the rest, and not first."""
    env = {"DATABASE_URL": empty}
    early = await cli("migrate", "--when", "after", env=env)
    assert (early.code, "--when before" in early.err, await _tables(empty)) == (1, True, 1)
    before = await cli("migrate", "--when", "before", "--json", env=env)
    after = await cli("migrate", "--when", "after", "--json", env=env)
    assert [each["number"] for each in before.json] == _meant_for("before")
    assert [each["number"] for each in after.json] == _meant_for("after")


async def test_a_worker_starts_after_the_first_half_and_not_before_it(empty: str, stack: LocalStack, cli: Cli) -> None:
    """What is meant for after the new code is not waited for; the doctor says that it is due."""
    config = config_of(stack)
    await create_topics(config, 1)
    pool = await create_pool(empty)
    with pytest.raises(StartError, match=f"has schema 0, this version needs {_meant_for('before')[-1]}: run migrate"):
        await check_start(config, pool)
    await migrate.apply(empty, when="before")
    await check_start(config, pool)
    await pool.close()
    told = await cli("doctor", env={"DATABASE_URL": empty})
    assert "--when after" in told.out


async def test_what_is_meant_for_after_the_new_code_waits_for_it(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration of each kind: the first half leaves the second one's out, and nothing is applied twice."""
    found = migrate.migrations()
    last = replace(found[-1], number=found[-1].number + 1, name="last", when="after", text="DROP TABLE send_pace")
    monkeypatch.setattr(migrate, "migrations", lambda: [*found, last])
    assert last not in await migrate.apply(empty, when="before")
    assert last in await migrate.apply(empty, when="after")
    assert await migrate.apply(empty) == []


async def test_then_runs_a_file_after_the_migrations(empty: str, cli: Cli, tmp_path: Path) -> None:
    """All of it, in the database that was migrated."""
    (tmp_path / "then.sql").write_text("CREATE TABLE then_one (); COMMENT ON TABLE message IS 'then'")
    ended = await cli("migrate", "--then", "then.sql", env={"DATABASE_URL": empty})
    assert (ended.code, "ran --then" in ended.err) == (0, True)
    connection = await connect(empty)
    assert await connection.fetchval("SELECT obj_description('message'::regclass)") == "then"
    await connection.close()


async def test_then_runs_all_of_its_file_or_nothing(empty: str, cli: Cli, tmp_path: Path) -> None:
    """A statement that is refused undoes those before it, and its text is not shown; the migrations stay."""
    (tmp_path / "then.sql").write_text("CREATE TABLE then_one (); INSERT INTO kill_switch (name) VALUES ('a secret')")
    ended = await cli("migrate", "--then", "then.sql", env={"DATABASE_URL": empty})
    assert ended.code == 1
    assert "--then: refused (CheckViolationError" in ended.err
    assert "secret" not in ended.err
    connection = await connect(empty)
    assert await connection.fetchval("SELECT to_regclass('then_one')") is None
    assert await migrate.schema_number(connection) == ALL[-1]
    await connection.close()


async def test_a_file_that_cannot_be_read_changes_nothing(empty: str, cli: Cli) -> None:
    """It is read before the first migration."""
    ended = await cli("migrate", "--then", "nowhere.sql", env={"DATABASE_URL": empty})
    assert (ended.code, "nothing was changed" in ended.err, await _tables(empty)) == (1, True, 0)
