"""`evaluate-gates`, `replay` and `calibrate` as people call them: tables, JSON, exit codes, and nothing changed."""

from __future__ import annotations

import json
import mailbox
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.cli.conftest import Cli
from tests.samples import DATA, machine_mails

TABLES = ("ai_draft", "draft_pipeline_run", "draft_pipeline_artifact", "model_call", "outbox", "admin_audit")


# ---- evaluate-gates


def chat(number: int, body: str) -> dict[str, Any]:
    return {"schema_version": 1, "message_id": f"m{number}", "workspace_id": "w", "lead_id": "l", "channel": "chat",
            "received_at": datetime.now(UTC).isoformat(), "body": body}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of machine mails, the same as an mbox, and people's messages."""
    mails = machine_mails()
    (tmp_path / "mails").mkdir()
    box = mailbox.mbox(tmp_path / "mails.mbox")
    for name, raw in mails.items():
        (tmp_path / "mails" / f"{name.removesuffix('.eml')}.eml").write_bytes(raw)
        box.add(mailbox.mboxMessage(raw))
    box.close()
    bodies = ["hello there", "can you stop the payment that goes out tomorrow?"]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(chat(n, b)) + "\n" for n, b in enumerate(bodies)))
    return tmp_path


async def test_both_error_rates_of_the_gates_are_told(cli: Cli, files: Path) -> None:
    """Machines from a folder and an mbox, people from JSON Lines: how many were answered and refused, and by what."""
    ended = await cli("evaluate-gates", "--machines", "mails", "--machines", "mails.mbox", "--people", "people.jsonl",
                      "--json", env={})  # fmt: skip
    assert ended.code == 0, ended.err
    machines, people = ended.json["rates"]
    assert (machines["messages"], people["messages"]) == (2 * len(machine_mails()), 2)
    assert machines["rate"] <= 0.02
    assert (people["wrong"], people["by_gate"]) == ([], {"none": 2})


async def test_the_real_chats_refuse_nobody(cli: Cli, files: Path) -> None:
    """Every message of the shared chats passes; without them, our own."""
    paths = sorted(DATA.glob("*.jsonl")) or [files / "people.jsonl"]
    arguments = [part for path in paths for part in ("--people", str(path))]
    ended = await cli("evaluate-gates", *arguments, env={})
    assert (ended.code, "refused:" in ended.out) == (0, False), ended.out


async def test_mails_are_read_as_mail_in_reads_them(cli: Cli, tmp_path: Path) -> None:
    """Heads made to break a reader, a charset that says how an opt-out is written, a mail that nobody can read: each
    is judged as it would be when it came in, or told by its file's name."""
    (tmp_path / "mails").mkdir()
    for name, raw in {
        "quote": b'From: ann@example.net\nTo: "\nMessage-ID: <a@\n\nWhat does it cost?\n',
        "charset": b"From: ann@example.net\nContent-Type: text/plain; charset=utf-16\n\n" + "STOP".encode("utf-16"),
        "broken": b"From: ann@example.net\nContent-Type: text/plain; name*=x; name*0=y\n\nhello\n",
        "bounce": b"Return-Path: <>\nFrom: ann@example.net\n\nWhat does it cost?\n",
    }.items():
        (tmp_path / "mails" / f"{name}.eml").write_bytes(raw)
    ended = await cli("evaluate-gates", "--people", "mails", "--json", env={})
    (people,) = ended.json["rates"]
    assert people["by_gate"] == {"machine_mail": 1, "unusable (malformed)": 1, "opt_out": 1, "none": 1}
    assert (people["wrong"], people["unusable"]) == (["bounce.eml", "broken.eml", "charset.eml"], ["broken.eml"])
    told = await cli("evaluate-gates", "--machines", "mails", "--max-answered", "1", env={})
    assert (told.code, "unusable: broken.eml" in told.out, "answered: quote.eml" in told.out) == (0, True, True)


async def test_a_share_that_is_exceeded_is_a_problem(cli: Cli, files: Path) -> None:
    """People given as machines, machines as people: both are told by name, never by text, exit code 1."""
    ended = await cli("evaluate-gates", "--machines", "people.jsonl", "--people", "mails", env={})
    assert ended.code == 1
    assert "answered: m0" in ended.out
    assert "refused: " in ended.out
    assert "payment" not in ended.out
    assert (await cli("evaluate-gates", env={})).code == 2
    (files / "bad.jsonl").write_text('{"body": "x"}\n')
    bad = await cli("evaluate-gates", "--people", "bad.jsonl", env={})
    assert (bad.code, "line 1" in bad.err) == (1, True)


# ---- replay and calibrate


async def decided(
    connection: asyncpg.Connection, confidences: list[float], *, blocks: list[dict[str, Any]] | None = None, **more: Any
) -> uuid.UUID:
    """A decided draft with what was recorded of its evaluations."""
    run, sent = uuid.uuid4(), confidences[-1] >= 0.9 and not blocks
    await connection.execute(
        "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, status, phase,"
        " reason, policy_revision, lease_owner, lease_until, finished_at)"
        " VALUES ($1, 'ws-1', 'l', $2, $1, 'chat', 'COMPLETED', 'done', 'r', 1, 'w', now(), now())",
        run, str(run),
    )  # fmt: skip
    values = {
        "revision_outcome": "not_needed" if len(confidences) == 1 else "applied",
        "auto_send_action": "send_immediate" if sent else "needs_review",
        "auto_send_confidence": confidences[-1],
        "chosen_iteration": len(confidences) - 1,
        "hard_blocks": blocks or [],
        **more,
    }
    names = ", ".join(values)
    await connection.execute(
        "INSERT INTO ai_draft (id, run_id, workspace_id, lead_id, trigger_message_id, trigger_ingest_seq, mode, channel,"
        f" content, original_content, policy_revision, auto_send_threshold, {names})"
        " VALUES ($1, $1, 'ws-1', 'l', $2, 1, 'AI_AUTO_SEND', 'chat', 'text', 'text', 1, 0.9,"
        f" {', '.join(f'${n}' for n in range(3, len(values) + 3))})",
        run, str(run), *values.values(),
    )  # fmt: skip
    reason = "confident" if sent else "hard_blocked" if blocks else "below_threshold"
    artifacts: list[tuple[str, int, dict[str, Any]]] = [("final_draft", 0, {"reasons": [reason]})]
    artifacts += [("auto_send_evaluation", n, {"confidence": value}) for n, value in enumerate(confidences)]
    await connection.executemany(
        "INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload)"
        " VALUES (gen_random_uuid(), $1, $2, $3, '', repeat('0', 64), '', $4)",
        [(run, stage, iteration, payload) for stage, iteration, payload in artifacts],
    )
    return run


@pytest.fixture
async def past(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A workspace with a lead."""
    await connection.execute(
        "INSERT INTO workspace (id) VALUES ('ws-1'); INSERT INTO workspace_settings (workspace_id) VALUES ('ws-1');"
        "INSERT INTO lead (workspace_id, lead_id) VALUES ('ws-1', 'l')"
    )
    return connection


async def counts(connection: asyncpg.Connection) -> list[int]:
    return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]


async def test_a_replay_tells_what_would_turn_and_changes_nothing(past: asyncpg.Connection, cli: Cli) -> None:
    """A lower and a higher threshold over the same past: per workspace, which way, and which drafts."""
    held = await decided(past, [0.85])
    await decided(past, [0.95])
    await decided(past, [0.7, 0.93])
    await decided(past, [0.99], blocks=[{"group": "claims", "rule": "amount_not_in_context", "start": 0, "end": 1}])
    before = await counts(past)

    lower = (await cli("replay", "--threshold", "0.8", "--json")).json
    assert lower["workspaces"] == [
        {"workspace_id": "ws-1", "drafts": 4, "were_sent": 2, "would_be_sent": 3, "send_to_review": 0,
         "review_to_send": 1, "would_be_revised": 0}
    ]  # fmt: skip
    assert [(each["draft_id"], each["was"], each["would"]) for each in lower["changed"]] == [
        (str(held), "review", "send")
    ]
    higher = (await cli("replay", "--threshold", "0.94", "--workspace", "ws-1", "--json")).json["workspaces"][0]
    assert (higher["would_be_sent"], higher["send_to_review"], higher["would_be_revised"]) == (1, 1, 1)
    shown = await cli("replay", "--threshold", "0.8")
    assert (shown.code, str(held) in shown.out) == (0, True)
    assert await counts(past) == before


async def test_a_replay_takes_a_policy_or_a_threshold(past: asyncpg.Connection, cli: Cli) -> None:
    """A revision brings its threshold; an unknown one is a problem, neither or both are wrong use."""
    await decided(past, [0.95])
    assert (await cli("replay", "--policy", "1", "--json")).json["workspaces"][0]["would_be_sent"] == 1
    assert (await cli("replay", "--policy", "9")).code == 1
    assert (await cli("replay")).code == 2
    assert (await cli("replay", "--threshold", "0.9", "--policy", "1")).code == 2
    assert "no decided draft" in (await cli("replay", "--threshold", "0.9", "--since", "2030-01-01")).out


async def test_calibration_rests_on_what_reviewers_did(past: asyncpg.Connection, cli: Cli) -> None:
    """Sent as it was is good, edited or rejected is not; too little data is told, with how much it takes."""
    for result in ("approved", "approved", "edited", "rejected", "refused_text_changed"):
        draft = await decided(past, [0.86])
        await past.execute(
            "INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, result, done_at)"
            " VALUES (gen_random_uuid(), $1, 'ws-1', 'ada', 'web', 'approve', $2, now())",
            draft,
            result,
        )
    before = await counts(past)
    found = (await cli("calibrate", "--json")).json
    (bin_,) = [each for each in found["bins"] if each["count"]]
    assert (found["count"], bin_["low"], bin_["good"], bin_["share"]) == (4, 0.85, 2, 0.5)
    assert (found["threshold"], found["enough_data"], found["needed"]) == (None, False, 59)
    assert "too little data: 95.0% takes at least 59" in (await cli("calibrate")).out
    assert await counts(past) == before
