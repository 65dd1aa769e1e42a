"""Promises of the Slack rim: signatures, messages, calls."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier

from agents.ports import SendRefused, SendUnknown
from app.config import Config
from app.slack import Posted, SlackClient, verify
from app.slack.blocks import (
    APPROVE,
    DRAFT_SECTIONS_MAX,
    INPUT_CHARS_MAX,
    RESEND,
    SECTION_CHARS_MAX,
    VALUE_CHARS_MAX,
    Decided,
    Review,
    SlackMessage,
    decided_message,
    edit_view,
    reject_view,
    review_message,
)
from app.stack.stand_in import StandIn
from schemas.limits import DRAFT_CHARS_MAX, SLACK_SKEW_S_MAX
from tests.rim.servers import LOOPBACK, raw, serving

# The example of Slack's "Verifying requests from Slack".
VECTOR_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
VECTOR_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
VECTOR_NOW = 1_531_420_618
VECTOR_HEADERS = {
    "X-Slack-Request-Timestamp": str(VECTOR_NOW),
    "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}

DRAFT = UUID("00000000-0000-5000-8000-000000000001")
LINK = f"http://127.0.0.1:8080/drafts/{DRAFT}"
REVIEW = Review(
    draft_id=DRAFT,
    workspace_name="Acme",
    channel="email",
    recipient="lead@example.net",
    reason="The confidence is below the threshold",
    confidence=0.724,
    threshold=0.9,
    text="Hello",
    link=LINK,
    binding="signed.word",
)
MESSAGE = SlackMessage("Hello", ())
CALL_S = 5.0
SHORT_S = 0.3


def changed(**changes: Any) -> Review:
    return Review(**{**vars(REVIEW), **changes})


def test_slacks_own_vector_passes() -> None:
    """The example from Slack's documentation is accepted, at the edges of the window too, and header case is free."""
    assert verify(VECTOR_HEADERS, VECTOR_BODY, [VECTOR_SECRET], VECTOR_NOW)
    lower = {name.lower(): value for name, value in VECTOR_HEADERS.items()}
    for skew in (-SLACK_SKEW_S_MAX, SLACK_SKEW_S_MAX):
        assert verify(lower, VECTOR_BODY, [VECTOR_SECRET], VECTOR_NOW + skew)


def test_both_secrets_pass_while_they_are_rotated() -> None:
    """The old and the new secret are good; an empty one, or none at all, never is."""
    assert verify(VECTOR_HEADERS, VECTOR_BODY, ["new", VECTOR_SECRET], VECTOR_NOW)
    assert not verify(VECTOR_HEADERS, VECTOR_BODY, ["new", "old"], VECTOR_NOW)
    assert not verify(VECTOR_HEADERS, VECTOR_BODY, [], VECTOR_NOW)
    anybody = hmac.new(b"", f"v0:{VECTOR_NOW}:".encode() + VECTOR_BODY, hashlib.sha256).hexdigest()
    assert not verify(VECTOR_HEADERS | {"X-Slack-Signature": f"v0={anybody}"}, VECTOR_BODY, [""], VECTOR_NOW)


@pytest.mark.parametrize("skew", [-SLACK_SKEW_S_MAX - 1, SLACK_SKEW_S_MAX + 1, 1e12, -1e12])
def test_old_and_future_requests_fail(skew: float) -> None:
    """Beyond five minutes, either way, a good signature is worth nothing."""
    assert not verify(VECTOR_HEADERS, VECTOR_BODY, [VECTOR_SECRET], VECTOR_NOW + skew)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Slack-Signature": VECTOR_HEADERS["X-Slack-Signature"]},
        {"X-Slack-Request-Timestamp": str(VECTOR_NOW)},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": "soon"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": f"+{VECTOR_NOW}"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": f" {VECTOR_NOW}"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": f"{VECTOR_NOW}\n"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": f"{VECTOR_NOW}.0"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": "١٥٣١٤٢٠٦١٨"},
        VECTOR_HEADERS | {"X-Slack-Request-Timestamp": "9" * 5_000},
        VECTOR_HEADERS | {"X-Slack-Signature": ""},
        VECTOR_HEADERS | {"X-Slack-Signature": "v0="},
        VECTOR_HEADERS | {"X-Slack-Signature": "v0=ä"},
        VECTOR_HEADERS | {"X-Slack-Signature": "\ud800"},
        VECTOR_HEADERS | {"X-Slack-Signature": VECTOR_HEADERS["X-Slack-Signature"].upper()},
    ],
)
def test_forged_headers_fail_quietly(headers: dict[str, str]) -> None:
    """Missing, malformed, not ASCII: refused, never an exception."""
    assert verify(headers, VECTOR_BODY, [VECTOR_SECRET], VECTOR_NOW) is False


def test_any_changed_byte_fails() -> None:
    """Each single bit of the body counts."""
    for position in range(0, len(VECTOR_BODY), 7):
        body = bytearray(VECTOR_BODY)
        body[position] ^= 1
        assert not verify(VECTOR_HEADERS, bytes(body), [VECTOR_SECRET], VECTOR_NOW)


class _Fixed(Clock):
    def now(self) -> float:
        return VECTOR_NOW


@given(st.dictionaries(st.text(), st.text()), st.binary(), st.text(min_size=1).filter(str.strip))
def test_hostile_requests_never_raise(headers: dict[str, str], body: bytes, secret: str) -> None:
    """Whatever arrives is refused with False."""
    assert verify(headers, body, [secret.encode("utf-8", "replace").decode()], VECTOR_NOW) is False


@given(st.text(), st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_agrees_with_slacks_own_signer(text: str, secret: str) -> None:
    """What slack_sdk signs is accepted."""
    body = text.encode("utf-8", "replace")
    signature = SignatureVerifier(secret, _Fixed()).generate_signature(timestamp=str(VECTOR_NOW), body=body)
    assert verify(VECTOR_HEADERS | {"X-Slack-Signature": str(signature)}, body, [secret], VECTOR_NOW)


def sections(message: SlackMessage) -> list[str]:
    return [block["text"]["text"] for block in message.blocks if block["type"] == "section"]


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@given(st.text(min_size=1, max_size=DRAFT_CHARS_MAX).filter(str.strip))
def test_the_draft_is_shown_exactly(text: str) -> None:
    """The sections put together and unescaped are the draft, each within Slack's limit, none formatted."""
    message = review_message(changed(text=text))
    assert unescaped("".join(sections(message)[1:])) == text
    assert all(len(section) <= SECTION_CHARS_MAX for section in sections(message))
    assert all(block["text"]["type"] == "plain_text" for block in message.blocks if block["type"] == "section")


@pytest.mark.parametrize(
    "text", ["&" * DRAFT_CHARS_MAX, "<!channel> <https://evil.example|click>", "x" * SECTION_CHARS_MAX]
)
def test_no_entity_is_cut_and_nothing_is_live(text: str) -> None:
    """The longest draft of only control characters fits, and no mention or link survives as one."""
    message = review_message(changed(text=text))
    assert unescaped("".join(sections(message)[1:])) == text
    assert not any("<" in section for section in sections(message))
    assert len(message.blocks) <= 50


def buttons(message: SlackMessage) -> dict[str, dict[str, Any]]:
    (actions,) = (block for block in message.blocks if block["type"] == "actions")
    return {button["action_id"]: button for button in actions["elements"]}


def test_a_review_says_why_how_sure_and_where() -> None:
    """Reason in words, confidence against threshold, deep link with the draft id, three buttons with the binding."""
    message = review_message(REVIEW)
    shown = json.dumps(message.fields())
    assert REVIEW.reason in shown
    assert "confidence 0.72, 0.90 needed" in shown
    assert f"<{LINK}|" in shown
    assert {name: button["value"] for name, button in buttons(message).items()} == dict.fromkeys(
        ("approve", "edit", "reject"), REVIEW.binding
    )
    assert [button["text"]["text"] for button in buttons(message).values()] == ["Approve and send", "Edit", "Reject"]
    assert "no usable confidence" in json.dumps(review_message(changed(confidence=None)).fields())


@pytest.mark.parametrize("text", ["", " \n"])
def test_what_cannot_be_seen_cannot_be_approved(text: str) -> None:
    """A blank draft, one that Slack cannot show whole, one of whose objections some are cut: none can be approved."""
    assert set(buttons(review_message(changed(text=text)))) == {"edit", "reject"}
    assert set(buttons(review_message(changed(text="&" * (SECTION_CHARS_MAX * DRAFT_SECTIONS_MAX))))) == {"reject"}
    many = tuple(f"An amount that is in no source. “{number}”" for number in range(1_000))
    assert set(buttons(review_message(changed(places=many)))) == {"edit", "reject"}
    assert len(review_message(changed(places=many)).blocks) <= 50


def test_what_rules_object_to_is_shown_with_the_draft() -> None:
    """Places stand in the message; what nobody may send has no Approve, and says so."""
    message = review_message(changed(places=("An amount that is in no source. “€ 500”",)))
    assert "• An amount that is in no source. “€ 500”" in sections(message)
    assert APPROVE in buttons(message)
    forbidden = review_message(changed(forbidden=True))
    assert set(buttons(forbidden)) == {"edit", "reject"}
    assert "A rule forbids this text" in json.dumps(forbidden.fields())


def test_a_second_send_is_asked_for_as_such() -> None:
    """A draft that may have been sent offers no plain Approve: sending again is named, and asked twice."""
    shown = buttons(review_message(changed(maybe_sent=True)))
    assert set(shown) == {RESEND, "reject"}
    assert "twice" in shown[RESEND]["confirm"]["text"]["text"]
    assert "may have been sent" in review_message(changed(maybe_sent=True)).text


def test_names_and_reasons_cannot_break_out() -> None:
    """Workspace, recipient, reason and link are words, never markup."""
    evil = "<!here>|`*x*` " * 400
    message = review_message(changed(workspace_name=evil, recipient=evil, reason=evil, link=f"{LINK}?a=<x>|y"))
    assert "<!here>" not in json.dumps(message.fields())
    link = next(block for block in message.blocks if block["type"] == "context" and "|Open" in json.dumps(block))
    assert link["elements"][0]["text"].count("|") == 1
    assert len(message.text) <= 300


def test_a_binding_must_fit() -> None:
    """A button's value has a limit at Slack; a longer one is our mistake and raises."""
    assert buttons(review_message(changed(binding="x" * VALUE_CHARS_MAX)))[APPROVE]
    with pytest.raises(ValueError, match="2000"):
        review_message(changed(binding="x" * (VALUE_CHARS_MAX + 1)))


def test_a_decided_review_has_no_text_and_no_buttons() -> None:
    """After the decision the message says what happened, and the draft is gone from it."""
    when = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)
    message = decided_message(DRAFT, Decided("Approved", "U1", when), LINK)
    assert {block["type"] for block in message.blocks} == {"section", "context"}
    assert "Hello" not in json.dumps(message.fields())
    line = message.blocks[0]["text"]["text"]
    assert (
        line
        == f"*Approved* by <@U1> · <!date^{int(when.timestamp())}^{{date_short_pretty}} {{time}}|2026-03-02 09:05 UTC>"
    )
    named = decided_message(DRAFT, Decided("Approved", "<!here> *ann*"), LINK).blocks[0]["text"]["text"]
    assert named == "*Approved* by &lt;!here&gt; ann"


def test_forms() -> None:
    """The edit form starts with the draft's text and carries the binding; what is too long is edited on the page."""
    view = edit_view("b", "Hello")
    assert view["private_metadata"] == "b"
    assert view["blocks"][0]["element"]["initial_value"] == "Hello"
    asked = edit_view("b", "Hello", ["An amount that is in no source. “€ 500”"])
    assert "€ 500" in asked["blocks"][0]["text"]["text"]
    assert asked["submit"]["text"] == "Send it like this"
    assert asked["blocks"][1] == view["blocks"][0]
    for text in ("x" * (INPUT_CHARS_MAX + 1), "🏳" * (INPUT_CHARS_MAX // 2 + 1)):
        with pytest.raises(ValueError, match="3000"):
            edit_view("b", text)
        assert "edit" not in buttons(review_message(changed(text=text)))
    assert reject_view("b")["callback_id"] == "reject"


def client(url: str) -> SlackClient:
    return SlackClient(Config(_env_file=None, slack_bot_token="xoxb-1", slack_api_url=f"{url}/api/"))


@pytest.fixture(scope="module")
async def slack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIn]:
    """The local stack's Slack."""
    server = StandIn("slack", "app.stack.slack_server", tmp_path_factory.mktemp("slack"))
    await server.start()
    yield server
    await server.stop()


async def test_a_review_is_posted_updated_and_answered(slack: StandIn) -> None:
    """Post, update, view and response_url work against a server with Slack's checks."""
    calls = client(slack.url)
    posted = await calls.post("C1", review_message(REVIEW))
    assert isinstance(posted, Posted)
    assert posted.ts
    done = decided_message(DRAFT, Decided("It was sent"), LINK)
    assert isinstance(await calls.update(posted.channel, posted.ts, done), Posted)
    assert isinstance(await calls.open_view("T1", reject_view("b")), Posted)
    assert isinstance(await calls.respond(f"{slack.url}/response/1", done), Posted)
    assert isinstance(await calls.tell("C1", "U1", done), Posted)
    assert await calls.team() == Posted(team="T0LOCAL")
    assert await calls.update("C1", "1.1", done) == SendRefused("message_not_found", temporary=False)
    await calls.close()


async def test_429_is_waited_out() -> None:
    """Retry-After holds back the call, and every other call of the client, then all goes on."""
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def handler(_: web.Request) -> web.Response:
        times.append(loop.time())
        if len(times) == 1:
            return web.json_response({"ok": False}, status=429, headers={"Retry-After": "0.3"})
        return web.json_response({"ok": True, "channel": "C", "ts": "1.1"})

    async with serving(handler) as url:
        calls = client(url)
        first = asyncio.create_task(calls.post("C", MESSAGE))
        await asyncio.sleep(0.1)
        assert await calls.post("C", MESSAGE) == Posted("C", "1.1")
        assert await first == Posted("C", "1.1")
        await calls.close()
    assert len(times) == 3
    assert min(times[1:]) - times[0] >= SHORT_S


async def test_429_beyond_the_deadline_is_handed_back() -> None:
    """When Slack asks for more time than there is, the caller is told for how long."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"ok": False}, status=429, headers={"Retry-After": "30"})

    async with serving(handler) as url:
        calls = client(url)
        result = await asyncio.wait_for(calls.post("C", MESSAGE, 1.0), 0.9)
        await calls.close()
    assert isinstance(result, SendRefused)
    assert result.retry_after_s == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"ok": false, "error": "channel_not_found"}', SendRefused("channel_not_found", temporary=False)),
        (200, b'{"ok": false, "error": "internal_error"}', SendUnknown("internal_error")),
        (200, b'{"ok": false, "error": "Maria <maria@example.com>"}', SendRefused("slack_error", temporary=False)),
        (200, b'{"ok": "yes"}', SendRefused("slack_error", temporary=False)),
        (200, b"ok", Posted()),
        (200, b"<html>", SendUnknown("slack_body")),
        (200, b"[]", SendUnknown("slack_body")),
        (302, b"", SendUnknown("slack_302")),
        (500, b"", SendUnknown("slack_500")),
        (503, b"", SendRefused("slack_503", temporary=True)),
    ],
)
async def test_what_slack_says(status: int, body: bytes, expected: object) -> None:
    """Done, certainly not done, or unknown; foreign words never become codes."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json")

    async with serving(handler) as url:
        calls = client(url)
        assert await calls.post("C", MESSAGE, CALL_S) == expected
        await calls.close()


async def test_a_cut_is_not_repeated() -> None:
    """A post whose connection broke may be there: it is not posted twice behind the caller's back."""
    for hold, code in ((False, "slack_cut"), (True, "slack_timeout")):
        async with raw(b"", hold=hold) as url:
            calls = client(url)
            assert await calls.post("C", MESSAGE, SHORT_S) == SendUnknown(code)
            await calls.close()
    calls = client(f"http://{LOOPBACK}:1")
    assert await calls.post("C", MESSAGE, CALL_S) == SendRefused("slack_connection", temporary=True)
    await calls.close()


@pytest.mark.parametrize(
    "url",
    ["http://hooks.slack.com/x", "https://evil.example/", "https://hooks.slack.com.evil.example/", "", "x", "http://["],
)
async def test_only_slacks_own_response_urls(slack: StandIn, url: str) -> None:
    """A response_url that leads elsewhere is not called."""
    calls = client(slack.url)
    assert await calls.respond(url, MESSAGE) == SendRefused("foreign_response_url", temporary=False)
    await calls.close()
