"""`switch` and `policy`: what people decide at the command line, with a reason, on record."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import asyncpg
import pytest

from app.cli.shell import WrongUse
from app.cli.switch import flip, switch_named
from db import sql
from db.pool import connect
from tests.cli.conftest import Cli
from tests.conftest import Database


@pytest.mark.parametrize("name", ["AUTO_SEND", "auto_send", "auto-send", "AUTO_SEND_DISABLED"])
def test_a_switch_is_called_with_or_without_its_suffix(name: str) -> None:
    """`off AUTO_SEND_DISABLED` never means the opposite of `off AUTO_SEND`."""
    assert switch_named(name) == "AUTO_SEND_DISABLED"


def test_an_unknown_switch_is_wrong_use() -> None:
    """The error names those that exist."""
    with pytest.raises(WrongUse, match="AUTO_SEND_REVISION"):
        switch_named("AUTO_SENT")


async def test_off_stops_and_on_resumes(connection: asyncpg.Connection, cli: Cli) -> None:
    """The row says so, the line says so, and the audit knows who and why."""
    off = await cli("switch", "off", "AUTO_SEND", "--reason", "incident 4711")
    assert (off.code, off.out.splitlines()[0]) == (0, "AUTO_SEND is now OFF for all (AUTO_SEND_DISABLED = 1)")
    assert await connection.fetchval("SELECT disabled FROM kill_switch WHERE name = 'AUTO_SEND_DISABLED'")

    on = await cli("switch", "on", "AUTO_SEND_DISABLED", "--reason", "over")
    assert on.out.startswith("AUTO_SEND is now ON for all")
    assert not await connection.fetchval("SELECT disabled FROM kill_switch WHERE name = 'AUTO_SEND_DISABLED'")
    rows = await connection.fetch("SELECT action, before, after, reason FROM admin_audit ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("switch-off", False, True, "incident 4711"),
        ("switch-on", True, False, "over"),
    ]


async def test_a_switch_needs_a_reason(cli: Cli) -> None:
    """Without one the command is wrong use, and nothing is flipped."""
    assert (await cli("switch", "off", "AUTO_SEND")).code == 2
    assert (await cli("switch", "off", "AUTO_SEND", "--reason", " ")).code == 2
    states = [row["state"] for row in (await cli("switch", "list", "--json")).json]
    assert states == ["on", "on", "on"]


async def test_an_environment_that_says_off_is_told(connection: asyncpg.Connection, cli: Cli) -> None:
    """Switching on cannot reach a process that was started with the switch set; the line says which."""
    await sql.run.beat.run(
        connection,
        process_id="worker-7",
        role="worker",
        version="1",
        switches={"AUTO_SEND_DISABLED": True},
        figures={},
    )
    ended = await cli("switch", "on", "AUTO_SEND", "--reason", "try")
    assert "worker-7" in ended.err


async def test_a_flip_waits_for_claims_and_claims_for_the_flip(database: Database) -> None:
    """No claim commits after a flip did: the flip holds the exclusive lock that claims share."""
    claim, flipping = await connect(database.url), await connect(database.url)
    async with claim.transaction():
        await sql.draft.share_kill_switch_lock.value(claim)
        task = asyncio.create_task(flip(flipping, "AUTO_SEND_DISABLED", disabled=True, reason="test", actor="test"))
        await asyncio.sleep(0.2)
        assert not task.done()
    assert await asyncio.wait_for(task, 5) is False
    await claim.close()
    await flipping.close()


async def test_a_policy_is_a_new_revision_with_the_rest_of_the_old(connection: asyncpg.Connection, cli: Cli) -> None:
    """What is not given is taken from the policy in force."""
    await connection.execute("INSERT INTO workspace (id) VALUES ('ws-1')")
    await connection.execute("INSERT INTO workspace_settings (workspace_id) VALUES ('ws-1')")

    ended = await cli("policy", "apply", "--workspace", "ws-1", "--threshold", "0.8", "--reason", "r", "--json")

    assert ended.code == 0, ended.err
    row = await sql.admin.policy_in_force.one(connection, workspace_id="ws-1", campaign_id=None)
    assert (row["revision"], row["auto_send_threshold"], row["booking_threshold"]) == (ended.json["revision"], 0.8, 0.8)
    assert ended.json["changes"] == {"auto_send_threshold": [0.9, 0.8]}


async def test_a_dry_run_writes_nothing(connection: asyncpg.Connection, cli: Cli) -> None:
    """It only shows the difference."""
    ended = await cli("policy", "apply", "--threshold", "0.5", "--reason", "r", "--dry-run")
    assert "0.9 -> 0.5" in ended.out
    assert await connection.fetchval("SELECT count(*) FROM confidence_policy_revision") == 1


async def test_the_same_policy_again_is_no_new_revision(connection: asyncpg.Connection, cli: Cli) -> None:
    """Applying what is in force changes nothing."""
    ended = await cli("policy", "apply", "--threshold", "0.9", "--reason", "r")
    assert ended.out.startswith("nothing to change")
    assert await connection.fetchval("SELECT count(*) FROM confidence_policy_revision") == 1


async def test_a_rollback_is_a_revision_too(connection: asyncpg.Connection, cli: Cli) -> None:
    """The old values come back under a new number that names the old one."""
    await cli("policy", "apply", "--threshold", "0.7", "--booking-threshold", "0.6", "--reason", "bold")
    ended = await cli("policy", "rollback", "1", "--reason", "too bold")

    assert ended.code == 0, ended.err
    row = await sql.admin.policy_in_force.one(connection, workspace_id=None, campaign_id=None)
    assert (row["auto_send_threshold"], row["booking_threshold"], row["rolled_back_to"]) == (0.9, 0.8, 1)
    assert row["revision"] == 3


async def test_an_unknown_revision_or_workspace_is_a_problem(cli: Cli) -> None:
    """One line, exit code 1."""
    for arguments in (("rollback", "99", "--reason", "r"), ("show", "99"), ("show", "--workspace", "ws-none")):
        ended = await cli("policy", *arguments)
        assert (ended.code, len(ended.err.splitlines())) == (1, 1), ended.err
        assert "is unknown" in ended.err


async def test_rules_are_checked_before_they_are_applied(
    connection: asyncpg.Connection, cli: Cli, tmp_path: Path
) -> None:
    """A name that is no rule is wrong use and names those that are; rules in force come with the next revision."""
    (tmp_path / "rules.json").write_text('{"forbiden_phrases": ["free"]}')
    wrong = await cli("policy", "apply", "--rules", "rules.json", "--reason", "r")
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "forbiden_phrases is no rule" in wrong.err
    assert "forbidden_phrases" in wrong.err.partition("rules are")[2]

    (tmp_path / "rules.json").write_text('{"forbidden_phrases": ["free"]}')
    await cli("policy", "apply", "--rules", "rules.json", "--reason", "r")
    await cli("policy", "apply", "--threshold", "0.8", "--reason", "r")
    row = await sql.admin.policy_in_force.one(connection, workspace_id=None, campaign_id=None)
    assert (row["rules"], row["auto_send_threshold"]) == ({"forbidden_phrases": ["free"]}, 0.8)


async def test_the_narrowest_policy_counts(connection: asyncpg.Connection, cli: Cli) -> None:
    """Campaign before workspace before everybody, the newest of each; a run is told the same by its own statement."""
    await connection.execute(
        "INSERT INTO workspace (id) VALUES ('ws-1'); INSERT INTO workspace_settings (workspace_id) VALUES ('ws-1');"
        "INSERT INTO campaign (workspace_id, campaign_id, mode) VALUES ('ws-1', 'c', 'AI_AUTO_SEND');"
        "INSERT INTO lead (workspace_id, lead_id) VALUES ('ws-1', 'l')"
    )
    for campaign in (None, "c", "other"):
        await connection.execute(
            "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, mode, body, disposition,"
            " received_at, campaign_id) VALUES ($1, 'ws-1', 'l', 'chat', $2, 'inbound', 'AI_AUTO_SEND', '', 'run', now(),"
            " $3)", uuid.uuid4(), str(campaign), campaign,
        )  # fmt: skip

    async def thresholds() -> list[float]:
        rows = [await sql.run.request_facts.one(connection, workspace_id="ws-1", message_id=name, attempt=1)
                for name in ("None", "c", "other")]  # fmt: skip
        return [row["auto_send_threshold"] for row in rows]

    scopes: tuple[list[str], ...] = ([], ["--workspace", "ws-1"], ["--workspace", "ws-1", "--campaign", "c"])
    for threshold, scope in zip(("0.5", "0.6", "0.7"), scopes, strict=True):
        await cli("policy", "apply", *scope, "--threshold", threshold, "--reason", "r")
    assert await thresholds() == [0.6, 0.7, 0.6]
    await cli("policy", "apply", "--threshold", "0.1", "--reason", "r")
    await cli("policy", "apply", "--workspace", "ws-1", "--threshold", "0.2", "--reason", "r")
    assert await thresholds() == [0.2, 0.7, 0.2]
