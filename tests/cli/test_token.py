"""`token`: made once, shown once, revoked at once."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest

from app.web.identity import token_hash
from db import sql
from schemas.codes import Role
from tests.cli.conftest import Cli


async def test_a_token_is_shown_once_and_kept_as_a_hash(connection: asyncpg.Connection, cli: Cli) -> None:
    """Stdout has the token and nothing else; the list and the database do not give it back."""
    made = await cli("token", "create", "--name", "nora", "--role", "ops")
    token = made.out.strip()
    assert (made.code, token[:3]) == (0, "dp_")
    row = await connection.fetchrow("SELECT name, role, workspace_id, sha256, one_time FROM api_token")
    assert row is not None
    assert tuple(row) == ("nora", "ops", None, token_hash(token), False)
    listed = await cli("token", "list", "--json")
    assert listed.json[0]["state"] == "works"
    assert token not in listed.out
    assert await connection.fetchval("SELECT count(*) FROM admin_audit WHERE action = 'token-create'") == 1


async def test_a_link_is_good_for_a_quarter_of_an_hour(connection: asyncpg.Connection, cli: Cli) -> None:
    """It leads to the sign-in of PUBLIC_URL."""
    made = await cli("token", "create", "--name", "first", "--role", "super-admin", "--link")
    assert made.out.startswith("http://127.0.0.1:8080/sign-in?link=dp_")
    left = await connection.fetchval("SELECT extract(epoch FROM expires_at - now()) FROM api_token WHERE one_time")
    assert 800 < left <= 900


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--role", "king"), "no such role"),
        (("--role", "workspace_admin"), "--workspace is needed"),
        (("--role", "super_admin", "--workspace", "ws-1"), "has all workspaces"),
        (("--role", "ops", "--workspace", "ws-none"), "is unknown"),
        (("--role", "ops", "--days", "1e9"), "--days"),
        (("--role", "ops", "--days", "nan"), "--days"),
        (("--role", "ops", "--days", "-1"), "--days"),
    ],
)
async def test_a_role_that_does_not_fit_is_refused(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    """One line, and no token."""
    ended = await cli("token", "create", "--name", "n", *arguments)
    assert ended.code in (1, 2)
    assert said in ended.err
    assert ended.out == ""


async def test_revoking_ends_all_of_a_name(connection: asyncpg.Connection, cli: Cli) -> None:
    """By name or id; a second time there is nothing to revoke."""
    for _ in range(2):
        await cli("token", "create", "--name", "nora", "--role", "ops")
    assert (await cli("token", "revoke", "nora")).out.startswith("revoked 2 token(s)")
    assert await connection.fetchval("SELECT count(*) FROM api_token WHERE revoked_at IS NULL") == 0
    assert (await cli("token", "revoke", "nora")).code == 1
    assert "no token yet" in (await cli("token", "list")).out
    assert len((await cli("token", "list", "--all", "--json")).json) == 2


async def test_whom_the_identity_provider_signed_in_is_signed_out_at_once(
    connection: asyncpg.Connection, cli: Cli
) -> None:
    """No token hangs on such a session; it is listed, ended and audited, and nobody else's is touched."""
    for subject in ("oidc:nora", "oidc:nora", "oidc:other"):
        await sql.sign_in.start_session.run(
            connection, session_id=uuid4(), subject=subject, role=Role.SUPER_ADMIN, workspace_id=None, session_s=60.0
        )
    listed = {row["subject"]: row["sessions"] for row in (await cli("token", "sessions", "--json")).json}
    assert listed == {"oidc:nora": 2, "oidc:other": 1}
    assert (await cli("token", "sign-out", "oidc:nora")).out == "ended 2 session(s) of oidc:nora\n"
    assert [row["subject"] for row in (await cli("token", "sessions", "--json")).json] == ["oidc:other"]
    assert (await cli("token", "sign-out", "oidc:nora")).code == 1
    assert await connection.fetchval("SELECT count(*) FROM admin_audit WHERE action = 'sign-out'") == 1
