"""`prune`, `erase-lead`, `import-history` and `backfill` as people call them: what they say, exit codes, twice is once."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg

from app.history import TOLD_LINES
from app.stack.local import LocalStack
from tests.cli.conftest import Cli
from tests.conftest import Database
from tests.db.past import ARTIFACTS, WORKSPACE, past_runs
from tests.db.test_history import HISTORY, SECRET, WS, write
from tests.roles import grant, make_roles

LEAD = "past-1"


async def test_prune_says_what_went_and_the_second_time_that_nothing_did(
    cli: Cli, connection: asyncpg.Connection
) -> None:
    """Exit code 1 asks for another call when the time was over before all was seen."""
    await past_runs(connection, 1, 250, "40 days")
    stopped = await cli("prune", "--days", "30", "--seconds", "0.1", "--rows-per-s", "1000", "--json")
    assert (stopped.code, stopped.json["complete"]) == (1, False)
    ended = await cli("prune", "--days", "30")
    assert ended.code == 0
    assert f"{250 - stopped.json['runs']} runs, {(250 - stopped.json['runs']) * ARTIFACTS} artifacts" in ended.out
    again = await cli("prune", "--days", "30", "--json")
    assert (again.code, again.json["rows"], again.json["complete"]) == (0, 0, True)


async def test_erasing_a_lead_asks_why_counts_first_and_can_be_called_again(
    cli: Cli, connection: asyncpg.Connection
) -> None:
    """Without a reason nothing happens, nor for a lead that is unknown; twice is said, and harms nothing."""
    await past_runs(connection, 1, 1, "1 day")
    command = ("erase-lead", LEAD, "--workspace", WORKSPACE)
    assert (await cli(*command)).code == 2
    counted = await cli(*command, "--dry-run", "--json")
    assert (counted.json["messages"], counted.json["runs"], counted.json["drafts"]) == (1, 1, 1)
    assert await connection.fetchval("SELECT count(*) FROM message WHERE lead_id = $1", LEAD) == 1
    unknown = await cli("erase-lead", "nobody", "--workspace", WORKSPACE, "--reason", "request 1")
    assert (unknown.code, "no such lead" in unknown.err) == (1, True)
    done = await cli(*command, "--reason", "request 1")
    assert done.code == 0, done.err
    assert "erased: 1 messages, 1 runs, 1 drafts" in done.out
    assert await connection.fetchval("SELECT count(*) FROM message WHERE lead_id = $1 OR body <> ''", LEAD) == 0
    again = await cli(*command, "--reason", "request 1", "--json")
    assert (again.code, again.json["before"], again.json["messages"]) == (0, True, 0)


async def test_lifting_an_opt_out_asks_why_and_is_audited_without_the_lead(
    database: Database, cli: Cli, connection: asyncpg.Connection
) -> None:
    """It is the owner's; the audit has the hashed id only, and a lead that is not on the list is told."""
    await connection.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'DRAFT_ONLY')", WS)
    await connection.execute(
        "INSERT INTO suppression (workspace_id, lead_id, reason) VALUES ($1, $2, 'opt_out')", WS, LEAD
    )
    command = ("suppression", "lift", LEAD, "--workspace", WS)
    assert (await cli(*command)).code == 2
    roles = await make_roles(database.url)
    await grant(database.url)
    assert (await cli(*command, "--reason", "call 1", env={"DATABASE_URL": roles["web"]})).code == 1
    assert LEAD in (await cli("suppression", "list", "--workspace", WS, env={"DATABASE_URL": roles["web"]})).out
    assert (await cli(*command, "--reason", "call 1")).code == 0
    assert (await cli("suppression", "list", "--workspace", WS, "--json")).json == []
    (row,) = await connection.fetch("SELECT * FROM admin_audit")
    assert (row["action"], row["before"], row["reason"]) == ("suppression-lift", "opt_out", "call 1")
    assert LEAD not in str(dict(row))
    assert (await cli(*command, "--reason", "call 1")).code == 1


async def test_checking_a_history_file_tells_programs_too(
    cli: Cli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    """--check --json is JSON on stdout; nothing is imported."""
    await connection.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", WS)
    write(tmp_path / "old.jsonl", HISTORY)
    checked = await cli("import-history", "old.jsonl", "--check", "--json")
    assert checked.json == {"check": True, "lines": len(HISTORY), "workspaces": [WS]}
    assert await connection.fetchval("SELECT count(*) FROM message") == 0


async def test_a_long_history_file_tells_how_far_it_is(
    cli: Cli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    """While it is read and while it is imported, on stderr."""
    await connection.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", WS)
    await connection.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", WS)
    first = next(each for each in HISTORY if each["kind"] == "message")
    write(tmp_path / "long.jsonl", [first | {"message_id": f"m-{number}"} for number in range(TOLD_LINES)])
    ended = await cli("import-history", "long.jsonl", "--json")
    told = ended.err.splitlines()
    assert ended.json["messages"] == TOLD_LINES
    assert told[0] == f"import-history: {TOLD_LINES} lines checked"
    assert told[-1] == f"import-history: {TOLD_LINES} messages, 0 drafts"


async def test_a_backfill_tells_gates_apart_from_errors_and_logs_no_text(
    cli: Cli, connection: asyncpg.Connection, stack: LocalStack, database: Database, tmp_path: Path
) -> None:
    """Done, skipped and errors in tables of their own; exit code 1 when there were errors; a line a draft in the log."""
    env = {**stack.env, "DATABASE_URL": database.url}
    await connection.execute("INSERT INTO workspace (id, default_mode) VALUES ($1, 'AI_AUTO_SEND')", WS)
    await connection.execute("INSERT INTO workspace_settings (workspace_id) VALUES ($1)", WS)
    write(tmp_path / "old.jsonl", HISTORY)
    assert (await cli("import-history", "old.jsonl", env=env)).code == 0
    assert (await cli("backfill", env=env)).code == 2

    tried = await cli("backfill", "--dry-run", "--log", "tried.jsonl", "--json", env=env)
    assert (tried.code, tried.json["applied"], tried.json["results"]["would:judge"]) == (0, False, 4)
    assert await connection.fetchval("SELECT count(*) FROM model_call") == 0

    applied = await cli("backfill", "--apply", "--log", "applied.jsonl", env=env)
    assert applied.code == 1
    done, skipped, errors = (applied.out.index(f"{title} ") for title in ("done", "skipped", "errors"))
    places = [applied.out.index(code) for code in ("done:sent", "skip:newer_inbound", "error:does_not_parse")]
    assert [done, skipped, errors] == sorted([done, skipped, errors])
    assert done < places[0] < skipped < places[1] < errors < places[2]
    log = (tmp_path / "applied.jsonl").read_text()
    assert SECRET not in log + applied.out + applied.err
    assert {frozenset(json.loads(line)) for line in log.splitlines()} == {
        frozenset({"at", "draft_id", "workspace_id", "result", "applied"})
    }
    assert len(log.splitlines()) == 11
