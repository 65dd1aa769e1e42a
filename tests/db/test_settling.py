"""What a person settled, and the words for what became of a draft."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from agents import review
from agents.delivering import deliver
from agents.outcomes import sha256_of
from agents.ports import Capabilities, Outgoing, SendResult, SendUnknown, Sent
from db import sql
from tests.db.sending import WORKSPACE, Sending, actions, attempt, delivery_of, writes_again

# ---- what a person settled


async def decide(asked: Sending, action: str, **columns: Any) -> str:
    """A person's action on the one draft, carried out; its result."""
    command = (await actions(asked, "ann", action, **columns))[0]
    await review.handle(command, asked.rim)
    result: str = await asked.pool.fetchval("SELECT result FROM review_action WHERE id = $1", command.review_action_id)
    return result


async def test_an_edited_reply_is_the_reviewers(asked: Sending) -> None:
    """Edited by a person: their text goes out, as `reviewer`, with who and by what way."""
    assert await decide(asked, "edit", edited_text="Thank you!") == "edited"
    await asked.deliver_rest()
    row = await asked.pool.fetchrow("SELECT * FROM message WHERE direction = 'outbound'")
    assert row is not None
    assert (row["body"], row["sent_by"], row["source"]) == ("Thank you!", "reviewer", "draft-pipeline")
    assert (row["approved_by"], row["approved_via"], row["draft_id"]) == ("ann", "web", asked.ids[0])


async def test_an_unknown_send_is_made_again_only_when_a_person_confirms(asked: Sending) -> None:
    """The confirmed one is a delivery of its own, with `confirmed_by` and another key; the text stays its writer's."""
    asked.ledger.answer = lambda outgoing: SendUnknown("smtp_cut")
    assert await decide(asked, "edit", edited_text="Thank you!") == "edited"
    await asked.deliver_rest()
    assert (await delivery_of(asked))["draft_status"] == "unknown"
    asked.ledger.answer = lambda outgoing: Sent("p-2")
    assert await decide(asked, "approve", content_sha256=sha256_of("Thank you!")) == "refused_draft_unknown"
    assert await decide(asked, "confirm_resend", content_sha256=sha256_of("Thank you!")) == "confirmed_resend"
    row = await attempt(asked)
    assert (row["status"], row["confirmed_by"], row["draft_status"]) == ("sent", "ann", "sent")
    assert len(set(asked.ledger.keys)) == len(asked.ledger.keys) == 2
    assert await asked.column("SELECT sent_by FROM message WHERE direction = 'outbound'") == ["reviewer"]
    assert await decide(asked, "confirm_resend") == "refused_draft_sent"


async def test_a_second_send_is_refused_when_the_lead_wrote_again(asked: Sending) -> None:
    """Nobody passes a newer message, not even for a reply that may be lost."""
    asked.ledger.answer = lambda outgoing: SendUnknown("smtp_cut")
    assert await decide(asked, "approve") == "approved"
    await asked.deliver_rest()
    await writes_again(asked)
    assert await decide(asked, "confirm_resend") == "refused_newer_inbound"
    assert len(asked.ledger.keys) == 1


async def test_nothing_that_is_not_scheduled_can_be_undone(asked: Sending) -> None:
    """An open review, a sent reply: refused, and said why."""
    assert await decide(asked, "undo") == "refused_not_scheduled"
    assert await decide(asked, "approve") == "approved"
    await asked.deliver_rest()
    assert await decide(asked, "undo") == "refused_draft_sent"


async def test_what_was_undone_can_be_approved_again(asked: Sending) -> None:
    """An approval is stopped before it is sent; the draft is open again, and a new approval sends it once."""
    assert await decide(asked, "approve") == "approved"
    assert await decide(asked, "undo") == "undone"
    row = await delivery_of(asked)
    assert (row["status"], row["draft_status"], row["review"]) == ("cancelled", "pending", "open:undone")
    assert await decide(asked, "undo") == "refused_not_scheduled"
    assert await decide(asked, "approve") == "approved"
    await asked.deliver_rest()
    assert list(asked.ledger.taken.values()) == [1]


@pytest.mark.parametrize("status", ["sent", "scheduled", "rejected", "unknown"])
async def test_a_run_tried_again_leaves_alone_what_was_settled(asked: Sending, status: str) -> None:
    """A person settled the draft while its run was tried again: text, status and action stay, no event says otherwise."""
    draft = asked.ids[0]
    await asked.pool.execute("UPDATE ai_draft SET status = $1, auto_send_action = 'send_immediate'", status)
    before = await asked.pool.fetchrow("SELECT * FROM ai_draft")
    event = {"event_id": uuid.uuid4(), "key": b"k", "value": b"{}", "headers": {}, "taken_s": 1.0}
    for phase, write in settling_writes(event).items():
        run = uuid.uuid4()
        await asked.pool.execute(
            "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id, trigger_message_id, draft_id, channel, attempt,"
            " phase, policy_revision, lease_owner, lease_until) VALUES ($1, $2, 'l-0', 'm-0', $3, 'chat',"
            " (SELECT max(attempt) + 1 FROM draft_pipeline_run), $4, 1, 'w', now())",
            run, WORKSPACE, draft, phase.partition(" ")[0],
        )  # fmt: skip
        query, arguments = write
        await query.row(asked.pool, run_id=run, epoch=1, **(arguments | {"event_id": uuid.uuid4()}))
        assert await asked.pool.fetchrow("SELECT * FROM ai_draft") == before, phase
    assert await asked.column("SELECT count(*) FROM delivery") == [0]
    assert await asked.column("SELECT count(*) FROM outbox WHERE topic = 'draft-outcome'") == [0]


def settling_writes(event: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The statements by which a run settles its draft, by the phase they come in."""
    evaluation = {"content": "other", "content_sha256": sha256_of("other"), "language": "en", "hard_blocks": [],
                  "confidence": 0.1, "reason": None}  # fmt: skip
    revision = {"content": "other", "content_sha256": sha256_of("other"), "hard_blocks": [], "confidence": 0.1,
                "revision_confidence": 0.1, "applied": True, "iterations": 1, "outcome": "applied",
                "chosen_iteration": 1}  # fmt: skip
    decision = {"reason": "confident", "artifact_id": uuid.uuid4(), "iteration": 0, "input_sha256": "a" * 64,
                "payload": {}, "text": "other", "action": "needs_review", "draft_status": "pending", "outcomes": 1,
                "delivery_id": uuid.uuid4(), "delayed": False, "scheduled_for": None, "review_id": uuid.uuid4(),
                "review_s": 60.0}  # fmt: skip
    end = {"run_status": "ABORTED", "reason": "superseded", "action": "none", "draft_status": "superseded",
           "content": None, "content_sha256": None, "review_id": uuid.uuid4(), "review_s": 60.0}  # fmt: skip
    return {
        "draft": (sql.draft.record_evaluation_if_leased, event | evaluation),
        "revise": (sql.draft.settle_revision_if_leased, event | revision),
        "dispatch": (sql.draft.record_decision_if_leased, event | decision),
        "dispatch end": (sql.draft.end_run_if_leased, event | end),
    }


# ---- words for what became of a draft


@pytest.mark.parametrize(
    ("mode", "sent_by", "revised", "fate"),
    [
        ("AI_AUTO_SEND", "ai", False, (True, False, False)),
        ("AI_AUTO_SEND", "ai", True, (True, False, True)),
        ("AI_AUTO_SEND", "reviewer", True, (False, False, False)),
        ("DRAFT_ONLY", "ai", False, (False, False, False)),
        ("AI_AUTO_SEND", None, True, (False, True, False)),
        ("DRAFT_ONLY", None, False, (False, False, False)),
    ],
)
async def test_filters_have_one_definition(
    asked: Sending, mode: str, sent_by: str | None, revised: bool, fate: tuple[bool, bool, bool]
) -> None:
    """`ai_sent`, `ai_review`, `revised_then_sent` of a draft that was sent by somebody, or waits for a person."""
    await asked.pool.execute("UPDATE ai_draft SET mode = $1, auto_send_revision_applied = $2", mode, revised)
    if sent_by is not None:
        await asked.pool.execute("UPDATE ai_draft SET status = 'sent', auto_send_action = 'send_immediate'")
        await asked.pool.execute(
            "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction, sent_by, source, draft_id,"
            " mode, body, disposition, received_at) VALUES (gen_random_uuid(), $1, 'l-0', 'chat', 'out', 'outbound',"
            " $2, 'draft-pipeline', $3, $4, '', 'outbound', now())", WORKSPACE, sent_by, asked.ids[0], mode,
        )  # fmt: skip
    row = await asked.pool.fetchrow("SELECT ai_sent, ai_review, revised_then_sent FROM draft_fate")
    assert row is not None
    assert tuple(row) == fate
    counts = await sql.ops.fate_counts.one(asked.pool, workspace_id=WORKSPACE, since=None)
    assert tuple(counts) == tuple(map(int, fate))
    found = [
        bool(await sql.ops.runs_recent.rows(asked.pool, workspace_id=None, status=None, limit=5, fate=name))
        for name in ("ai_sent", "ai_review", "revised_then_sent")
    ]
    assert tuple(found) == fate


# ---- what a worker settled while its lease went to another


async def test_a_send_whose_lease_is_taken_in_the_same_moment_is_recorded_by_the_other(
    one: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two write the same rows, and the taking commits first: the draft stays as it was, so that the new holder's
    record has the next number, with its event. Before, the draft was `sent` without delivery and event."""
    sequence = "SELECT outcome_sequence FROM ai_draft"
    (taken,), (before,) = await one.take(), await one.column(sequence)
    provider = one.ledger.send
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with one.pool.acquire() as other:
        taking = other.transaction()

        async def send(outgoing: Outgoing, timeout_s: float) -> SendResult:
            result = await provider(outgoing, timeout_s)
            await taking.start()
            await other.execute("UPDATE delivery SET lease_epoch = lease_epoch + 1, lease_owner = 'other'")
            return result

        monkeypatch.setattr(one.ledger, "send", send)
        delivering = asyncio.create_task(deliver(one.rim, taken))
        async with asyncio.timeout(10):
            while not await one.pool.fetchval(waiting):  # noqa: ASYNC110 - a lock that is waited for is no event
                await asyncio.sleep(0.01)
        await taking.commit()
        await delivering
    draft = await delivery_of(one)
    assert (draft["status"], draft["draft_status"]) == ("claimed", "scheduled")
    one.ledger.capabilities, one.ledger.found = Capabilities(can_look_up=True), Sent("provider-looked-up")
    await one.pool.execute("UPDATE delivery SET lease_until = now()")
    await one.deliver_rest()
    assert (await delivery_of(one))["draft_status"] == "sent"
    told = "SELECT convert_from(value, 'UTF8')::jsonb -> 'sequence' FROM outbox WHERE topic = 'draft-outcome'"
    assert await one.column(told) == await one.column(sequence) == [before + 1]
