"""`workspace apply`: what a file says becomes true, once, audited, and never over somebody's later decision."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.cli.applying import Applied, apply_document
from app.cli.documents import WorkspaceDocument, read_documents
from app.cli.shell import Problem
from db import sql
from db.pool import connect
from schemas.settings import WorkspaceSettings
from tests.cli.conftest import Cli
from tests.conftest import Database

DOCUMENT: dict[str, Any] = {
    "workspace_id": "ws-1",
    "name": "One",
    "default_mode": "AI_AUTO_SEND",
    "threshold": 0.85,
    "settings": {"auto_send_revision_enabled": True, "monthly_budget_usd": "12.5"},
    "quiet_window_s": 1,
    "channels": {"chat": {"webhook_url": "https://hooks.example.com/", "webhook_secret": "do-not-tell"}},
    "campaigns": [{"campaign_id": "c-1", "name": "Spring", "mode": "DRAFT_ONLY"}],
}


async def applied(connection: asyncpg.Connection, document: dict[str, Any], *, force: bool = False) -> Applied:
    async with connection.transaction():
        read = WorkspaceDocument.model_validate(document)
        return await apply_document(connection, read, actor="test", reason="test", force=force)


async def decided_elsewhere(connection: asyncpg.Connection, column: str, before: Any, after: Any) -> None:
    """A super-admin changes a column on the control page."""
    await sql.admin.change_settings.run(connection, workspace_id="ws-1", changes={column: after})
    await sql.admin.add_audit.value(
        connection,
        actor="ada",
        via="web",
        action="set",
        workspace_id="ws-1",
        subject=column,
        before=before,
        after=after,
        reason="roll-out",
    )


async def setting(connection: asyncpg.Connection, column: str) -> Any:
    standing = await sql.admin.workspace_standing.one(connection, workspace_id="ws-1")
    return standing["settings"][column]


async def test_a_new_workspace_is_what_its_document_says(connection: asyncpg.Connection) -> None:
    """Mode, settings, channels, campaigns and threshold are all in force after one apply."""
    result = await applied(connection, DOCUMENT)

    standing = await sql.admin.workspace_standing.one(connection, workspace_id="ws-1")
    policy = await sql.admin.policy_in_force.one(connection, workspace_id="ws-1", campaign_id=None)
    settings = WorkspaceSettings.model_validate(standing["settings"])
    assert result.created
    assert (standing["name"], standing["default_mode"]) == ("One", "AI_AUTO_SEND")
    assert settings.auto_send_revision_enabled
    assert settings.quiet_window_s == 1
    assert settings.channels == DOCUMENT["channels"]
    assert standing["campaigns"]["c-1"]["mode"] == "DRAFT_ONLY"
    assert (policy["scope"], policy["auto_send_threshold"], policy["booking_threshold"]) == ("workspace", 0.85, 0.8)


async def test_applying_again_changes_and_audits_nothing(connection: asyncpg.Connection) -> None:
    """The second apply of the same file writes no row at all."""
    await applied(connection, DOCUMENT)
    audits = await connection.fetchval("SELECT count(*) FROM admin_audit")
    policies = await connection.fetchval("SELECT count(*) FROM confidence_policy_revision")

    again = await applied(connection, DOCUMENT)

    assert (again.created, again.changed, again.kept) == (False, [], [])
    assert await connection.fetchval("SELECT count(*) FROM admin_audit") == audits
    assert await connection.fetchval("SELECT count(*) FROM confidence_policy_revision") == policies


async def test_only_what_differs_is_changed_and_audited(connection: asyncpg.Connection) -> None:
    """One changed field is one change, with its values before and after."""
    await applied(connection, DOCUMENT)

    result = await applied(connection, {**DOCUMENT, "quiet_window_s": 3})

    assert [(change.subject, change.before, change.after) for change in result.changed] == [
        ("quiet_window_s", 1.0, 3.0)
    ]
    row = (await connection.fetch("SELECT * FROM admin_audit ORDER BY id DESC LIMIT 1"))[0]
    assert (row["subject"], row["before"], row["after"], row["via"]) == ("quiet_window_s", 1.0, 3.0, "cli-apply")


async def test_what_a_document_does_not_name_stays(connection: asyncpg.Connection) -> None:
    """A shorter document resets neither settings nor campaigns nor the threshold."""
    await applied(connection, DOCUMENT)

    result = await applied(connection, {"workspace_id": "ws-1", "name": "Uno"})

    assert [change.subject for change in result.changed] == ["name"]
    assert await setting(connection, "auto_send_revision_enabled") is True


async def test_a_value_changed_in_the_control_plane_is_kept_unless_forced(connection: asyncpg.Connection) -> None:
    """Only --force overwrites what somebody decided after the last apply; the rest of the file is applied."""
    await applied(connection, DOCUMENT)
    await decided_elsewhere(connection, "auto_send_revision_enabled", True, False)

    kept = await applied(connection, {**DOCUMENT, "quiet_window_s": 2})
    assert [(change.subject, change.kept_for) for change in kept.kept] == [
        ("auto_send_revision_enabled", "ada via web")
    ]
    assert [change.subject for change in kept.changed] == ["quiet_window_s"]
    assert await setting(connection, "auto_send_revision_enabled") is False

    await applied(connection, DOCUMENT, force=True)
    assert await setting(connection, "auto_send_revision_enabled") is True


async def test_after_a_forced_apply_the_file_is_master_again(connection: asyncpg.Connection) -> None:
    """The newest audit row decides, not the oldest."""
    await applied(connection, DOCUMENT)
    await decided_elsewhere(connection, "auto_send_revision_enabled", True, False)
    await applied(connection, DOCUMENT, force=True)

    changed = await applied(connection, {**DOCUMENT, "settings": {"auto_send_revision_enabled": False}})

    assert [change.subject for change in changed.changed] == ["auto_send_revision_enabled"]


async def test_a_threshold_from_the_command_line_is_kept(connection: asyncpg.Connection, cli: Cli) -> None:
    """`policy apply` is a decision of its own; the file does not take it back."""
    await applied(connection, DOCUMENT)
    await cli("policy", "apply", "--workspace", "ws-1", "--threshold", "0.95", "--reason", "too bold")

    result = await applied(connection, DOCUMENT)

    assert [change.subject for change in result.kept] == ["auto_send_threshold"]


async def test_no_secret_reaches_audit_or_terminal(connection: asyncpg.Connection, cli: Cli, tmp_path: Path) -> None:
    """A webhook's secret is stored, and shown nowhere."""
    file = tmp_path / "workspaces.json"
    file.write_text(json.dumps([DOCUMENT]))

    ended = await cli("workspace", "apply", str(file))
    shown = await cli("workspace", "show", "ws-1", "--json")

    assert ended.code == 0, ended.err
    assert "do-not-tell" not in ended.out + ended.err + shown.out
    assert shown.json["settings"]["channels"]["chat"]["webhook_secret"] == "(set)"
    assert await connection.fetchval("SELECT count(*) FROM admin_audit t WHERE t::text LIKE '%do-not-tell%'") == 0


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"settings": {"auto_send_revison_enabled": True}}, "auto_send_revison_enabled"),
        ({"quite_window_s": 1}, "quite_window_s"),
        ({"threshold": 1.5}, "threshold"),
        ({"default_mode": "ON"}, "default_mode"),
        ({"channels": {"fax": {}}}, "fax"),
        ({"settings": {"quiet_window_s": "soon"}}, "quiet_window_s"),
        ({"settings": {"timezone": "Europe/Atlantis"}}, "timezone"),
        ({"settings": {"quiet_window_s": 1}, "quiet_window_s": 2}, "quiet_window_s"),
    ],
)
def test_a_document_that_makes_no_sense_names_workspace_and_field(extra: dict[str, Any], named: str) -> None:
    """The error says where to look."""
    with pytest.raises(Problem, match=f"workspace ws-1: .*{named}"):
        read_documents(json.dumps({"workspace_id": "ws-1", **extra}))


async def test_a_file_with_one_mistake_changes_nothing(
    connection: asyncpg.Connection, cli: Cli, tmp_path: Path
) -> None:
    """All documents are read before the first is applied; what the database refuses takes all of it back."""
    file = tmp_path / "workspaces.json"
    file.write_text(json.dumps([DOCUMENT, {"workspace_id": "ws-2", "nonsense": 1}]))
    unread = await cli("workspace", "apply", str(file))
    file.write_text(json.dumps([DOCUMENT, {"workspace_id": "ws-2", "quiet_window_s": -1}]))
    refused = await cli("workspace", "apply", str(file))

    assert (unread.code, refused.code) == (1, 1)
    assert "ws-2" in unread.err
    assert "quiet_window_s" in refused.err
    assert await connection.fetchval("SELECT count(*) FROM workspace") == 0


async def test_two_applies_at_once_leave_one_policy(database: Database) -> None:
    """The second waits for the first and finds nothing to do."""
    connections = [await connect(database.url) for _ in range(4)]
    results = await asyncio.gather(*(applied(each, DOCUMENT) for each in connections))
    policies = await connections[0].fetchval(
        "SELECT count(*) FROM confidence_policy_revision WHERE scope = 'workspace'"
    )
    for each in connections:
        await each.close()

    assert sum(result.created for result in results) == 1
    assert policies == 1


async def test_every_column_can_be_set(connection: asyncpg.Connection) -> None:
    """`change_settings` knows every column of the table; a new one must be added to it."""
    await connection.execute("INSERT INTO workspace (id) VALUES ('ws-1')")
    await connection.execute("INSERT INTO workspace_settings (workspace_id) VALUES ('ws-1')")
    columns = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'workspace_settings'"
    )
    names = {row["column_name"] for row in columns} - {"workspace_id", "updated_at"}

    assert names == set(WorkspaceSettings.model_fields)
    text = sql.admin.change_settings.text
    assert [name for name in names if f"n.{name}" not in text] == []
