"""Promises of e-mail, against the local mailbox and servers that break SMTP."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import Outgoing, SendRefused, SendResult, SendUnknown, Sent
from app.config import Config
from app.delivery import DiscardAdapter, SmtpAdapter, WebhookAdapter, adapters
from app.delivery.mail import Mailbox, build_mail, parse_mailbox, reply_subject
from app.stack.stand_in import StandIn
from schemas.ids import delivery_id

DRAFT = UUID("00000000-0000-5000-8000-000000000001")
KEY = str(delivery_id(DRAFT, 1))
SENDER = Mailbox("support@example.com", "Support")
LEAD = Mailbox("lead@example.net")
DOMAIN = "example.com"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CALL_S = 5.0
SHORT_S = 0.4

OUTGOING = Outgoing(
    key=KEY,
    draft_id=DRAFT,
    workspace_id="w",
    channel="email",
    recipient=LEAD.address,
    text="Hello\n",
    subject="Prices",
    thread_id="t",
    in_reply_to="<q2@example.net>",
    references=("<q1@example.net>",),
    automatic=True,
    config={},
)


def read(mail: bytes) -> EmailMessage:
    return email.message_from_bytes(mail, policy=email.policy.default)


def built(**changes: Any) -> bytes:
    return build_mail(replace(OUTGOING, **changes), SENDER, LEAD, DOMAIN, NOW)


def body_of(mail: bytes) -> bytes:
    """The body's bytes as a client decodes them."""
    return part_of(mail, "plain")


def part_of(mail: bytes, kind: str) -> bytes:
    part = read(mail).get_body((kind,))
    assert part is not None
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def adapter(port: int, scheme: str = "smtp://") -> SmtpAdapter:
    return SmtpAdapter(f"{scheme}127.0.0.1:{port}", SENDER, DOMAIN)


@pytest.fixture(scope="module")
async def mailbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIn]:
    """The local stack's mail server."""
    server = StandIn("mail", "app.stack.mailbox", tmp_path_factory.mktemp("mail"))
    await server.start()
    yield server
    await server.stop()


TEXTS = [
    "",
    "\n",
    "no end of line",
    "two ends\n\n",
    "a\r\nb\rc\n",
    ".\r\n.\n..leading dots\n.",
    "x" * 5_000,
    "From the start\n>From quoted",
    "Grüße 👋🏽 — «ok» \u2028\u00a0\t \n",
    "=?utf-8?q?not_a_header?=\nSubject: no",
    "\x1b[31m\x07 controls",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_text_arrives_byte_for_byte(mailbox: StandIn, text: str) -> None:
    """What the mailbox has on disk decodes to exactly the bytes of the draft (I5)."""
    result = await adapter(mailbox.port).send(replace(OUTGOING, text=text), CALL_S)
    assert result == Sent(f"<{DRAFT}@{DOMAIN}>")
    line = mailbox.ledger()[-1]
    stored = (mailbox.folder / "mailbox" / line["file"]).read_bytes()
    assert body_of(stored) == text.encode()
    assert (line["from"], line["to"]) == (SENDER.address, [LEAD.address])


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_survives_the_mail_format(text: str) -> None:
    """For every text there is: decoding the mail gives its bytes, and no line is longer than SMTP allows."""
    mail = built(text=text)
    assert body_of(mail) == text.encode()
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    assert b"\n" not in mail.replace(b"\r\n", b"")


NAMES = ["From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"]
NAMES += ["MIME-Version", "Content-Type"]
HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "x\r\nBcc: victim@example.org",
            "x\n\nnew body",
            "=?utf-8?q?=0D=0ABcc:_victim@example.org?=",
            "=?utf-8?b?DQpCY2M6IHZpY3RpbUBleGFtcGxlLm9yZw==?=",
            "x\u2028Bcc: v@example.org",
            "x\x85Bcc: v@example.org",
            "\x00",
            "<a@b>\r\nBcc: <c@d>",
            "x" * 5_000,
            "\ud800",
        ]
    ),
)


@given(subject=HOSTILE, answered=HOSTILE, references=st.lists(HOSTILE, max_size=5), name=HOSTILE)
def test_no_header_can_be_injected(subject: str, answered: str, references: list[str], name: str) -> None:
    """Whatever stands in subject, thread or sender's name: the mail has our headers, once each, and our body."""
    outgoing = replace(OUTGOING, subject=subject, in_reply_to=answered, references=tuple(references))
    sender = parse_mailbox(f"{name} <support@example.com>") or SENDER
    mail = build_mail(outgoing, sender, LEAD, DOMAIN, NOW)
    message = read(mail)
    assert set(message.keys()) <= set(NAMES)
    assert len(message.keys()) == len(set(message.keys()))
    assert body_of(mail) == OUTGOING.text.encode()
    assert "\n" not in str(message["Subject"])


@given(HOSTILE)
def test_subjects_stay_readable(subject: str) -> None:
    """What a client shows as subject is what was asked for, on one line, marked once as a reply."""
    assert str(read(built(subject=subject))["Subject"]) == reply_subject(subject)
    assert reply_subject(reply_subject(subject)) == reply_subject(subject)


def test_headers_of_a_reply() -> None:
    """The id comes from the draft, the thread is kept, and an automatic reply says so (RFC 3834)."""
    message = read(built())
    assert message["Message-ID"] == f"<{DRAFT}@{DOMAIN}>"
    assert message["In-Reply-To"] == "<q2@example.net>"
    assert str(message["References"]).split() == ["<q1@example.net>", "<q2@example.net>"]
    assert message["Subject"] == "Re: Prices"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"] == "Support <support@example.com>"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert {part.get_content_charset() for part in message.iter_parts()} == {"utf-8"}
    assert read(built(automatic=False))["Auto-Submitted"] is None


def test_a_confirmed_resend_is_another_mail() -> None:
    """Every attempt of a delivery has the same id, the next delivery of the draft another one."""
    first, second = read(built()), read(built(key=str(delivery_id(DRAFT, 2))))
    assert first["Message-ID"] == read(built())["Message-ID"]
    assert str(DRAFT) in second["Message-ID"]
    assert first["Message-ID"] != second["Message-ID"]


def test_long_threads_keep_their_start_and_end() -> None:
    """References of a long thread are cut in the middle; ids that are none are left out."""
    thread = [f"<{number}@example.net>" for number in range(100)]
    references = str(read(built(references=(*thread, "no id", "<a b@c>")))["References"]).split()
    assert references[0] == "<0@example.net>"
    assert references[-2:] == ["<99@example.net>", "<q2@example.net>"]
    assert len(references) <= 20


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("a@b.example", "a@b.example"),
        ("Maria Huber <m.h+x@b.example>", "m.h+x@b.example"),
        ('"Huber, Maria" <m@b.example>', "m@b.example"),
        ("m@bücher.example", "m@xn--bcher-kva.example"),
        ("a@b.example, c@d.example", None),
        ("A <a@b.example>, C <c@d.example>", None),
        ("a@b.example\r\nRCPT TO:<c@d.example>", None),
        ("a@b.example> SIZE=1", None),
        ("a@b@c.example", None),
        ("a b@c.example", None),
        ("grüße@c.example", None),
        ("@c.example", None),
        ("a@", None),
        ("a@-c.example", None),
        ("group: a@b.example;", None),
        ("", None),
        (None, None),
        (7, None),
        ("x" * 65 + "@b.example", None),
    ],
)
def test_one_recipient_or_none(value: object, address: str | None) -> None:
    """An address is one plain address; lists, groups and tricks are none."""
    found = parse_mailbox(value)
    assert (found.address if found else None) == address


async def test_bad_recipient_is_refused_for_good() -> None:
    """Without an address nothing is even connected."""
    result = await adapter(1).send(replace(OUTGOING, recipient="a@b, c@d"), CALL_S)
    assert result == SendRefused("bad_recipient", temporary=False)


@pytest.mark.parametrize(
    ("fault", "expected", "stored"),
    [
        ("p_4xx", SendRefused("smtp_451", temporary=True), False),
        ("p_5xx", SendRefused("smtp_550", temporary=False), False),
        ("p_cut_before", SendUnknown("smtp_cut"), False),
        ("p_cut_after", SendUnknown("smtp_cut"), True),
    ],
)
async def test_faults_of_the_mailbox(mailbox: StandIn, fault: str, expected: SendResult, stored: bool) -> None:
    """A reply code is certain; a cut after the dot is not, whether the mail was stored or not."""
    mailbox.behave({fault: 1})
    await asyncio.sleep(0.2)
    before = len(list((mailbox.folder / "mailbox").glob("*.eml")))
    try:
        assert await adapter(mailbox.port).send(OUTGOING, CALL_S) == expected
    finally:
        mailbox.behave(None)
        await asyncio.sleep(0.2)
    assert len(list((mailbox.folder / "mailbox").glob("*.eml"))) - before == stored


@asynccontextmanager
async def dialogue(*replies: bytes, hold: bool = False) -> AsyncIterator[int]:
    """A server that says each of `replies` for a line of the client, then cuts or holds. DATA content is one line."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            writer.write(reply)
            await writer.drain()
            await reader.readuntil(b"\r\n.\r\n" if reply.startswith(b"354") else b"\r\n")
        if hold:
            await reader.read(-1)
        writer.transport.abort()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


HELLO = (b"220 hi\r\n", b"250 hi\r\n", b"250 sender\r\n", b"250 recipient\r\n")


@pytest.mark.parametrize("known", range(5))
@pytest.mark.parametrize("hold", [True, False])
async def test_before_the_dot_is_a_refusal(known: int, hold: bool) -> None:
    """At every step before the final dot a cut or a silence means: not sent, try again."""
    async with dialogue(*HELLO[:known], hold=hold) as port:
        result = await adapter(port).send(OUTGOING, SHORT_S)
    assert isinstance(result, SendRefused)
    assert result.temporary


@pytest.mark.parametrize(("hold", "code"), [(True, "smtp_timeout"), (False, "smtp_cut")])
async def test_after_the_dot_is_unknown(hold: bool, code: str) -> None:
    """Once the dot is out, a cut or a silence means: it may have been sent."""
    async with dialogue(*HELLO, b"354 go\r\n", hold=hold) as port:
        assert await adapter(port).send(OUTGOING, SHORT_S) == SendUnknown(code)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ((b"554 no\r\n",), SendRefused("smtp_554", temporary=False)),
        ((b"421 busy\r\n",), SendRefused("smtp_421", temporary=True)),
        ((*HELLO[:2], b"550 sender\r\n"), SendRefused("smtp_550", temporary=False)),
        ((*HELLO[:3], b"450 greylisted\r\n"), SendRefused("smtp_450", temporary=True)),
        ((*HELLO[:3], b"550 unknown user\r\n"), SendRefused("smtp_550", temporary=False)),
        ((*HELLO, b"451 later\r\n"), SendRefused("smtp_451", temporary=True)),
        ((*HELLO, b"354 go\r\n", b"452 full\r\n"), SendRefused("smtp_452", temporary=True)),
        ((*HELLO, b"354 go\r\n", b"552 too big\r\n"), SendRefused("smtp_552", temporary=False)),
        ((*HELLO, b"354 go\r\n", b"250 taken\r\n"), Sent(f"<{DRAFT}@{DOMAIN}>")),
        ((*HELLO, b"354 go\r\n", b"what?\r\n"), SendUnknown("smtp_reply")),
        ((*HELLO, b"354 go\r\n", b"354 go on\r\n"), SendUnknown("smtp_reply")),
    ],
)
async def test_replies_mean_what_smtp_says(replies: tuple[bytes, ...], expected: SendResult) -> None:
    """4xx at any step is temporary, 5xx permanent, 2xx to the dot is sent, and gibberish is never taken for either."""
    async with dialogue(*replies) as port:
        assert await adapter(port).send(OUTGOING, CALL_S) == expected


async def test_nobody_listens() -> None:
    """No connection: not sent, try again."""
    for scheme in ("smtp://", "smtps://"):
        assert await adapter(1, scheme).send(OUTGOING, CALL_S) == SendRefused("smtp_connection", temporary=True)


async def test_cancelling_hangs_up() -> None:
    """A cancelled send ends at once."""
    async with dialogue(HELLO[0], hold=True) as port:
        task = asyncio.create_task(adapter(port).send(OUTGOING, CALL_S))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_which_adapter_a_channel_has() -> None:
    """discard before webhook before SMTP; no sender, no server or another channel: none."""
    pick = adapters(Config(_env_file=None, smtp_url="smtp://h", smtp_from="a@b.example"))
    bare = adapters(Config(_env_file=None))
    assert isinstance(pick("email", None), SmtpAdapter)
    assert isinstance(pick("email", {"from": "Team <t@c.example>"}), SmtpAdapter)
    assert isinstance(pick("email", {"webhook_url": "https://h/x"}), WebhookAdapter)
    assert isinstance(pick("email", {"webhook_url": "https://h/x", "adapter": "discard"}), DiscardAdapter)
    assert isinstance(bare("chat", {"webhook_url": "https://h/x"}), WebhookAdapter)
    assert pick("chat", {"from": "a@b.example"}) is None
    assert bare("email", {"from": "a@b.example"}) is None
    assert adapters(Config(_env_file=None, smtp_url="smtp://h"))("email", {}) is None


async def test_discard_sends_nothing_and_says_sent() -> None:
    """The same key gives the same id."""
    results = [await DiscardAdapter().send(OUTGOING, CALL_S) for _ in range(2)]
    assert results == [Sent(f"discard-{KEY}")] * 2
