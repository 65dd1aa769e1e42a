"""What a message goes through, from the topic to the provider, with two real workers."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import sys
from pathlib import Path
from typing import Any

from db import sql
from db.pool import transaction
from tests.story.audit import audit, only
from tests.story.evidence import Evidence, plain_text
from tests.story.harness import Pipeline
from tests.story.rows import Row, Workspace, conversations, planted, real_rows, row

BIN = Path(sys.executable).parent
REAL_ROWS = 600
COUNTED = ("message", "draft_pipeline_run", "ai_draft", "delivery", "model_call", "outbox", "review_request")


async def counts(flow: Pipeline) -> dict[str, int]:
    """Rows of every table that work leaves behind, and what the outside saw."""
    found = {table: await flow.db.fetchval(f"SELECT count(*) FROM {table}") for table in COUNTED}
    outside = {"model": len(flow.stack.model.ledger()), "webhook": len(flow.stack.webhook.ledger())}
    return {**found, **outside, "mail": len(flow.stack.mail.ledger())}


async def draft_of(flow: Pipeline, message: Row) -> Any:
    """The draft that answers a message."""
    return await flow.until_row(
        "SELECT * FROM ai_draft WHERE workspace_id = $1 AND trigger_message_id = $2 AND auto_send_action IS NOT NULL",
        message["workspace_id"],
        message["message_id"],
    )


def accepted_of(flow: Pipeline, draft: Any) -> list[dict[str, Any]]:
    """What the webhook receiver took for a draft."""
    return [line for line in flow.stack.webhook.ledger() if str(draft["id"]) in line["body"]]


async def test_a_real_conversation_file_brings_every_outcome(flow: Pipeline) -> None:
    """Six hundred real messages: sent at once, revised and sent, not improved, blocked; one run per burst."""
    rows = planted(real_rows("insurance", REAL_ROWS))
    await flow.produce(rows)
    await flow.idle(90)
    evidence = await audit(
        flow,
        floor={
            "messages": REAL_ROWS,
            "accepted": 30,
            "revision:applied": 5,
            "revision:not_improved": 1,
            "revision:hard_blocked": 3,
            "action:needs_review": 5,
        },
    )
    inbound = [each for each in rows if each.get("direction", "inbound") == "inbound"]
    assert len(evidence.runs) <= len(conversations(inbound))
    drafts = list(evidence.drafts.values())
    sent = [each for each in drafts if each["auto_send_revision_applied"] and each["status"] == "sent"]
    assert sent
    assert all(each["auto_send_revision_confidence"] > each["auto_send_original_confidence"] for each in sent)
    assert all(
        each["auto_send_confidence"] >= each["auto_send_threshold"] for each in drafts if each["status"] == "sent"
    )


async def test_the_same_records_again_change_nothing(flow: Pipeline) -> None:
    """Every record a second time: no message, run, call, event or send more than before."""
    before = await counts(flow)
    await flow.produce(planted(real_rows("insurance", REAL_ROWS)))
    await flow.idle(60)
    assert await counts(flow) == before
    await audit(flow, floor={"messages": REAL_ROWS})


async def test_a_mail_is_answered_in_its_thread_byte_for_byte(flow: Pipeline) -> None:
    """The mailbox holds the draft's exact text, to the sender, in reply to the message, marked as automatic."""
    await flow.provision([Workspace("ws-mail")])
    message = row(
        "ws-mail", "ann", "Hello, !!confident please tell me more",
        channel="email", from_address="Ann Bär <ann@example.net>", subject="Grüße 😀", lead={"email": "ann@example.net"},
        headers={"Message-ID": "<first@example.net>", "References": "<zero@example.net>"},
    )  # fmt: skip
    await flow.produce([message])
    draft = await draft_of(flow, message)
    await flow.idle()
    files = [f for f in (flow.stack.dir / "mailbox").glob("*.eml") if str(draft["id"]).encode() in f.read_bytes()]
    assert len(files) == 1
    mail = email.message_from_bytes(files[0].read_bytes(), policy=email.policy.default)
    assert plain_text(mail) == draft["content"]
    assert (mail["To"], mail["From"]) == ("ann@example.net", "ws-mail@example.com")
    assert (mail["In-Reply-To"], mail["Auto-Submitted"]) == ("<first@example.net>", "auto-replied")
    assert mail["References"].split() == ["<zero@example.net>", "<first@example.net>"]
    assert mail["Subject"] == "Re: Grüße 😀"
    assert mail["Message-ID"].startswith(f"<{draft['id']}@")
    await audit(flow, floor={"accepted": 1})


async def test_each_mode_does_what_it_says(flow: Pipeline) -> None:
    """Legacy drafts are neither sent nor asked about, DRAFT_ONLY ones are asked about, OFF is only recorded."""
    modes = {"legacy": "LEGACY_AUTO_REPLY", "drafts": "DRAFT_ONLY", "off": "OFF"}
    await flow.provision([Workspace("ws-modes", campaigns=modes)])
    rows = {name: row("ws-modes", name, "!!near hello there", campaign_id=name) for name in modes}
    await flow.produce(rows.values())
    legacy, drafts = await draft_of(flow, rows["legacy"]), await draft_of(flow, rows["drafts"])
    await flow.idle()
    assert (legacy["auto_send_action"], legacy["revision_outcome"]) == ("none", "mode_not_eligible")
    assert (drafts["auto_send_action"], drafts["revision_outcome"]) == ("needs_review", "mode_not_eligible")
    evidence = await audit(flow, floor={"action:none": 1})
    assert [each["disposition"] for each in only(evidence, "message", message_id=rows["off"]["message_id"])] == [
        "mode_off"
    ]
    assert [each["draft_id"] for each in only(evidence, "review_request", workspace_id="ws-modes")] == [drafts["id"]]
    assert not only(evidence, "delivery", workspace_id="ws-modes")
    assert len(only(evidence, "draft_pipeline_run", workspace_id="ws-modes")) == 2
    assert not _revision_calls(evidence, "ws-modes")


def _revision_calls(evidence: Evidence, workspace: str) -> list[Any]:
    calls = only(evidence, "model_call", workspace_id=workspace)
    return [call for call in calls if call["stage"].startswith("auto_send_revision") or call["iteration"]]


async def test_somebody_elses_answer_retires_what_waits(flow: Pipeline) -> None:
    """An outbound record ends an open review and a scheduled send of the lead; nothing goes out."""
    await flow.provision([Workspace("ws-later", settings={"send_delay_s": 3600.0})])
    scheduled, review = row("ws-later", "ben", "!!confident hi"), row("ws-later", "ben", "!!low hi", thread_id="t2")
    await flow.produce([review, scheduled])
    one, other = await draft_of(flow, scheduled), await draft_of(flow, review)
    assert (one["auto_send_action"], other["auto_send_action"]) == ("send_delayed", "needs_review")
    await flow.produce([row("ws-later", "ben", "I called him.", direction="outbound", sent_by="carol")])
    for draft in (one, other):
        await flow.until_row("SELECT 1 FROM ai_draft WHERE id = $1 AND status = 'superseded'", draft["id"])
    await flow.idle()
    evidence = await audit(flow, floor={"status:superseded": 2})
    deliveries = only(evidence, "delivery", workspace_id="ws-later")
    assert [(each["status"], each["reason"]) for each in deliveries] == [("cancelled", "answered")]
    assert [each["status"] for each in only(evidence, "review_request", workspace_id="ws-later")] == ["superseded"]


async def test_an_opt_out_suppresses_the_lead_for_good(flow: Pipeline) -> None:
    """`STOP` kills the scheduled send, and a later message of the lead starts no run."""
    await flow.provision([Workspace("ws-stop", settings={"send_delay_s": 3600.0})])
    first, stop = row("ws-stop", "dan", "!!confident hi"), row("ws-stop", "dan", "STOP")
    await flow.produce([first])
    draft = await draft_of(flow, first)
    await flow.produce([stop])
    await flow.until_row("SELECT 1 FROM ai_draft WHERE id = $1 AND status = 'suppressed'", draft["id"])
    later = row("ws-stop", "dan", "!!confident but tell me", thread_id="other")
    await flow.produce([later])
    await flow.until_row("SELECT 1 FROM message WHERE message_id = $1", later["message_id"])
    await flow.idle()
    evidence = await audit(flow, floor={"status:suppressed": 1})
    dispositions = {
        each["message_id"]: each["disposition"] for each in only(evidence, "message", workspace_id="ws-stop")
    }
    assert dispositions == {
        first["message_id"]: "run", stop["message_id"]: "opt_out", later["message_id"]: "lead_suppressed"
    }  # fmt: skip
    assert [each["status"] for each in only(evidence, "delivery", workspace_id="ws-stop")] == ["cancelled"]


async def test_a_newer_message_ends_the_running_run_and_its_model_call(well_behaved: Pipeline) -> None:
    """The older run is ABORTED while its call still hangs; the newer message is answered with both in its context."""
    flow = well_behaved
    await flow.provision([Workspace("ws-newer", settings={"quiet_window_s": 0.0})])
    flow.stack.model.behave({"stages": {"draft_generation_step2": {"latency_ms": 30_000}}})
    first, second = row("ws-newer", "eve", "!!confident one"), row("ws-newer", "eve", "!!confident two")
    await flow.produce([first])
    call = await flow.until_row(
        "SELECT id FROM model_call WHERE workspace_id = 'ws-newer' AND stage = 'draft_generation_step2'"
    )
    await flow.until(lambda: _in_ledger(flow, call["id"]), 10, "the request reached the model")
    flow.stack.model.behave(None)
    await flow.produce([second])
    aborted = await flow.until_row(
        "SELECT * FROM draft_pipeline_run WHERE trigger_message_id = $1 AND status <> 'RUNNING'", first["message_id"]
    )
    assert (aborted["status"], aborted["reason"]) == ("ABORTED", "superseded")
    draft = await draft_of(flow, second)
    await flow.idle()
    cancelled = await flow.until_row("SELECT status, failure FROM model_call WHERE id = $1", call["id"])
    assert tuple(cancelled) == ("failed", "superseded")
    shown = await flow.db.fetchval("SELECT snapshot FROM draft_run_context WHERE run_id = $1", draft["run_id"])
    assert [turn["body"] for turn in shown["conversation"]] == [first["body"], second["body"]]
    evidence = await audit(flow, floor={"ABORTED": 1})
    outcomes = [each for each in evidence.events("draft-outcome") if each["run_id"] == str(aborted["id"])]
    assert [(each["action"], each["status"]) for each in outcomes] == [("none", "superseded")]


async def _in_ledger(flow: Pipeline, call: Any) -> bool:
    return any(line["call_id"] == str(call) for line in flow.stack.model.ledger())


async def test_a_burst_within_the_quiet_window_is_one_run(flow: Pipeline) -> None:
    """Five messages, each within the window of the one before: one run, for the last, that has seen them all."""
    await flow.provision([Workspace("ws-burst", settings={"quiet_window_s": 1.5})])
    burst = [row("ws-burst", "fay", f"!!confident part {number}") for number in range(5)]
    for message in burst:
        await flow.produce([message])
        await asyncio.sleep(0.3)  # the pace of somebody who types
    draft = await draft_of(flow, burst[-1])
    await flow.idle()
    runs = await flow.db.fetch("SELECT trigger_message_id FROM draft_pipeline_run WHERE workspace_id = 'ws-burst'")
    assert [each["trigger_message_id"] for each in runs] == [burst[-1]["message_id"]]
    shown = await flow.db.fetchval("SELECT snapshot FROM draft_run_context WHERE run_id = $1", draft["run_id"])
    assert [turn["body"] for turn in shown["conversation"]] == [message["body"] for message in burst]
    assert len(accepted_of(flow, draft)) == 1


async def test_a_flood_of_one_workspace_does_not_delay_another(well_behaved: Pipeline) -> None:
    """With 120 slow messages of one workspace waiting for admission, another workspace's reply is sent meanwhile."""
    flow = well_behaved
    small = Workspace("ws-quick", settings={"quiet_window_s": 0.0})
    flood = Workspace("ws-flood", settings={"quiet_window_s": 0.0, "running_runs_max": 5})
    await flow.provision([flood, small])
    flow.stack.model.behave({"stages": {"draft_strategy_step1": {"latency_ms": 400}}})
    await flow.produce([row("ws-flood", f"lead{number}", "!!confident hello") for number in range(120)])
    await flow.until_row("SELECT 1 FROM draft_pipeline_run WHERE workspace_id = 'ws-flood'")
    mine = row("ws-quick", "guy", "!!confident hello")
    await flow.produce([mine])
    await draft_of(flow, mine)
    left = await flow.db.fetchval(
        "SELECT count(*) FROM message WHERE workspace_id = 'ws-flood' AND disposition = 'waiting'"
    )
    running = await flow.db.fetchval(
        "SELECT count(*) FROM draft_pipeline_run WHERE workspace_id = 'ws-flood' AND status = 'RUNNING'"
    )
    assert left > 0
    assert running <= 5
    flow.stack.model.behave(None)
    await flow.idle(90)
    await audit(flow, floor={"accepted": 121})


async def test_a_switch_in_postgres_stops_automatic_sends_scheduled_ones_too(flow: Pipeline) -> None:
    """After the flip nothing is claimed by itself: what is due and what is new go to a person; back on, all is sent."""
    await flow.provision([Workspace("ws-switch", settings={"send_delay_s": 4.0}), Workspace("ws-switch-2")])
    due = row("ws-switch", "hal", "!!confident hello")
    await flow.produce([due])
    scheduled = await draft_of(flow, due)
    assert scheduled["auto_send_action"] == "send_delayed"
    await flip(flow, "AUTO_SEND_DISABLED", disabled=True)
    new, near = row("ws-switch-2", "ida", "!!confident hello"), row("ws-switch-2", "jon", "!!near hello")
    await flow.produce([new, near])
    one, other = await draft_of(flow, new), await draft_of(flow, near)
    assert [each["auto_send_action"] for each in (one, other)] == ["needs_review", "needs_review"]
    assert [each["revision_outcome"] for each in (one, other)] == ["disabled_globally", "disabled_globally"]
    await flow.until_row("SELECT 1 FROM ai_draft WHERE id = $1 AND auto_send_action = 'needs_review'", scheduled["id"])
    await flow.idle()
    evidence = await audit(flow, floor={"action:needs_review": 3})
    assert [each["reason"] for each in only(evidence, "delivery", workspace_id="ws-switch")] == ["switched_off"]
    assert not _revision_calls(evidence, "ws-switch-2")
    await flip(flow, "AUTO_SEND_DISABLED", disabled=False)
    again = row("ws-switch-2", "kim", "!!confident hello")
    await flow.produce([again])
    draft = await draft_of(flow, again)
    await flow.idle()
    assert len(accepted_of(flow, draft)) == 1


async def test_a_switch_for_revision_leaves_confident_drafts_alone(flow: Pipeline) -> None:
    """With AUTO_SEND_REVISION_DISABLED nothing is revised, and what was good enough is sent as before."""
    await flow.provision([Workspace("ws-norev")])
    await flip(flow, "AUTO_SEND_REVISION_DISABLED", disabled=True)
    good, near = row("ws-norev", "lea", "!!confident hello"), row("ws-norev", "max", "!!near hello")
    await flow.produce([good, near])
    one, other = await draft_of(flow, good), await draft_of(flow, near)
    await flow.idle()
    await flip(flow, "AUTO_SEND_REVISION_DISABLED", disabled=False)
    assert (one["auto_send_action"], other["auto_send_action"]) == ("send_immediate", "needs_review")
    assert other["revision_outcome"] == "disabled_globally"
    assert len(accepted_of(flow, one)) == 1
    evidence = await audit(flow, floor={"accepted": 1})
    assert not _revision_calls(evidence, "ws-norev")


async def flip(flow: Pipeline, name: str, *, disabled: bool) -> None:
    """Turn a switch as the control plane does: no claim commits after it."""
    async with transaction(flow.db) as connection:
        await sql.draft.own_kill_switch_lock.run(connection)
        await sql.draft.flip_kill_switch.run(connection, name=name, disabled=disabled, reason="story", actor="story")


async def test_a_switch_in_the_environment_binds_the_process(flow: Pipeline) -> None:
    """A worker started with AUTO_SEND_DISABLED=1 drafts and asks; one without it sends."""
    await flow.provision([Workspace("ws-env")])
    await flow.stop_workers()
    [bound] = await flow.start(AUTO_SEND_DISABLED="1")
    held = row("ws-env", "nat", "!!confident hello")
    await flow.produce([held])
    draft = await draft_of(flow, held)
    await flow.idle()
    assert (draft["auto_send_action"], accepted_of(flow, draft)) == ("needs_review", [])
    beat = await flow.until_row("SELECT switches FROM process_heartbeat WHERE process_id = $1", bound.process_id)
    assert beat["switches"] == {"AUTO_SEND_DISABLED": True}
    assert await bound.terminate() == 0
    await flow.start(2)
    free = row("ws-env", "oli", "!!confident hello")
    await flow.produce([free])
    sent = await draft_of(flow, free)
    await flow.idle()
    assert len(accepted_of(flow, sent)) == 1
    await audit(flow, floor={"accepted": 1})


async def test_settings_that_make_no_sense_stop_no_draft(flow: Pipeline) -> None:
    """Budgets that are a list, hours that are none, a zone that is nowhere: a person may be asked, nothing is stuck."""
    odd: dict[str, dict[str, Any]] = {
        "ws-odd-1": {"lead_context_bundle_enabled": True, "lead_context_bundle_budgets": ["x"]},
        "ws-odd-2": {"send_delay_s": 1.0, "business_hours": {"days": "never"}, "timezone": "Moon/Base"},
        "ws-odd-3": {"auto_send_revision_model": "none-such", "auto_send_revision_max_iterations": -4},
        "ws-odd-4": {"business_hours": [1, 2]},
    }
    await flow.provision([Workspace(name, settings=settings) for name, settings in odd.items()])
    rows = [row(name, "pat", "!!near hello") for name in odd]
    await flow.produce(rows)
    await flow.idle(60)
    await audit(flow, floor={"COMPLETED": len(odd)})


async def test_ids_of_two_hundred_characters_of_any_kind_are_fine(flow: Pipeline) -> None:
    """The longest ids that the contract allows, of four bytes a character, are answered like any other."""
    workspace = "w" + "".join(chr(0x1F300 + number) for number in range(199))
    await flow.provision([Workspace(workspace)])
    lead = "".join(chr(0x20000 + number * 37) for number in range(200))
    thread = "".join(chr(0x21000 + number * 41) for number in range(200))
    message_id = "".join(chr(0x23000 + number * 43) for number in range(200))
    message = row(workspace, lead, "!!confident hello", thread_id=thread, message_id=message_id)
    await flow.produce([message])
    draft = await draft_of(flow, message)
    await flow.idle()
    assert len(accepted_of(flow, draft)) == 1
    await audit(flow, floor={"accepted": 1})


async def test_smoke_finds_a_running_system_well(flow: Pipeline) -> None:
    """Every probe of `smoke --full`: a question, pricing, scheduling, a time that is booked, an overseer that fails, no
    text in logs and telemetry. It leaves the calendar as it was."""
    logs = [part for worker in flow.workers for part in ("--log", str(worker.log))]
    process = await asyncio.create_subprocess_exec(
        *(str(BIN / "draft-pipeline"), "smoke", "--full", "--json", "--stack", str(flow.stack.dir), *logs),
        env={**flow.stack.env, "PATH": str(BIN)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 90)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert process.returncode == 0, checks
    assert checks.keys() >= {"scheduling", "a proposed time", "failing overseer", "telemetry"}
    assert await flow.db.fetchval("SELECT count(*) FROM availability_slot WHERE workspace_id = 'ws-smoke'") == 0
    outcomes = await flow.db.fetch("SELECT outcome FROM followup_task WHERE workspace_id = 'ws-smoke'")
    assert "clarification" in {row["outcome"] for row in outcomes}
