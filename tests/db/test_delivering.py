"""One delivery at a time: what is measured, refused, looked up, paced, checked again, and left alone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from agents import delivered, delivering
from agents.delivering import deliver
from agents.ports import LOOK_UP_FAILED, Capabilities, SendRefused, SendResult, SendUnknown, Sent
from db import sql
from schemas.limits import LOOK_UP_S_MAX, TEXT_UNCHECKED_S_MAX
from tests.conftest import Database
from tests.db.sending import TEXT, Sending, attempt, delivery_of, gather, sending, writes_again

ASKABLE = Capabilities(key_window_s=3600.0, can_look_up=True)


# ---- from the claim to the call


async def test_a_claim_that_is_too_old_is_not_used(one: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process stood still after its claim the provider is not called: the send is taken again later."""
    monkeypatch.setattr(delivering, "CLAIM_TO_CALL_S_MAX", 0.05)
    slow = replace(one.rim, crash_point=lambda name: time.sleep(0.1) if name == "claim.delivery.committed" else None)
    await deliver(slow, (await one.take())[0])
    row = await delivery_of(one)
    assert (row["status"], row["reason"], one.ledger.keys) == ("scheduled", "claim_too_old", [])
    assert row["retry_at"] is not None
    monkeypatch.undo()
    row = await attempt(one)
    assert (row["status"], row["attempts"], len(one.ledger.keys)) == ("sent", 2, 1)


async def test_the_time_from_check_to_call_is_recorded(one: Sending) -> None:
    """Milliseconds between the moment at which everything was checked and the provider call stand in the row."""
    row = await attempt(one)
    assert 0 <= row["claim_to_call_ms"] < 1_000


# ---- what the provider says


@pytest.mark.parametrize(
    ("answer", "status", "draft", "review_is"),
    [
        (Sent("p-1"), "sent", "sent", None),
        (SendRefused("smtp_451", temporary=True), "scheduled", "scheduled", None),
        (SendRefused("smtp_550", temporary=False), "refused", "pending", "open:smtp_550"),
        (SendUnknown("smtp_cut"), "unknown", "unknown", "open:smtp_cut"),
    ],
    ids=["sent", "later", "refused", "unknown"],
)
async def test_what_becomes_of_an_answer(
    one: Sending, answer: SendResult, status: str, draft: str, review_is: str | None
) -> None:
    """Sent is sent; a temporary refusal is tried again; a definite one, and what nobody knows, go to a person."""
    one.ledger.answer = lambda outgoing: answer
    row = await attempt(one)
    assert (row["status"], row["draft_status"], row["review"]) == (status, draft, review_is)


async def test_a_provider_that_raises_may_have_sent(one: Sending) -> None:
    """Whatever an adapter raises, nobody takes the reply for unsent."""

    def broken(outgoing: Any) -> SendResult:
        raise ValueError

    one.ledger.answer = broken
    row = await attempt(one)
    assert (row["status"], row["review"]) == ("unknown", "open:adapter_failed")


@pytest.mark.parametrize(
    ("found", "status", "review_is"),
    [
        (Sent("p-1"), "sent", None),
        (SendRefused("not_found", temporary=True), "scheduled", None),
        (SendUnknown(LOOK_UP_FAILED), "claimed", None),
        (None, "unknown", "open:webhook_cut"),
    ],
    ids=["it has it", "it has it not", "it does not answer", "it cannot tell"],
)
async def test_an_unknown_is_looked_up(
    one: Sending, found: SendResult | None, status: str, review_is: str | None
) -> None:
    """The receiver's word on the key settles it; while it gives none, nothing is sent and it is asked again."""
    one.ledger.capabilities, one.ledger.found = ASKABLE, found
    one.ledger.answer = lambda outgoing: SendUnknown("webhook_cut")
    row = await attempt(one)
    assert (row["status"], row["review"], len(one.ledger.keys)) == (status, review_is, 1)


async def test_a_receiver_that_comes_back_settles_the_unknown(one: Sending) -> None:
    """Asked again after a pause it says that it has the message: sent, once, and nobody was bothered."""
    one.ledger.capabilities, one.ledger.found = ASKABLE, SendUnknown(LOOK_UP_FAILED)
    one.ledger.answer = lambda outgoing: SendUnknown("webhook_cut")
    waiting = await attempt(one)
    assert (waiting["status"], waiting["reason"], waiting["lease_until"]) == ("claimed", "webhook_cut", None)
    assert waiting["retry_at"] is not None
    one.ledger.found = Sent("p-1")
    row = await attempt(one)
    assert (row["status"], row["draft_status"], row["review"], len(one.ledger.keys)) == ("sent", "sent", None, 1)


async def test_a_receiver_that_was_put_in_its_place_is_not_asked(one: Sending) -> None:
    """The channel leads to another provider by now: its "not here" would send the reply again. A person is told."""
    one.ledger.capabilities, one.ledger.found = ASKABLE, SendUnknown(LOOK_UP_FAILED)
    one.ledger.answer = lambda outgoing: SendUnknown("webhook_cut")
    await attempt(one)
    one.ledger.route, one.ledger.found = "another", SendRefused("not_found", temporary=True)
    row = await attempt(one)
    assert (row["status"], row["draft_status"], row["review"]) == ("unknown", "unknown", "open:channel_changed")
    assert len(one.ledger.keys) == 1


async def test_a_receiver_that_stays_away_leaves_it_to_a_person(one: Sending) -> None:
    """After LOOK_UP_S_MAX the reason of the doubt is told to a person; the reply is not sent again."""
    one.ledger.capabilities, one.ledger.found = ASKABLE, SendUnknown(LOOK_UP_FAILED)
    one.ledger.answer = lambda outgoing: SendUnknown("webhook_cut")
    await attempt(one)
    await one.pool.execute(
        "UPDATE delivery SET claimed_at = now() - make_interval(secs => $1), lease_until = NULL", LOOK_UP_S_MAX
    )
    row = await attempt(one)
    assert (row["status"], row["draft_status"], row["review"]) == ("unknown", "unknown", "open:webhook_cut")
    assert len(one.ledger.keys) == 1


async def test_nobody_is_asked_about_a_refused_reply_to_an_older_message(
    one: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider refuses for good while the lead writes again: the draft is superseded, no review is opened."""
    one.ledger.answer = lambda outgoing: SendRefused("http_400", temporary=False)

    async def after_a_newer_message(*arguments: Any) -> None:
        await writes_again(one)
        await delivered.settle(*arguments)

    monkeypatch.setattr(delivering, "settle", after_a_newer_message)
    row = await attempt(one)
    assert (row["status"], row["draft_status"], row["draft_reason"]) == ("refused", "superseded", "newer_inbound")
    assert row["review"] is None


# ---- what stands against a send


class NeverPassed:
    """Ingest lags, and stays behind."""

    async def passed(self, timeout_s: float) -> bool:
        return False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE kill_switch SET disabled = true WHERE name = 'AUTO_SEND_DISABLED'", "switched_off"),
        ("UPDATE workspace SET default_mode = 'DRAFT_ONLY'", "mode_changed"),
    ],
    ids=["switch", "mode"],
)
async def test_what_is_switched_off_does_not_wait_for_ingest(one: Sending, change: str, reason: str) -> None:
    """Switches and the workspace's mode come before the fence: although ingest lags the person is asked now."""
    await one.pool.execute(change)
    await deliver(replace(one.rim, fence=NeverPassed()), (await one.take())[0])
    row = await delivery_of(one)
    assert (row["status"], row["review"], one.ledger.keys) == ("cancelled", f"open:{reason}", [])


async def test_a_send_behind_the_fence_is_tried_again_until_its_age_limit(one: Sending) -> None:
    """Nothing is sent while ingest lags; after the workspace's limit a person is asked."""
    behind = replace(one, rim=replace(one.rim, fence=NeverPassed()))
    row = await attempt(behind)
    assert (row["status"], row["reason"]) == ("scheduled", "fence_behind")
    await one.pool.execute("UPDATE delivery SET created_at = now() - interval '2 days',"
                           " scheduled_for = now() - interval '2 days'")  # fmt: skip
    row = await attempt(behind)
    assert (row["status"], row["draft_status"], row["review"]) == ("refused", "pending", "open:fence_behind")
    assert one.ledger.keys == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("INSERT INTO restore_quarantine (until, actor, reason) VALUES (now(), 'a', 'r')", "quarantined"),
        ('UPDATE ai_draft SET hard_blocks = \'[{"rule": "x"}]\'', "hard_blocked"),
        ("UPDATE ai_draft SET content_sha256 = repeat('0', 64)", "text_changed"),
        ("UPDATE ai_draft SET auto_send_confidence = 0.89", "policy_now_stricter"),
        ("UPDATE workspace_settings SET auto_replies_per_hour_max = 0", "too_many_replies"),
    ],
    ids=["quarantine", "block", "text", "policy", "limit"],
)
async def test_a_doubt_at_the_send_asks_a_person(one: Sending, change: str, reason: str) -> None:
    """What holds at the moment of the claim counts, and may only turn a send into a review."""
    await one.pool.execute(change)
    row = await attempt(one)
    assert (row["status"], row["review"], row["action"]) == ("cancelled", f"open:{reason}", "needs_review")
    assert one.ledger.keys == []


async def test_replies_that_may_have_been_sent_count_for_the_limit(one: Sending) -> None:
    """Three automatic replies in an hour of which nobody knows whether they arrived: the fourth is a person's."""
    await one.pool.execute(
        "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,"
        " content_sha256, status, claimed_at, finished_at, confirmed_by)"
        " SELECT gen_random_uuid(), draft_id, workspace_id, lead_id, 'older-' || n, channel, true, content,"
        " content_sha256, 'unknown', now() - interval '10 minutes', now(), 'x' FROM delivery, generate_series(1, 3) n"
    )
    await attempt(one)
    row = await one.pool.fetchrow("SELECT status, reason FROM delivery WHERE trigger_message_id = 'm-0'")
    assert row is not None
    assert (row["status"], row["reason"], one.ledger.keys) == ("cancelled", "too_many_replies", [])


async def test_a_text_that_waited_is_checked_again(one: Sending) -> None:
    """A phrase the workspace has forbidden since blocks a scheduled send; the person sees the place in the text."""
    await one.pool.execute("UPDATE workspace_settings SET forbidden_phrases = '{look into it}'")
    await one.pool.execute(
        "UPDATE delivery SET created_at = now() - make_interval(secs => $1)", TEXT_UNCHECKED_S_MAX + 1
    )
    row = await attempt(one)
    assert (row["status"], row["review"], one.ledger.keys) == ("cancelled", "open:hard_blocked", [])
    block = row["hard_blocks"][0]
    assert (block["rule"], TEXT[block["start"] : block["end"]]) == ("forbidden_phrase", "look into it")


async def test_a_text_whose_context_is_gone_is_not_sent_by_itself(one: Sending) -> None:
    """What a text was judged against was deleted meanwhile: a person decides."""
    await one.pool.execute("DELETE FROM draft_run_context")
    await one.pool.execute(
        "UPDATE delivery SET created_at = now() - make_interval(secs => $1)", TEXT_UNCHECKED_S_MAX + 1
    )
    row = await attempt(one)
    assert (row["status"], row["review"]) == ("cancelled", "open:context_gone")


# ---- pace


async def test_a_workspace_keeps_its_pace_over_all_workers(shared: Database) -> None:
    """With 20 sends a second allowed the turns are 50 ms apart, however many workers send at once: the whole takes its
    time, and no second holds many more (a call that the machine delays falls into a later one)."""
    async with sending(shared, 30) as many:
        await many.pool.execute("UPDATE workspace_settings SET sends_per_s_max = 20")
        due, workers = await many.take(), [many.rim, replace(many.rim, process_id="other")]
        await gather([lambda n=n, row=row: deliver(workers[n % 2], row) for n, row in enumerate(due)])  # type: ignore[misc]
        while len(many.ledger.moments) < 30:
            await attempt(many)
        moments = sorted(many.ledger.moments)
        held = [sum(start <= each < start + 1.0 for each in moments) for start in moments]
        assert max(held) <= 25
        assert moments[-1] - moments[0] >= 29 * 0.05 - 0.1
        assert set(many.ledger.taken.values()) == {1}


async def test_a_worker_takes_no_more_of_a_workspace_than_its_pace_lets_go(shared: Database) -> None:
    """Of many due sends of a workspace with two a second, two are taken; without a pace as many as there is room."""
    async with sending(shared, 10) as many:
        take = {"owner": "w", "lease_s": 0.0, "limit": 8, "workspace_limit": 24}
        assert len(await sql.delivery.take_due_deliveries.rows(many.pool, **take)) == 8
        await many.pool.execute("UPDATE workspace_settings SET sends_per_s_max = 1.5")
        assert len(await sql.delivery.take_due_deliveries.rows(many.pool, **take)) == 2


async def test_a_workspace_without_a_pace_leaves_no_trace_of_one(one: Sending) -> None:
    """The pace costs those nothing who have none."""
    await attempt(one)
    assert await one.column("SELECT count(*) FROM send_pace") == [0]
