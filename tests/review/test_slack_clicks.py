"""What a click in Slack does, says and refuses. The web process answers, a worker's agent carries out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from app.review.sealing import seal, unseal
from app.stack.local import LocalStack
from db import sql
from schemas.codes import ReviewAction
from schemas.limits import DRAFT_CHARS_MAX, REJECT_REASON_CHARS_MAX, SLACK_SKEW_S_MAX
from tests.conftest import Database
from tests.review.desk import APPROVER, Desk, buttons, desk_at, press, signed, submit

CLAIM = "It costs €500."
STRANGER = {"user": {"id": "U0STRANGER"}}


async def test_an_approval_is_recorded_before_the_answer_and_carried_out_once(desk: Desk) -> None:
    """One row, one delivery of exactly the shown text; a second click tells how it stands; the message says who and when."""
    draft = await desk.draft("Grüße aus Köln 🏳️")
    message = await desk.posted(draft)
    answer = await desk.slack_says(press(message, "approve", desk.response_url()))
    assert (answer.status_code, answer.content) == (200, b"")
    (action,) = await desk.actions(draft)
    assert (action["actor"], action["via"], action["action"], action["done_at"]) == (APPROVER, "slack", "approve", None)
    assert await desk.carry_out(draft) == ["approved"]
    again = desk.response_url()
    assert (await desk.slack_says(press(message, "approve", again))).status_code == 200
    told = await desk.until(lambda: desk.told(draft, again.rpartition("/")[2]), "the second click is told the state")
    assert f"Approved by {APPROVER}" in str(told[0])
    assert told[0]["response_type"] == "ephemeral"
    assert await desk.carry_out(draft) == ["approved"]
    sends = await desk.pool.fetch("SELECT content, approved_by FROM delivery WHERE draft_id = $1", draft)
    assert [tuple(send) for send in sends] == [("Grüße aus Köln 🏳️", APPROVER)]
    await desk.tick()
    (update,) = desk.told(draft, "chat.update")
    assert f"*Approved* by <@{APPROVER}> · <!date^" in str(update["blocks"])
    assert "Köln" not in str(update)


async def change(desk: Desk, draft: Any, what: str) -> None:
    """Make one bound thing differ from what was shown."""
    row = await desk.of(draft)
    match what:
        case "text_changed":
            await desk.set(draft, content="Goodbye", content_sha256="0" * 64)
        case "recipient_changed":
            await desk.set(draft, recipient="bob@example.com")
        case "newer_inbound":
            await desk.write(row["workspace_id"], row["lead_id"], "Never mind, thanks!")
        case "answered":
            more = {"direction": "outbound", "sent_by": "colleague"}
            await desk.write(row["workspace_id"], row["lead_id"], "I called you.", **more)
        case "lead_suppressed":
            await desk.insert("suppression", workspace_id=row["workspace_id"], lead_id=row["lead_id"], reason="stop")
        case "policy_changed":
            await desk.pool.execute(
                "INSERT INTO confidence_policy_revision (scope, auto_send_threshold, created_by, reason)"
                " VALUES ('global', 0.97, 't', 't')"
            )
        case _:
            await desk.expire(draft)


CHANGES = {
    "text_changed": ("refused_text_changed", "the text of the draft changed", "Goodbye"),
    "recipient_changed": ("refused_recipient_changed", "the recipient changed", "bob@example.com"),
    "newer_inbound": ("refused_newer_inbound", "the lead wrote again", "Never mind, thanks!"),
    "answered": ("refused_answered", "somebody answered meanwhile", "I called you."),
    "lead_suppressed": ("refused_lead_suppressed", "the lead wants no more messages", "wants no more messages"),
    "policy_changed": ("refused_policy_changed", "the policy changed", "threshold 0.97"),
    "expired": ("refused_draft_expired", "the time to decide had ended", "Nobody decided in time"),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_late_click_is_refused_and_told_what_changed(desk: Desk, what: str) -> None:
    """Whatever the approval was bound to changed: nothing is sent, and who clicked sees which, and the new state."""
    result, words, shown = CHANGES[what]
    draft = await desk.draft("Hello")
    message = await desk.posted(draft)
    await change(desk, draft, what)
    await desk.slack_says(press(message, "approve", desk.response_url()))
    assert await desk.carry_out(draft) == [result]
    await desk.tick()
    (told,) = desk.told(draft, "chat.postEphemeral")
    assert told["user"] == APPROVER
    assert words in str(told["blocks"])
    assert shown in str(told["blocks"])
    assert f"/drafts/{draft}" in str(told["blocks"])
    assert await desk.pool.fetchval("SELECT count(*) FROM delivery WHERE draft_id = $1", draft) == 0
    await desk.tick()
    assert len(desk.told(draft, "chat.postEphemeral")) == 1


async def test_a_changed_text_is_told_as_a_difference(desk: Desk) -> None:
    """What was shown is struck out, what is there now is bold."""
    draft = await desk.draft("We ship on Monday.")
    message = await desk.posted(draft)
    await desk.set(draft, content="We ship on Tuesday.", content_sha256="0" * 64)
    await desk.slack_says(press(message, "approve"))
    await desk.carry_out(draft)
    await desk.tick()
    (told,) = desk.told(draft, "chat.postEphemeral")
    rich = next(block for block in told["blocks"] if block["type"] == "rich_text")
    assert rich["elements"][0]["elements"] == [
        {"type": "text", "text": "We ship on "},
        {"type": "text", "text": "Monday", "style": {"strike": True}},
        {"type": "text", "text": "Tuesday", "style": {"bold": True}},
        {"type": "text", "text": "."},
    ]


async def test_what_slack_did_not_sign_changes_nothing(desk: Desk) -> None:
    """Forged, unsigned, stale, future, nonsense: 401; 5 MB: 413; signed nonsense: 400."""
    draft = await desk.draft()
    payload = press(await desk.posted(draft), "approve")
    body, headers = signed(payload, desk.config.slack_signing_secrets[0])
    hostile = [
        (body + b"x", headers),
        (body, {}),
        (body, {**headers, "X-Slack-Request-Timestamp": "soon"}),
        (body, {**headers, "X-Slack-Signature": "v0=\u00e4"}),
        (b"\xff\xfe\x00", headers),
    ]
    for sent, with_headers in hostile:
        encoded = {name.encode(): value.encode("utf-8") for name, value in with_headers.items()}
        assert (await desk.send(sent, encoded)).status_code == 401  # type: ignore[arg-type]
    for skew in (-SLACK_SKEW_S_MAX - 2, SLACK_SKEW_S_MAX + 2):
        assert (await desk.slack_says(payload, at=time.time() + skew)).status_code == 401
    assert (await desk.slack_says(payload, secret="another")).status_code == 401
    assert (await desk.send(b"x" * (5 * 1024 * 1024), headers)).status_code == 413
    for nonsense in ({"type": "nothing"}, press(await desk.posted(draft), "approve", actions=[])):
        assert (await desk.slack_says(nonsense)).status_code == 400
    assert await desk.actions(draft) == []


async def test_only_the_people_and_the_team_of_a_workspace_may_decide(desk: Desk) -> None:
    """A stranger, an approver of another workspace, somebody of another team: told so, and nothing is recorded."""
    draft = await desk.draft()
    message = await desk.posted(draft)

    async def refused(**who: Any) -> bool:
        url = desk.response_url()
        before = len(desk.stack.slack.ledger())
        assert (await desk.slack_says(press(message, "approve", url, **who))).status_code == 200
        lines = await desk.until(lambda: desk.stack.slack.ledger()[before:], "who clicked is told")
        assert "Hello" not in str(lines)
        return "not on the list" in str(lines[-1]["body"])

    assert await refused(user={"id": "U0STRANGER"})
    assert await refused(team={"id": "T0OTHER"})
    assert await refused(team=None)
    await desk.pool.execute("UPDATE workspace_settings SET slack_approver_ids = '{U0ANN}'")
    assert await refused()
    await desk.pool.execute("UPDATE workspace_settings SET slack_team_id = 'T0ACME'")
    assert await refused(user={"id": "U0ANN"})
    assert await desk.actions(draft) == []
    await desk.slack_says(press(message, "approve", user={"id": "U0ANN"}, team={"id": "T0ACME"}))
    assert [action["actor"] for action in await desk.actions(draft)] == ["U0ANN"]


async def test_a_workspace_of_another_team_is_never_shown_to_ours(desk: Desk) -> None:
    """A draft is not posted with the token of a team that its workspace is not bound to."""
    draft = await desk.draft()
    await desk.pool.execute("UPDATE workspace_settings SET slack_team_id = 'T0ACME'")
    await desk.tick()
    assert desk.told(draft, "chat.postMessage") == []


async def test_both_signing_secrets_are_good_while_they_are_rotated(stack: LocalStack, database: Database) -> None:
    """Clicks signed with either secret, on buttons sealed with either, are taken; with the old one gone, they are not."""
    old = stack.env["SLACK_SIGNING_SECRET"]
    async with desk_at(stack, database) as desk:
        draft = await desk.draft()
        message = await desk.posted(draft)
    async with desk_at(stack, database, SLACK_SIGNING_SECRET=f"new, {old}") as desk:
        for secret in ("new", old):
            assert (await desk.slack_says(press(message, "approve"), secret=secret)).status_code == 200
        assert len(await desk.actions(draft)) == 1
    async with desk_at(stack, database, SLACK_SIGNING_SECRET="new") as desk:
        assert (await desk.slack_says(press(message, "approve"), secret=old)).status_code == 401
        url, before = desk.response_url(), len(stack.slack.ledger())
        assert (await desk.slack_says(press(message, "approve", url), secret="new")).status_code == 200
        lines = await desk.until(lambda: stack.slack.ledger()[before:], "who clicked is told")
        assert "too old to be checked" in str(lines[-1]["body"])


def form(desk: Desk, draft: Any) -> dict[str, Any] | None:
    """The newest form that Slack was asked to open."""
    opened = [line["body"]["view"] for line in desk.stack.slack.ledger() if line["method"] == "views.open"]
    return opened[-1] if opened else None


async def opened(desk: Desk, message: dict[str, Any], action: str, response_url: str | None = None) -> dict[str, Any]:
    """The form behind a button."""
    before = sum(line["method"] == "views.open" for line in desk.stack.slack.ledger())
    assert (await desk.slack_says(press(message, action, response_url))).content == b""

    def view() -> dict[str, Any] | None:
        views = [line["body"]["view"] for line in desk.stack.slack.ledger() if line["method"] == "views.open"]
        return views[before] if len(views) > before else None

    found: dict[str, Any] = await desk.until(view, "the form opens")
    return found


async def test_an_edited_text_is_checked_shown_and_sent(desk: Desk) -> None:
    """Nobody sends what is unsafe; a claim in no source is shown once more; then exactly that text goes out, on record."""
    draft = await desk.draft("Hello Ann")
    view = await opened(desk, await desk.posted(draft), "edit")
    assert view["blocks"][0]["element"]["initial_value"] == "Hello Ann"
    unsafe = (await desk.slack_says(submit(view, "Dear [your name]"))).json()
    assert unsafe["response_action"] == "errors"
    assert "A placeholder was not filled in." in unsafe["errors"]["text"]
    asked = (await desk.slack_says(submit(view, CLAIM))).json()
    assert asked["response_action"] == "update"
    assert "“€500”" in str(asked["view"]["blocks"][0])
    other = (await desk.slack_says(submit(asked["view"], "It costs €900."))).json()
    assert other["response_action"] == "update"
    assert await desk.actions(draft) == []
    assert (await desk.slack_says(submit(asked["view"], CLAIM))).content == b""
    assert await desk.carry_out(draft) == ["edited"]
    (action,) = await desk.actions(draft)
    assert [block["rule"] for block in action["passed"]] == ["amount_not_in_context"]
    send = await desk.pool.fetchrow("SELECT content, edited, approved_by FROM delivery WHERE draft_id = $1", draft)
    assert send is not None
    assert tuple(send) == (CLAIM, True, APPROVER)
    row = await desk.of(draft)
    assert (row["content"], row["original_content"]) == (CLAIM, "Hello Ann")
    assert [block["rule"] for block in row["hard_blocks"]] == ["amount_not_in_context"]


async def test_the_agent_checks_an_edit_again(desk: Desk) -> None:
    """A recorded edit whose claims were never shown is refused, whoever recorded it."""
    draft = await desk.draft()
    binding = unseal(buttons(await desk.posted(draft))["edit"], desk.config.slack_signing_secrets)
    assert binding is not None
    for number, text in enumerate((CLAIM, "Dear [your name]")):
        await sql.review.add_review_action.value(
            desk.pool, action_id=f"00000000-0000-0000-0000-00000000000{number}", draft_id=draft,
            workspace_id="ws-review", actor="x", via="web", action=ReviewAction.EDIT, content_sha256=binding.content_sha256,
            edited_text=text, reject_reason=None, binding=binding.columns(),
        )  # fmt: skip
    assert await desk.carry_out(draft) == ["refused_amount_not_in_context", "refused_placeholder"]


NO_REPLY = {
    "empty": "",
    "blank": " \n ",
    "endless": "x" * (DRAFT_CHARS_MAX + 1),
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
}


@pytest.mark.parametrize("text", NO_REPLY.values(), ids=NO_REPLY)
async def test_an_edit_that_is_no_reply_stays_in_the_form(desk: Desk, text: str) -> None:
    """Empty, endless, unstorable: the form says so and keeps what was written; nothing is recorded."""
    draft = await desk.draft()
    answer = (await desk.slack_says(submit(await opened(desk, await desk.posted(draft), "edit"), text))).json()
    assert answer["response_action"] == "errors"
    assert answer["errors"]["text"].startswith("The reply ")
    assert await desk.actions(draft) == []


async def test_a_rejection_needs_a_reason(desk: Desk) -> None:
    """Without one the form stays; with one the draft ends, and the reason is kept as written."""
    draft = await desk.draft()
    view = await opened(desk, await desk.posted(draft), "reject")
    for missing in ("", "  ", "x" * (REJECT_REASON_CHARS_MAX + 1)):
        assert (await desk.slack_says(submit(view, missing))).json()["response_action"] == "errors"
    await desk.slack_says(submit(view, "Tonfall: unhöflich"))
    assert await desk.carry_out(draft) == ["rejected"]
    (action,) = await desk.actions(draft)
    assert (action["reject_reason"], (await desk.of(draft))["status"]) == ("Tonfall: unhöflich", "rejected")


async def test_a_form_is_not_opened_for_what_changed(desk: Desk) -> None:
    """Edit on a draft that is not as it was shown: the difference instead of a form; too long a draft: the page."""
    draft = await desk.draft("Hello")
    message = await desk.posted(draft)
    await change(desk, draft, "newer_inbound")
    url = desk.response_url()
    await desk.slack_says(press(message, "edit", url))
    told = await desk.until(lambda: desk.told(draft, url.rpartition("/")[2]), "the change is told")
    assert "Never mind, thanks!" in str(told)
    long = await desk.draft("x " * 2_000)
    assert set(buttons(await desk.posted(long))) == {"approve", "reject"}
    assert "open it to edit it" in str(await desk.posted(long))


async def test_claims_of_a_draft_are_passed_only_as_shown(desk: Desk) -> None:
    """The places stand in the message; an approval passes them and says so on record; safety has no Approve at all."""
    draft = await desk.draft(CLAIM)
    message = await desk.posted(draft)
    assert "“€500”" in str(message["blocks"])
    await desk.slack_says(press(message, "approve"))
    assert await desk.carry_out(draft) == ["approved"]
    (action,) = await desk.actions(draft)
    assert [(block["rule"], block["start"]) for block in action["passed"]] == [("amount_not_in_context", 9)]
    unsafe = await desk.draft("Dear [your name]")
    assert "approve" not in buttons(await desk.posted(unsafe))
    gone = await desk.draft("Hello")
    await desk.pool.execute("DELETE FROM draft_run_context WHERE run_id = $1", gone)
    assert "approve" not in buttons(await desk.posted(gone))


async def test_a_draft_that_may_have_been_sent_is_only_sent_again_when_asked_to(desk: Desk) -> None:
    """Approve does nothing; Send it again makes a second delivery in the person's name; Leave it closes the question."""
    draft = await desk.draft("Hello", status="unknown", reason="worker_died")
    await desk.delivery(draft, "unknown")
    message = await desk.posted(draft)
    assert set(buttons(message)) == {"confirm_resend", "reject"}
    as_approval = press(message, "confirm_resend")
    as_approval["actions"][0]["action_id"] = "approve"
    await desk.slack_says(as_approval)
    assert await desk.carry_out(draft) == ["refused_draft_unknown"]
    await desk.slack_says(press(message, "confirm_resend"))
    assert await desk.carry_out(draft) == ["refused_draft_unknown", "confirmed_resend"]
    sends = await desk.pool.fetch(
        "SELECT status, confirmed_by FROM delivery WHERE draft_id = $1 ORDER BY created_at", draft
    )
    assert [tuple(send) for send in sends] == [("unknown", None), ("scheduled", APPROVER)]
    await desk.slack_says(press(message, "confirm_resend", user={"id": APPROVER, "name": "x"}))
    assert len(await desk.actions(draft)) == 2
    left = await desk.draft("Hello", status="unknown", reason="worker_died")
    await desk.slack_says(submit(await opened(desk, await desk.posted(left), "reject"), "The lead thanked us."))
    assert await desk.carry_out(left) == ["left_unknown"]
    assert (await desk.of(left))["status"] == "unknown"
    assert await desk.pool.fetchval("SELECT status FROM review_request WHERE draft_id = $1", left) == "decided"


async def test_a_second_send_is_bound_to_what_was_shown_too(desk: Desk) -> None:
    """A newer message of the lead stops it like any approval."""
    draft = await desk.draft("Hello", status="unknown", reason="worker_died")
    message = await desk.posted(draft)
    await change(desk, draft, "newer_inbound")
    await desk.slack_says(press(message, "confirm_resend"))
    assert await desk.carry_out(draft) == ["refused_newer_inbound"]


async def test_what_is_being_sent_is_not_rejected(desk: Desk) -> None:
    """A provider may have it: a rejection would be a lie. What somebody approved is not decided a second time."""
    draft = await desk.draft()
    message = await desk.posted(draft)
    await desk.delivery(draft, "claimed")
    await desk.slack_says(submit(await opened(desk, message, "reject"), "no"))
    assert await desk.carry_out(draft) == ["refused_being_sent"]
    approved = await desk.draft()
    message = await desk.posted(approved)
    view = await opened(desk, message, "reject")
    await desk.slack_says(press(message, "approve"))
    await desk.carry_out(approved)
    await desk.slack_says(submit(view, "no"))
    assert await desk.carry_out(approved) == ["approved", "refused_already_approved"]


async def test_two_approvals_at_once_make_one_delivery(desk: Desk) -> None:
    """Two people, the same moment: both are on record, one is carried out, the other told who was first."""
    draft = await desk.draft()
    await desk.pool.execute("UPDATE workspace_settings SET slack_approver_ids = '{U0ANN,U0BEN}'")
    message = await desk.posted(draft)
    people = ({"id": "U0ANN"}, {"id": "U0BEN"})
    await asyncio.gather(*(desk.slack_says(press(message, "approve", user=who)) for who in people))
    await asyncio.gather(*(desk.handle(action) for action in await desk.actions(draft)))
    results = sorted(action["result"] for action in await desk.actions(draft))
    assert results == ["approved", "refused_already_approved"]
    assert await desk.pool.fetchval("SELECT count(*) FROM delivery WHERE draft_id = $1", draft) == 1
    await desk.tick()
    (told,) = desk.told(draft, "chat.postEphemeral")
    assert "somebody approved it before" in str(told)


async def test_the_answer_comes_within_three_seconds_whatever_slack_and_postgres_do(desk: Desk) -> None:
    """Slack takes a minute, a lock is held: 200 all the same, and what was not saved is not called saved."""
    draft = await desk.draft()
    message = await desk.posted(draft)
    desk.stack.slack.behave({"latency_ms": 60_000})
    began = time.monotonic()
    assert (await desk.slack_says(press(message, "edit", desk.response_url()))).status_code == 200
    assert time.monotonic() - began < 1.0
    desk.stack.slack.behave(None)
    view = {"callback_id": "reject", "private_metadata": f'["{buttons(message)["reject"]}", null]'}
    async with desk.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE review_action")
        began = time.monotonic()
        answer = await desk.slack_says(submit(view, "too slow"))
        assert time.monotonic() - began < 3.0
    assert answer.status_code == 200
    assert "could not be saved" in answer.json()["errors"]["text"]
    assert await desk.actions(draft) == []


async def test_a_value_that_was_tampered_with_is_no_decision(desk: Desk) -> None:
    """A binding of other fields, another secret or no binding at all is told to be too old, never believed."""
    draft = await desk.draft()
    message = await desk.posted(draft)
    binding = unseal(buttons(message)["approve"], desk.config.slack_signing_secrets)
    assert binding is not None
    for value in (seal(binding, "forged"), buttons(message)["approve"][:-1], "", "x" * 5_000):
        payload = press(message, "approve", desk.response_url())
        payload["actions"][0]["value"] = value
        assert (await desk.slack_says(payload)).status_code == 200
    assert await desk.actions(draft) == []
