"""Promises of the mailbox, the webhook receiver and the Slack stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from aiohttp import ClientConnectionError, ClientSession
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from app.stack.local import LocalStack
from app.stack.mailbox import message_id_of

MAIL = (
    b"From: support@example.com\r\nTo: lead@example.net\r\nMessage-ID: <%s@example.com>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n.leading dot\r\n\xc3\xbc\r\n"
)


@pytest.fixture(autouse=True)
async def default_behaviour(stack: LocalStack) -> AsyncIterator[None]:
    """Each test leaves the receivers well-behaved."""
    yield
    for part in (stack.mail, stack.webhook, stack.slack):
        part.behave(None)


async def send(stack: LocalStack, content: bytes) -> None:
    """Hand one mail over, and drop the connection however it ends."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=stack.mail.port, timeout=10)
    await client.connect()
    try:
        await client.sendmail("support@example.com", ["lead@example.net"], content, mail_options=["SMTPUTF8"])
    finally:
        client.close()


def stored(stack: LocalStack, content: bytes) -> list[Path]:
    """The mails with exactly these bytes."""
    return [file for file in (stack.dir / "mailbox").glob("*.eml") if file.read_bytes() == content]


async def test_mail_is_stored_in_exact_bytes_before_250(stack: LocalStack) -> None:
    """When the server said 250, one file holds the mail byte for byte, and the ledger names it."""
    content = MAIL % b"exact"
    await send(stack, content)
    files = stored(stack, content)
    assert len(files) == 1
    line = next(line for line in stack.mail.ledger() if line["message_id"] == "<exact@example.com>")
    assert (line["file"], line["outcome"], line["to"]) == (files[0].name, "accepted", ["lead@example.net"])


@pytest.mark.parametrize(("fault", "files"), [("p_cut_after", 1), ("p_cut_before", 0)])
async def test_mail_connection_cut(stack: LocalStack, fault: str, files: int) -> None:
    """A cut leaves the sender unsure; only `p_cut_after` has stored the mail."""
    stack.mail.behave({fault: 1})
    content = MAIL % fault.encode()
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await send(stack, content)
    assert len(stored(stack, content)) == files


@pytest.mark.parametrize(("fault", "code"), [("p_4xx", 451), ("p_5xx", 550)])
async def test_mail_refusal(stack: LocalStack, fault: str, code: int) -> None:
    """A refusal has its SMTP code and stores nothing."""
    stack.mail.behave({fault: 1})
    content = MAIL % fault.encode()
    with pytest.raises(aiosmtplib.SMTPDataError) as caught:
        await send(stack, content)
    assert caught.value.code == code
    assert stored(stack, content) == []


def test_message_id_may_be_missing() -> None:
    """A mail without Message-ID is no error."""
    assert message_id_of(b"Subject: x\r\n\r\nMessage-ID: <body@x>\r\n") is None


async def post(stack: LocalStack, key: str | None, body: bytes) -> tuple[int, Any]:
    """One delivery: status and answer."""
    headers = {"Content-Type": "application/json", "X-Signature": "s", "Authorization": "secret"}
    if key is not None:
        headers["Idempotency-Key"] = key
    async with (
        ClientSession() as session,
        session.post(stack.env["WEBHOOK_SINK_URL"], data=body, headers=headers) as response,
    ):
        return response.status, await response.json()


async def look_up(stack: LocalStack, key: str) -> tuple[int, Any]:
    """Ask whether a key was accepted."""
    async with (
        ClientSession() as session,
        session.get(stack.env["WEBHOOK_SINK_URL"], params={"key": key}) as response,
    ):
        return response.status, await response.json()


def outcomes(stack: LocalStack, key: str) -> list[str]:
    """What the webhook ledger says about a key, in order."""
    return [line["outcome"] for line in stack.webhook.ledger() if line["key"] == key]


async def test_webhook_key_is_accepted_once(stack: LocalStack) -> None:
    """A repeated key gets the first answer and is not accepted again, also after a restart and side by side."""
    first = await asyncio.gather(*(post(stack, "k-once", b'{"text": "hi"}') for _ in range(5)))
    await stack.webhook.kill()
    await stack.webhook.start()
    again = await post(stack, "k-once", b'{"text": "hi"}')
    assert {str(answer) for answer in [*first, again]} == {str(again)}
    assert again[0] == 200
    assert outcomes(stack, "k-once") == ["accepted", *["repeat"] * 5]
    line = next(line for line in stack.webhook.ledger() if line["key"] == "k-once")
    assert (line["body"], line["headers"]["x-signature"]) == ('{"text": "hi"}', "s")
    assert "authorization" not in line["headers"]


async def test_webhook_refuses_misuse_of_keys(stack: LocalStack) -> None:
    """No key is a 400, another body under the same key a 422."""
    assert (await post(stack, None, b"{}"))[0] == 400
    await post(stack, "k-misuse", b"{}")
    assert (await post(stack, "k-misuse", b'{"other": 1}'))[0] == 422
    assert outcomes(stack, "k-misuse") == ["accepted", "conflict"]


@pytest.mark.parametrize(("fault", "found"), [("p_cut_after", True), ("p_cut_before", False)])
async def test_webhook_cut_and_look_up(stack: LocalStack, fault: str, found: bool) -> None:
    """After a cut the look-up tells whether the delivery was accepted."""
    stack.webhook.behave({fault: 1})
    with pytest.raises(ClientConnectionError):
        await post(stack, f"k{fault}", b"{}")
    status, answer = await look_up(stack, f"k{fault}")
    assert (status, answer["found"]) == ((200, True) if found else (404, False))
    stack.webhook.behave(None)
    assert (await post(stack, f"k{fault}", b"{}"))[0] == 200
    assert outcomes(stack, f"k{fault}")[-1] == ("repeat" if found else "accepted")


async def test_webhook_500_accepts_nothing(stack: LocalStack) -> None:
    """A 500 leaves the key free."""
    stack.webhook.behave({"p500": 1, "times": 1})
    assert (await post(stack, "k-500", b"{}"))[0] == 500
    assert (await look_up(stack, "k-500"))[0] == 404
    assert (await post(stack, "k-500", b"{}"))[0] == 200


def slack_client(stack: LocalStack, token: str | None = None) -> AsyncWebClient:
    """Slack's own client against the stand-in."""
    return AsyncWebClient(token=token or stack.env["SLACK_BOT_TOKEN"], base_url=stack.env["SLACK_API_URL"])


async def test_slack_client_posts_updates_and_opens_views(stack: LocalStack) -> None:
    """Slack's own client works against the stand-in, and every call is in the ledger."""
    client, channel = slack_client(stack), stack.env["SLACK_CHANNEL"]
    assert (await client.auth_test())["ok"]
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "the draft"}}
    posted = await client.chat_postMessage(channel=channel, text="review", blocks=[section])
    updated = await client.chat_update(channel=channel, ts=posted["ts"], text="sent")
    assert (updated["ts"], updated["channel"]) == (posted["ts"], channel)
    view = {"type": "modal", "title": {"type": "plain_text", "text": "Edit"}, "blocks": []}
    assert (await client.views_open(trigger_id="1.2", view=view))["view"]["type"] == "modal"
    methods = [line["method"] for line in stack.slack.ledger() if line["outcome"] == "ok"][-4:]
    assert methods == ["auth.test", "chat.postMessage", "chat.update", "views.open"]
    assert stack.slack.ledger()[-3]["body"]["blocks"] == [section]


async def test_slack_refuses_what_slack_refuses(stack: LocalStack) -> None:
    """A wrong token, an unknown message and an over-long section are Slack's own errors."""
    channel = stack.env["SLACK_CHANNEL"]
    with pytest.raises(SlackApiError, match="invalid_auth"):
        await slack_client(stack, "xoxb-wrong").auth_test()
    with pytest.raises(SlackApiError, match="message_not_found"):
        await slack_client(stack).chat_update(channel=channel, ts="1.000001", text="x")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await slack_client(stack).chat_postMessage(channel=channel, text="x", blocks=[section])


async def test_slack_rate_limit_and_response_url(stack: LocalStack) -> None:
    """A 429 carries Retry-After; a response_url needs no token."""
    stack.slack.behave({"p429": 1, "retry_after_s": 7, "times": 1})
    with pytest.raises(SlackApiError) as caught:
        await slack_client(stack).auth_test()
    assert caught.value.response.headers["Retry-After"] == "7"
    async with ClientSession() as session, session.post(f"{stack.slack.url}/response/abc", json={"text": "x"}) as reply:
        assert reply.status == 200
