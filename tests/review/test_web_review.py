"""The review pages, used as a browser without scripts uses them. A worker's agent carries out what is decided."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.codes import Role
from tests.review.desk import Browser, Desk, forms_of
from tests.samples import naughty_strings

CLAIM = "It costs €500."


def forms(page: str) -> set[str]:
    """What this page offers to do."""
    return {action.partition("?")[0].rpartition("/")[2] for action, _ in forms_of(page)} - {"sign-out", "review", ""}


def rows(page: str) -> list[str]:
    """The drafts of a queue, in its order."""
    return re.findall(r'class="item" id="[^"]*" href="/drafts/([0-9a-f-]{36})', page)


async def test_the_queue_says_what_to_decide_next(desk: Desk) -> None:
    """The oldest first, with lead, reason in words, confidence against threshold, and how many places to check."""
    older = await desk.draft("Hello one")
    newer = await desk.draft(
        CLAIM, hard_blocks=[{"group": "claims", "rule": "amount_not_in_context", "start": 9, "end": 13}]
    )
    async with desk.browser() as browser:
        page = await browser.show("/review")
    assert rows(page) == [str(older), str(newer)]
    for said in ("2 drafts wait for a decision", "The confidence is below the threshold.", "<b>0.70</b> of 0.90 needed",
                 "1 place to check", "Hello one"):  # fmt: skip
        assert said in page


async def test_filters_are_in_the_address(desk: Desk) -> None:
    """Workspace, reason, age, confidence and state: each alone narrows the list, and the page keeps what was chosen."""
    plain = await desk.draft()
    sure = await desk.draft(auto_send_confidence=0.85, reason="rate_limited")
    unjudged = await desk.draft(auto_send_confidence=None, reason="no_confidence")
    elsewhere = await desk.draft(workspace="ws-other")
    await desk.pool.execute(
        "UPDATE review_request SET created_at = now() - interval '2 hours' WHERE draft_id = $1", sure
    )
    shown = {
        "workspace=ws-other": [elsewhere],
        "reason=rate_limited": [sure],
        "age=1h": [sure],
        "confidence=high": [sure],
        "confidence=middle": [plain, elsewhere],
        "confidence=low": [],
        "confidence=none": [unjudged],
        "reason=no_confidence&confidence=none": [unjudged],
        "state=expired": [],
    }
    async with desk.browser(Role.SUPER_ADMIN, None) as browser:
        for query, wanted in shown.items():
            page = await browser.show(f"/review?{query}")
            assert rows(page) == [str(each) for each in wanted], query
            for draft in wanted:
                assert f'href="/drafts/{draft}?' in page
        assert (await browser.client.get("/review?confidence=sideways")).status_code == 422
    async with desk.browser() as bound:
        assert str(elsewhere) not in await bound.show("/review")
        assert (await bound.client.get("/review?workspace=ws-other")).status_code == 404


async def test_the_states_of_the_queue(desk: Desk) -> None:
    """What waits, what may have been sent, what is scheduled, what expired, what was decided: each in its own list."""
    waiting, unknown = await desk.draft(), await desk.draft(status="unknown", reason="worker_died")
    expired = await desk.draft()
    await desk.expire(expired)
    scheduled = await scheduled_draft(desk)
    decided = await desk.draft("To reject")
    async with desk.browser() as browser:
        await browser.submit(await browser.show(f"/drafts/{decided}"), "/reject", text="tone")
        lists = {
            "waiting": [waiting],
            "unknown": [unknown],
            "scheduled": [scheduled],
            "expired": [expired],
            "decided": [decided],
        }
        for state, wanted in lists.items():
            page = await browser.show(f"/review?state={state}")
            assert rows(page) == [str(each) for each in wanted], state
        assert "Rejected by token:ann" in page
        assert "Nobody decided in time" in await browser.show("/review?state=expired")
        assert forms(await browser.show(f"/drafts/{expired}")) == set()
        assert "Nobody decided in time; it was not sent." in await browser.show(f"/drafts/{expired}")


async def test_skipping_visits_every_draft_of_the_queue(desk: Desk) -> None:
    """Next is the one that follows in the queue's order, also after a decision; after the last comes the first."""
    drafts = [await desk.draft(f"Hello {number}") for number in range(3)]
    later = [
        await scheduled_draft(desk, scheduled_for=datetime.now(UTC) + timedelta(hours=hours)) for hours in (1, 2, 3)
    ]
    async with desk.browser() as browser:
        assert await _skipped(browser, drafts[0], "", 3) == [*drafts[1:], drafts[0]]
        assert await _skipped(browser, later[0], "?state=scheduled", 3) == [*later[1:], later[0]]
        await browser.submit(await browser.show(f"/drafts/{drafts[1]}"), "/reject", text="tone")
        assert await _skipped(browser, drafts[1], "", 3) == [drafts[2], drafts[0], drafts[2]]
        await browser.submit(await browser.show(f"/drafts/{drafts[0]}"), "/reject", text="tone")
        await browser.submit(await browser.show(f"/drafts/{drafts[2]}"), "/reject", text="tone")
        newest_first = [drafts[2], drafts[0], drafts[1]]
        assert rows(await browser.show("/review?state=decided")) == [str(each) for each in newest_first]
        assert await _skipped(browser, drafts[2], "?state=decided", 3) == [*newest_first[1:], drafts[2]]
        assert await _skipped(browser, drafts[2], "", 1) == []


async def _skipped(browser: Browser, draft: uuid.UUID, query: str, times: int) -> list[uuid.UUID]:
    """Where `n` leads from this draft, and from there."""
    address, visited = f"/drafts/{draft}{query}", []
    for _ in range(times):
        found = re.search(r'class="next" href="(/drafts/([0-9a-f-]{36})[^"]*)"', await browser.show(address))
        if found is None:
            break
        address = found[1]
        visited.append(uuid.UUID(found[2]))
    return visited


async def test_each_list_offers_the_reasons_that_are_in_it(desk: Desk) -> None:
    """What waits has others than what is scheduled, expired or decided; a reason is left behind with its list."""
    await desk.draft(reason="below_threshold")
    await desk.draft(status="unknown", reason="worker_died")
    await scheduled_draft(desk)
    await desk.expire(await desk.draft(reason="rate_limited"))
    decided = await desk.draft(reason="no_confidence")
    of = {
        "waiting": "below_threshold", "unknown": "worker_died", "scheduled": "confident", "expired": "rate_limited",
        "decided": "no_confidence",
    }  # fmt: skip
    async with desk.browser() as browser:
        await browser.submit(await browser.show(f"/drafts/{decided}"), "/reject", text="tone")
        for state, reason in of.items():
            page = await browser.show(f"/review?state={state}")
            [offered] = re.findall(r'<select name="reason">.*?</select>', page, re.DOTALL)
            assert re.findall(r'<option value="(\w+)"', offered) == [reason], state
            page = await browser.show(f"/review?state={state}&reason={reason}")
            assert len(rows(page)) == 1, state
            [tabs] = re.findall(r'<nav class="tabs".*?</nav>', page, re.DOTALL)
            assert "reason" not in tabs


async def test_a_list_shows_as_much_as_its_tab_counts(desk: Desk) -> None:
    """What was closed more than 7 days ago is neither counted nor listed."""
    old, new = await desk.draft(), await desk.draft()
    async with desk.browser() as browser:
        for draft in (old, new):
            await browser.submit(await browser.show(f"/drafts/{draft}"), "/reject", text="tone")
        await desk.pool.execute(
            "UPDATE review_request SET closed_at = now() - interval '8 days' WHERE draft_id = $1", old
        )
        page = await browser.show("/review?state=decided")
    assert rows(page) == [str(new)]
    assert re.search(r'Decided <span class="count">1<', page)


async def scheduled_draft(desk: Desk, **more: Any) -> uuid.UUID:
    """A draft that goes out by itself in an hour."""
    draft = await desk.draft("See you", status="scheduled", auto_send_action="send_delayed", reason="confident")
    await desk.pool.execute("DELETE FROM review_request WHERE draft_id = $1", draft)
    due = datetime.now(UTC) + timedelta(hours=1)
    await desk.delivery(draft, "scheduled", **({"delayed": True, "scheduled_for": due} | more))
    return draft


async def test_a_draft_stands_beside_its_conversation(desk: Desk) -> None:
    """The message it answers, earlier and later ones, the reasons, the evaluator's words, and what a rule objects to."""
    draft = await desk.draft(CLAIM)
    lead = f"lead-{draft}"
    await desk.insert(
        "draft_pipeline_artifact", id=uuid.uuid4(), run_id=draft, stage="auto_send_evaluation", iteration=0,
        prompt_key="p", input_sha256="0" * 64, model="m", payload={"confidence": 0.7, "reasons": ["It sounds unsure."]},
    )  # fmt: skip
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        assert "What does it cost?" in page
        assert "answered by this draft" in page
        assert "It sounds unsure." in page
        assert '<mark title="An amount that is in no source.">€500</mark>' in page
        assert "you may send it if it is right" in page
        assert forms(page) == {"approve", "edit", "reject"}
        await desk.write("ws-review", lead, "Are you there?")
        later = await browser.show(f"/drafts/{draft}")
        assert "Are you there?" in later
        assert "This reply is not wanted any more as it is" in later
        assert forms(later) == {"reject"}


async def test_what_was_changed_is_shown_by_words(desk: Desk) -> None:
    """From the original over the revision, with both confidences, to the person's edit."""
    draft = await desk.draft(
        "We answer quickly.", original_content="We answer slowly.", auto_send_original_confidence=0.6,
        auto_send_revision_confidence=0.7, auto_send_revision_applied=True,
    )  # fmt: skip
    await desk.insert(
        "draft_pipeline_artifact", id=uuid.uuid4(), run_id=draft, stage="final_draft", iteration=1, prompt_key="",
        input_sha256="0" * 64, model="", payload={}, text="We answer quickly.",
    )  # fmt: skip
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        assert "What the revision changed" in page
        assert "confidence 0.60, then 0.70" in page
        assert "We answer <del>slowly</del><ins>quickly</ins>." in page
        edited = await browser.submit(page, "/edit", text="We answer quickly. Bye.")
        assert "Edited and approved" in edited.text
        page = await browser.show(f"/drafts/{draft}")
        assert "What the edit changed" in page
        assert "We answer quickly.<ins> Bye.</ins>" in page


async def test_an_approval_takes_the_same_way_as_in_slack(desk: Desk) -> None:
    """One row, via web, in the name of who signed in; exactly the shown text; the page says so and leads to the next."""
    draft, other = await desk.draft("Grüße\n\n  aus Köln"), await desk.draft("Next")
    async with desk.browser() as browser:
        answer = await browser.submit(await browser.show(f"/drafts/{draft}?reason=below_threshold"), "/approve")
        assert answer.url.path == f"/drafts/{draft}"
        assert answer.url.params["reason"] == "below_threshold"
        assert "<strong>Approved.</strong>" in answer.text
        assert f'href="/drafts/{other}?reason=below_threshold"' in answer.text
        assert forms(answer.text) == {"undo"}
    (action,) = await desk.actions(draft)
    assert (action["actor"], action["via"], action["action"], action["result"]) == (
        "token:ann",
        "web",
        "approve",
        "approved",
    )
    sends = await desk.pool.fetch(
        "SELECT content, approved_by, approved_via, edited FROM delivery WHERE draft_id = $1", draft
    )
    assert [tuple(send) for send in sends] == [("Grüße\n\n  aus Köln", "token:ann", "web", False)]


STALE = {
    "text": ("the text of the draft changed", "<del>Hello</del><ins>Goodbye</ins>"),
    "recipient": ("the recipient changed", "bob@example.com"),
    "newer": ("the lead wrote again", "Never mind!"),
    "policy": ("the policy changed", "threshold 0.97"),
}


@pytest.mark.parametrize("what", STALE)
async def test_a_stale_page_decides_nothing_and_shows_what_changed(desk: Desk, what: str) -> None:
    """Between the look and the click something changed: refused, with which, the difference, and the new state."""
    draft = await desk.draft("Hello")
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        match what:
            case "text":
                await desk.set(draft, content="Goodbye", content_sha256="0" * 64)
            case "recipient":
                await desk.set(draft, recipient="bob@example.com")
            case "newer":
                await desk.write("ws-review", f"lead-{draft}", "Never mind!")
            case _:
                await desk.pool.execute(
                    "INSERT INTO confidence_policy_revision (scope, auto_send_threshold, created_by, reason)"
                    " VALUES ('global', 0.97, 't', 't')"
                )
        answer = await browser.submit(page, "/approve")
    for said in STALE[what]:
        assert said in answer.text
    assert "Not sent:" in answer.text
    assert await desk.pool.fetchval("SELECT count(*) FROM delivery WHERE draft_id = $1", draft) == 0


async def test_an_edit_is_checked_before_it_goes_out(desk: Desk) -> None:
    """Unsafe: it stays in the form, marked. A claim: looked at once more, then sent, and that it was seen is recorded."""
    draft = await desk.draft("Hello Ann")
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        unsafe = await browser.submit(page, "/edit", text="Dear [your name]")
        assert unsafe.status_code == 422
        assert "Nobody may send this text as it is." in unsafe.text
        assert "Dear [your name]</textarea>" in unsafe.text
        asked = await browser.submit(unsafe.text, "/edit", text=CLAIM)
        assert asked.status_code == 422
        assert '<mark title="An amount that is in no source.">€500</mark>' in asked.text
        assert await desk.actions(draft) == []
        other = await browser.submit(asked.text, "/edit", text="It costs €900.")
        assert "€900</mark>" in other.text
        done = await browser.submit(asked.text, "/edit", text=CLAIM)
        assert "<strong>Edited and approved.</strong>" in done.text
        assert "An amount that is in no source." in done.text
    (action,) = await desk.actions(draft)
    assert [block["rule"] for block in action["passed"]] == ["amount_not_in_context"]
    assert await desk.pool.fetchval("SELECT content FROM delivery WHERE draft_id = $1", draft) == CLAIM


async def test_an_edit_that_changes_nothing_is_an_approval(desk: Desk) -> None:
    """Browsers send lines with other ends: the text is the draft's all the same, and stays its writer's."""
    text = "\n Hello\n\nAnn  "
    draft = await desk.draft(text)
    async with desk.browser() as browser:
        await browser.submit(await browser.show(f"/drafts/{draft}"), "/edit")
    assert [action["action"] for action in await desk.actions(draft)] == ["approve"]
    row = await desk.pool.fetchrow("SELECT content, edited FROM delivery WHERE draft_id = $1", draft)
    assert row is not None
    assert tuple(row) == (text, False)


UNRECORDABLE = {
    "no reason": ("reject", ""),
    "a blank reason": ("reject", " \n"),
    "an endless reason": ("reject", "x" * 2_001),
    "a blank reply": ("edit", " "),
    "an endless reply": ("edit", "x" * 8_001),
}


@pytest.mark.parametrize(("form", "text"), UNRECORDABLE.values(), ids=UNRECORDABLE)
async def test_what_cannot_be_recorded_stays_in_the_form(desk: Desk, form: str, text: str) -> None:
    """No reason, no text, too much of it: the page says so and keeps what was written."""
    draft = await desk.draft()
    async with desk.browser() as browser:
        answer = await browser.submit(await browser.show(f"/drafts/{draft}"), f"/{form}", text=text)
    assert answer.status_code == 422
    assert f"The {'reason' if form == 'reject' else 'reply'} " in answer.text
    assert await desk.actions(draft) == []


async def test_a_rejection_is_kept_with_its_reason(desk: Desk) -> None:
    """The draft ends unsent; its page tells who, and why."""
    draft = await desk.draft()
    async with desk.browser() as browser:
        answer = await browser.submit(await browser.show(f"/drafts/{draft}"), "/reject", text="Tone: rude\nto Ann")
    assert "<strong>Rejected.</strong>" in answer.text
    assert "It was rejected and not sent." in answer.text
    assert [action["reject_reason"] for action in await desk.actions(draft)] == ["Tone: rude\nto Ann"]


async def test_a_scheduled_send_can_be_taken_back(desk: Desk) -> None:
    """The time left stands there; taken back, it waits for a decision; one that is being sent is not offered."""
    draft = await scheduled_draft(desk)
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        assert re.search(r"It goes out <time[^>]*>in (60|59)\.\d min", page) or "in 1.0 h" in page
        assert forms(page) == {"undo"}
        answer = await browser.submit(page, "/undo")
        assert "<strong>Taken back.</strong>" in answer.text
        assert forms(answer.text) == {"approve", "edit", "reject"}
        again = await browser.submit(page, "/undo")
        assert "it is not waiting to be sent" in again.text or "You decided" in again.text or "Taken back" in again.text
        going = await scheduled_draft(desk)
        await desk.pool.execute("UPDATE delivery SET status = 'claimed' WHERE draft_id = $1", going)
        assert forms(await browser.show(f"/drafts/{going}")) == set()
    assert await desk.pool.fetchval("SELECT status FROM delivery WHERE draft_id = $1", draft) == "cancelled"
    assert (await desk.of(draft))["status"] == "pending"


async def test_what_may_have_been_sent_is_sent_again_by_its_own_button(desk: Desk) -> None:
    """The page warns, offers no plain approval, and makes a second delivery in the person's name; or it is left."""
    draft, left = [await desk.draft("Hello", status="unknown", reason="worker_died") for _ in range(2)]
    for each in (draft, left):
        await desk.delivery(each, "unknown")
    async with desk.browser() as browser:
        page = await browser.show(f"/drafts/{draft}")
        assert "It may have been sent already" in page
        assert forms(page) == {"resend", "reject"}
        assert "<strong>Sent again on request.</strong>" in (await browser.submit(page, "/resend")).text
        done = await browser.submit(await browser.show(f"/drafts/{left}"), "/reject", text="She thanked us.")
        assert "<strong>Left as it is.</strong>" in done.text
    confirmed = await desk.pool.fetch("SELECT draft_id, confirmed_by FROM delivery WHERE confirmed_by IS NOT NULL")
    assert [tuple(row) for row in confirmed] == [(draft, "token:ann")]


async def test_a_decision_outlives_a_worker_that_is_away(desk: Desk) -> None:
    """Nobody carries it out yet: the page says that it is recorded and renews itself; then it tells what came of it."""
    draft = await desk.draft()
    token = await desk.token()
    async with desk.visitor() as visitor:
        await visitor.post("/sign-in", data={"token": token})
        browser = Browser(visitor)
        answer = await browser.submit(await browser.show(f"/drafts/{draft}"), "/approve")
        assert "<strong>Recorded.</strong>" in answer.text
        assert answer.headers["refresh"] == "2"
        assert await desk.carry_out(draft) == ["approved"]
        later = await visitor.get(answer.url)
        assert "<strong>Approved.</strong>" in later.text
        assert "refresh" not in later.headers


async def test_only_what_this_page_showed_can_be_decided(desk: Desk) -> None:
    """A forged, foreign or missing proof of what was seen is refused, and nothing is recorded."""
    draft, other = await desk.draft(), await desk.draft()
    async with desk.browser() as browser:
        page, foreign = await browser.show(f"/drafts/{draft}"), await browser.show(f"/drafts/{other}")
        seen = next(fields["seen"] for action, fields in forms_of(foreign) if "/approve" in action)
        for forged in (seen, "", "x", seen[:-1]):
            answer = await browser.submit(page, "/approve", seen=forged)
            assert answer.status_code == 409
            assert "too old to decide on" in answer.text
    assert await desk.actions(draft) == []


async def test_a_program_may_decide_too(desk: Desk) -> None:
    """The page as JSON says what may be done and what was seen; a bearer token needs nothing else."""
    draft = await desk.draft("Hello")
    token = await desk.token()
    async with desk.visitor(authorization=f"Bearer {token}", accept="application/json") as program:
        queue = (await program.get("/api/review")).json()
        assert [row["draft_id"] for row in queue["rows"]] == [str(draft)]
        told = (await program.get(f"/api/drafts/{draft}")).json()
        assert set(told["may"]) == {"approve", "edit", "reject"}
        refused = await program.post(f"/drafts/{draft}/reject", data={"seen": told["seen"], "text": ""})
        assert refused.status_code == 422
        assert refused.json()["written"]["problem"] == "The reason is empty."
        done = await program.post(f"/drafts/{draft}/approve", data={"seen": told["seen"]})
        assert done.url.path == f"/api/drafts/{draft}"
    assert await desk.carry_out(draft) == ["approved"]


async def test_no_text_is_ever_markup(desk: Desk) -> None:
    """Drafts, messages, names, reasons of rejection: whatever stands in them is shown as written."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>"
    texts = [text for text in naughty_strings() if text.strip() and "\x00" not in text and text.isprintable()]
    draft = await desk.draft(f"{evil} {' '.join(texts)}"[:7_000], original_content=evil, recipient=evil)
    lead = f"lead-{draft}"
    await desk.pool.execute("UPDATE lead SET name = $2 WHERE lead_id = $1", lead, evil)
    await desk.write("ws-review", lead, evil, subject=evil, direction="outbound", sent_by=evil)
    async with desk.browser() as browser:
        await browser.submit(await browser.show(f"/drafts/{draft}"), "/reject", text=evil)
        for address in (f"/drafts/{draft}", "/review", "/review?state=decided", f"/review?reason={evil}"):
            page = await browser.show(address)
            assert "<script>alert" not in page
            assert "<img" not in page
        assert "&lt;script&gt;" in page
