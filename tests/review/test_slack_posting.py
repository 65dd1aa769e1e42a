"""What Slack is told of reviews, also when it does not want to hear it."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.slack import posting
from app.slack.client import SlackClient
from tests.review.desk import APPROVER, Desk, buttons, press


async def test_a_review_is_posted_once_with_all_that_is_needed(desk: Desk) -> None:
    """Reason in words, confidence against threshold, the draft, a link with its id; a second look posts nothing."""
    draft = await desk.draft("Hello Ann")
    shown = str(await desk.posted(draft))
    assert "The confidence is below the threshold." in shown
    assert "confidence 0.70, 0.90 needed" in shown
    assert "Hello Ann" in shown
    assert f"/drafts/{draft}" in shown
    await desk.tick()
    assert len(desk.told(draft, "chat.postMessage")) == 1


async def test_an_expired_review_is_told_to_its_workspace(desk: Desk) -> None:
    """The old message loses its buttons, a new one tells that nobody decided; the draft stays as expired, once."""
    draft = await desk.draft("Hello")
    await desk.posted(draft)
    await desk.expire(draft)
    await desk.tick()
    await desk.tick()
    (update,) = desk.told(draft, "chat.update")
    assert "Nobody decided in time" in str(update["blocks"])
    assert "actions" not in str(update["blocks"])
    assert "Nobody decided in time on a reply for ws-review" in str(desk.told(draft, "chat.postMessage")[-1])
    assert len(desk.told(draft, "chat.postMessage")) == 2
    assert (await desk.of(draft))["status"] == "expired"
    outcomes = await desk.pool.fetch("SELECT convert_from(value, 'UTF8') FROM outbox WHERE topic = 'draft-outcome'")
    assert [row[0] for row in outcomes if str(draft) in row[0] and '"expired"' in row[0]] != []


async def test_asked_again_means_a_new_message_and_an_old_one_without_buttons(desk: Desk) -> None:
    """A draft that comes back to a person is shown anew; its older message leads there."""
    draft = await desk.draft("Hello")
    await desk.posted(draft)
    await desk.ask(draft, "ws-review", "rate_limited")
    again = await desk.posted(draft)
    assert "Too many automatic replies" in str(again)
    (update,) = desk.told(draft, "chat.update")
    assert "Asked again" in str(update["blocks"])
    assert len(desk.told(draft, "chat.postMessage")) == 2


async def test_slacks_rate_limit_is_honoured(desk: Desk) -> None:
    """429 holds everything back for as long as Slack says; then each review is there, once."""
    drafts = [await desk.draft(f"Hello {number}") for number in range(3)]
    desk.stack.slack.behave({"p429": 1, "retry_after_s": 1, "times": 2})
    began = time.monotonic()
    await desk.tick()
    await desk.tick()
    assert time.monotonic() - began >= 1.0
    assert [len(posts_taken(desk, draft)) for draft in drafts] == [1, 1, 1]


def posts_taken(desk: Desk, draft: object) -> list[str]:
    """The messages about a draft that Slack took."""
    lines = desk.stack.slack.ledger()
    return [
        line["ts"]
        for line in lines
        if line["method"] == "chat.postMessage" and line["outcome"] == "ok" and str(draft) in str(line["body"])
    ]


async def test_a_slow_slack_is_told_of_each_review_once_by_many_workers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A review is another worker's again after a while: the while of the last in line begins when its turn comes."""
    monkeypatch.setattr(posting, "_TAKEN_S", 1.0)
    await desk.tick()
    drafts = [await desk.draft(f"Hello {number}") for number in range(5)]
    desk.stack.slack.behave({"latency_ms": 500})
    other = SlackClient(desk.config)
    try:
        first = asyncio.create_task(desk.posting.post_open(desk.slack))
        while not first.done():
            await posting.SlackPosting(desk.config, desk.pool).post_open(other)
        await first
    finally:
        desk.stack.slack.behave(None)
        await other.close()
    assert [len(posts_taken(desk, draft)) for draft in drafts] == [1] * 5


async def test_what_slack_does_not_take_is_tried_later(desk: Desk) -> None:
    """An error puts one review off, not all, and not for ever."""
    await desk.tick()
    draft = await desk.draft("Hello")
    desk.stack.slack.behave({"p500": 1})
    await desk.tick()
    desk.stack.slack.behave(None)
    await desk.tick()
    assert posts_taken(desk, draft) == []
    await desk.pool.execute("UPDATE review_request SET slack_retry_at = now() - interval '1 second'")
    await desk.tick()
    assert len(posts_taken(desk, draft)) == 1


async def test_the_response_url_is_the_way_when_the_message_is_lost(desk: Desk) -> None:
    """chat.update finds no message: the click's own address takes its place, and is forgotten afterwards."""
    draft = await desk.draft("Hello")
    message = await desk.posted(draft)
    url = desk.response_url()
    await desk.slack_says(press(message, "approve", url))
    await desk.carry_out(draft)
    await desk.pool.execute("UPDATE review_request SET slack_ts = '1.1' WHERE draft_id = $1", draft)
    await desk.tick()
    (answer,) = desk.told(draft, url.rpartition("/")[2])
    assert answer["replace_original"] is True
    assert f"<@{APPROVER}>" in str(answer["blocks"])
    assert [action["response_url"] for action in await desk.actions(draft)] == [None]
    await desk.tick()
    assert len(desk.told(draft, url.rpartition("/")[2])) == 1


async def test_a_refusal_reaches_the_click_when_the_channel_does_not_take_it(desk: Desk) -> None:
    """chat.postEphemeral fails, for somebody who left the channel: the click's own address tells them."""
    draft = await desk.draft("Hello")
    message = await desk.posted(draft)
    await desk.set(draft, recipient="bob@example.com")
    url = desk.response_url()
    await desk.slack_says(press(message, "approve", url))
    await desk.carry_out(draft)
    await desk.pool.execute("UPDATE review_request SET slack_channel = '' WHERE draft_id = $1", draft)
    await desk.tick()
    (answer,) = desk.told(draft, url.rpartition("/")[2])
    assert answer["replace_original"] is False
    assert "the recipient changed" in str(answer["blocks"])


async def test_the_longest_draft_is_shown_whole_and_can_be_approved(desk: Desk) -> None:
    """8,000 characters that all need escaping: every one is there, and the message fits."""
    draft = await desk.draft("& " * 4_000)
    message = await desk.posted(draft)
    shown = "".join(block["text"]["text"] for block in message["blocks"] if block["type"] == "section")
    assert shown.count("&amp;") == 4_000
    assert "approve" in buttons(message)
