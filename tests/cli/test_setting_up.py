"""`migrate`, `topics` and `doctor`: set up what is there, and say what is not as it should be."""

from __future__ import annotations

import asyncpg

from app.cli.comparing import schema_differences
from app.stack.local import LocalStack
from tests.cli.conftest import Cli
from tests.conftest import Database, administer
from tests.roles import grant, make_roles


async def test_migrate_says_which_database_before_it_changes_it(stack: LocalStack, cli: Cli) -> None:
    """Host and database, never the password."""
    await administer(stack, "CREATE DATABASE empty_one")
    url = stack.postgres.url_of("empty_one")

    first = await cli("migrate", env={"DATABASE_URL": url})
    second = await cli("migrate", "--json", env={"DATABASE_URL": url})
    await administer(stack, "DROP DATABASE empty_one WITH (FORCE)")

    assert first.code == 0, first.err
    assert first.err.splitlines()[0].endswith("database empty_one")
    assert url.split(":")[2].split("@")[0] not in first.err + first.out
    assert "applied 0001 initial" in first.out
    assert second.json == []


async def test_migrate_refuses_two_different_databases(stack: LocalStack, database: Database, cli: Cli) -> None:
    """DIRECT_URL must reach what DATABASE_URL reaches; otherwise nothing is changed."""
    await administer(stack, "CREATE DATABASE another_one")
    direct = stack.postgres.url_of("another_one")

    ended = await cli("migrate", env={"DATABASE_URL": database.url, "DIRECT_URL": direct})
    other = await asyncpg.connect(direct)
    tables = await other.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await other.close()
    await administer(stack, "DROP DATABASE another_one WITH (FORCE)")

    assert ended.code == 1
    assert "different databases; nothing was changed" in ended.err
    assert tables == 0


async def test_migrate_takes_another_way_to_the_same_database(database: Database, cli: Cli) -> None:
    """Two addresses of one database are no contradiction."""
    direct = database.url.replace("127.0.0.1", "localhost")
    ended = await cli("migrate", env={"DATABASE_URL": database.url, "DIRECT_URL": direct})
    assert (ended.code, ended.out.strip()) == (0, "nothing to apply: the schema is up to date")


async def test_topics_are_created_once_and_checked(env: dict[str, str], cli: Cli) -> None:
    """A second `create` creates nothing; `check` finds them as expected."""
    created = await cli("topics", "create", "--json", env=env)
    checked = await cli("topics", "check", "--json", env=env)
    assert (created.code, checked.code) == (0, 0), created.err + checked.err
    assert [each["created"] for each in created.json] == [False] * 7
    assert all(not each["differences"] for each in checked.json)


async def test_an_untouched_schema_has_no_differences(connection: asyncpg.Connection) -> None:
    """What the migrations make is what schema.sql says, by the doctor's own comparison."""
    assert await schema_differences(connection) == []


async def test_a_schema_changed_by_hand_is_named(connection: asyncpg.Connection) -> None:
    """Columns, defaults, checks, indexes, triggers, functions and views are compared; nothing is left behind."""
    await connection.execute(
        "ALTER TABLE lead ALTER COLUMN name SET DEFAULT 'x';"
        "ALTER TABLE ai_interaction DROP CONSTRAINT metadata_textless;"
        "ALTER TABLE workspace ADD COLUMN colour text;"
        "DROP INDEX delivery_one_per_draft;"
        "ALTER TABLE ai_draft DISABLE TRIGGER ai_draft_never_downgraded;"
        "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE VIEW analytics.mine AS SELECT 1 AS one"
    )
    told = " | ".join(await schema_differences(connection))
    for name in ("lead.name", "metadata_textless", "workspace.colour", "delivery_one_per_draft", "ai_draft_never_down",
                 "function append_only", "view mine"):  # fmt: skip
        assert name in told
    schemas = await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'doctor%'")
    assert schemas == 0


async def test_doctor_finds_a_whole_stack_well(
    stack: LocalStack, broker: LocalStack, database: Database, cli: Cli
) -> None:
    """Every dependency answers; only remarks may be left."""
    env = {**stack.env, **broker.env, "DATABASE_URL": database.url, "DIRECT_URL": database.url}
    ended = await cli("doctor", "--json", env=env)
    problems = [check for check in ended.json["checks"] if check["state"] == "PROBLEM"]
    assert (ended.code, problems) == (0, [])
    assert {"postgres", "schema", "topics", "model server", "mail", "slack"} <= {
        c["name"] for c in ended.json["checks"]
    }


async def test_doctor_names_a_role_that_may_not_work_and_a_server_that_takes_no_writes(
    stack: LocalStack, database: Database, cli: Cli
) -> None:
    """Grants that were forgotten, and an address that leads to a standby, are told before anything runs on them."""
    roles = await make_roles(database.url)
    env = {"DATABASE_URL": roles["worker"], "DIRECT_URL": database.url}
    without = await cli("doctor", "--json", env=env)
    await grant(database.url)
    await administer(stack, f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    standby = await cli("doctor", "--json", env=env)
    told = [{c["name"]: c["remedy"] for c in e.json["checks"] if c["state"] == "PROBLEM"} for e in (without, standby)]
    assert "grants.sql" in told[0]["rights"]
    assert "primary" in told[1]["writing"]
    assert "rights" not in told[1]


async def test_doctor_tells_of_web_processes_that_sign_each_others_people_out(
    database: Database, connection: asyncpg.Connection, cli: Cli
) -> None:
    """Without WEB_SECRET each has a key of its own; one alone may have that."""

    async def found(*variables: list[str]) -> list[str]:
        await connection.execute("DELETE FROM process_heartbeat")
        for number, names in enumerate(variables):
            await connection.execute(
                "INSERT INTO process_heartbeat (process_id, role, version, switches, figures, started_at)"
                " VALUES ($1, 'web', '1', '{}', $2, now())",
                f"web-{number}",
                {"variables": names},
            )
        checks = (await cli("doctor", "--json", env={"DATABASE_URL": database.url})).json["checks"]
        return [check["state"] for check in checks if check["name"] == "sign-in"]

    assert await found([]) == []
    assert await found(["WEB_SECRET"], []) == ["PROBLEM"]
    assert await found(["WEB_SECRET"], ["WEB_SECRET"]) == []


async def test_doctor_says_what_to_do(database: Database, cli: Cli) -> None:
    """What does not answer is a problem with a remedy, and the exit code is 1."""
    env = {
        "DATABASE_URL": database.url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "OPENAI_API_KEY": "sk-do-not-tell",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "SMTP_URL": "smtp://user:do-not-tell@127.0.0.1:1",
        "SLACK_BOT_TOKEN": "xoxb-do-not-tell",
        "SLACK_API_URL": "http://127.0.0.1:1/api/",
    }
    ended = await cli("doctor", "--json", env=env)
    problems = {check["name"]: check["remedy"] for check in ended.json["checks"] if check["state"] == "PROBLEM"}
    assert ended.code == 1
    assert {"kafka", "model server", "mail", "slack"} <= set(problems)
    assert all(problems.values())
    assert "do-not-tell" not in ended.out + ended.err
