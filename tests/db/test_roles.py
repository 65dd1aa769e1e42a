"""The four database roles: each may do its work and nothing else. The worker's whole work is a story of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.stack.local import LocalStack
from db import migrate, sql
from db.pool import connect
from tests.conftest import administer
from tests.roles import DEPLOY, grant, make_roles

NAME = "roles"
ROOT = DEPLOY.parent.parent
# Modules by whose process runs them; agents that `web` calls, too; and the commands that are the owner's.
MODULES = {
    "worker": ("agents/", "app/worker", "app/relay", "app/deliveries", "app/housekeeping", "app/leases", "app/ingest",
               "app/kafka/", "app/slack/posting", "app/review/showing", "app/review/refusal"),
    "web": ("app/web/", "app/cli/", "app/metrics/", "app/relay", "app/control/", "agents/outside_bookings",
            "agents/requesting", "agents/outcomes", "app/retention", "app/review/", "agents/approval", "agents/strangers"),
}  # fmt: skip
OWNERS = {"agents/backfill.py", "agents/quarantine.py", "app/cli/migrating.py", "app/cli/suppression.py"}


@pytest.fixture(scope="module")
async def urls(stack: LocalStack) -> AsyncIterator[dict[str, str]]:
    """A database that the owner migrated and granted; the address of each role."""
    await administer(stack, f"CREATE DATABASE {NAME}")
    roles = await make_roles(stack.postgres.url_of(NAME))
    await migrate.apply(roles["owner"])
    await grant(roles["owner"])
    owner = await connect(roles["owner"])
    await owner.execute(
        "CREATE VIEW analytics.sizes AS SELECT workspace_id, count(*) AS messages FROM message GROUP BY 1"
    )
    await owner.close()
    await grant(roles["owner"])
    yield roles
    await administer(stack, f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture(params=["worker", "web", "analyst"])
async def role(urls: dict[str, str], request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(urls[request.param])
    yield opened
    await opened.close()


async def refused(urls: dict[str, str], role: str, statement: str) -> None:
    """Postgres says no, whatever the rows."""
    connection = await connect(urls[role])
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_every_table_is_named_in_the_grants(urls: dict[str, str]) -> None:
    """A new table needs a decision about who may touch it."""
    text = (DEPLOY / "grants.sql").read_text("utf-8")
    granted = set(re.findall(r"[a-z_]+", ",".join(re.findall(r"GRANT[^;]*? ON ([^;]*?)\sTO\s", text))))
    connection = await connect(urls["owner"])
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert {row["tablename"] for row in rows} - granted == set()


def used_by(role: str) -> set[str]:
    """`file.query` of every statement that the modules of this role's process name."""
    found = set()
    for path in (path for folder in ("agents", "app") for path in (ROOT / folder).rglob("*.py")):
        where = str(path.relative_to(ROOT))
        if any(where.startswith(start) for start in MODULES[role]) and where not in OWNERS:
            found |= set(re.findall(r"\bsql\.(\w+\.\w+)\.(?:run|row|one|rows|value)\b", path.read_text("utf-8")))
    return found


@pytest.mark.parametrize("name", ["worker", "web"])
async def test_a_role_may_run_every_statement_of_its_process(urls: dict[str, str], name: str) -> None:
    """Postgres looks at rights before it looks at rows, so planning each statement as the role is enough."""
    connection = await connect(urls[name])
    wanted, failed = used_by(name), []
    for each in sorted(wanted):
        file, _, query = each.partition(".")
        statement = getattr(getattr(sql, file), query)
        await connection.execute(f"PREPARE tried AS {statement.text}")
        nothing = f"({', '.join(['NULL'] * len(statement.arguments))})" if statement.arguments else ""
        try:
            await connection.execute(f"EXPLAIN EXECUTE tried{nothing}")
        except asyncpg.InsufficientPrivilegeError as error:
            failed.append(f"{each}: {error}")
        await connection.execute("DEALLOCATE tried")
    await connection.close()
    assert len(wanted) > 40
    assert failed == []


async def test_the_owner_owns_everything(urls: dict[str, str]) -> None:
    """Tables belong to the role that migrates, not to a superuser; it may compare the schema as doctor does."""
    connection = await connect(urls["owner"])
    owners = await connection.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tableowner"] for row in owners] == ["draft_pipeline_owner"]
    async with connection.transaction():
        await connection.execute("CREATE SCHEMA doctor_looks")
    await connection.execute("DROP SCHEMA doctor_looks")
    await connection.close()


async def test_nobody_else_makes_or_drops_anything(role: asyncpg.Connection) -> None:
    """No table, no temporary one, no schema, no trigger switched off."""
    for statement in (
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE public.message",
        "TRUNCATE public.message",
        "ALTER TABLE public.delivery DISABLE TRIGGER ALL",
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await role.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workspace_settings SET auto_send_revision_enabled = true",
        "UPDATE kill_switch SET disabled = false",
        "INSERT INTO confidence_policy_revision (scope, created_by, reason) VALUES ('global', 'x', 'x')",
        "INSERT INTO admin_audit (actor, via, action, subject) VALUES ('x', 'x', 'x', 'x')",
        "DELETE FROM admin_audit",
        "SELECT * FROM api_token",
        "DELETE FROM message",
        "DELETE FROM draft_claim",
        "UPDATE draft_pipeline_artifact SET text = ''",
        "INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), 'x', 'x', 'web', 'approve')",
    ],
)
async def test_a_worker_changes_no_setting_and_no_record_of_who_did_what(urls: dict[str, str], statement: str) -> None:
    """What a person decides stays out of reach of the process that reads mail from strangers."""
    await refused(urls, "worker", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE message SET body = ''",
        "INSERT INTO delivery (id) VALUES (gen_random_uuid())",
        "UPDATE delivery SET content = '', recipient = ''",
        "UPDATE review_action SET actor = ''",
        "UPDATE draft_claim SET settled_at = NULL",
        "UPDATE model_call SET status = 'refused'",
        "DELETE FROM admin_audit",
        "UPDATE confidence_policy_revision SET reason = ''",
        "DELETE FROM review_action",
    ],
)
async def test_web_sends_nothing_and_rewrites_no_record(urls: dict[str, str], statement: str) -> None:
    """It writes decisions and events; the worker carries them out."""
    await refused(urls, "web", statement)


@pytest.mark.parametrize(
    "table",
    ["message", "ai_draft", "lead", "draft_pipeline_artifact", "delivery", "api_token", "outbox", "review_action"],
)
async def test_an_analyst_reads_no_text(urls: dict[str, str], table: str) -> None:
    """No table at all."""
    await refused(urls, "analyst", f"SELECT * FROM public.{table}")


async def test_an_analyst_reads_the_views_and_writes_nothing(urls: dict[str, str]) -> None:
    """Views of schema `analytics` are found without naming it, and nothing can be written even where it would be allowed."""
    connection = await connect(urls["analyst"])
    assert await connection.fetch("SELECT * FROM sizes") == []
    assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
    await connection.close()
    await refused(urls, "analyst", "CREATE VIEW analytics.mine AS SELECT 1")
