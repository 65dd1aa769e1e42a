"""What a mail says is read as a person would read it, and nothing a stranger writes breaks the reader."""

from __future__ import annotations

import email.policy
import time
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.gates import first_gate, readable
from agents.starting import _attachments, _forged, recipient_of
from app.mail_in.reading import Mail, Unusable, read_mail
from schemas.codes import Gate, Mode
from schemas.events import InboundMessage
from schemas.limits import BODY_BYTES_MAX, HEADER_COUNT_MAX
from tests.samples import machine_mails, naughty_strings

OWN = frozenset({"sales@acme.com"})
DRAFT = "0f2a7b1c-8d5e-5f40-9a3b-2c1d4e5f6a7b"


def mail(body: str | bytes = b"Hello", **headers: str) -> Mail:
    """A mail with these headers (`_` for `-`) and this body, as bytes on the wire, read."""
    head = {"From": "Ann <ann@example.net>", "Message-ID": "<m1@example.net>"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    raw = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode("utf-8", "surrogateescape")
    return read_mail(raw + b"\r\n" + (body.encode() if isinstance(body, str) else body), "ann@example.net")


def as_message(read: Mail, **more: Any) -> InboundMessage:
    fields = {name: getattr(read, name) for name in ("message_id", "body", "subject", "from_address", "to_address")}
    return InboundMessage.model_validate(
        {"schema_version": 1, "workspace_id": "w", "lead_id": "l", "channel": "email",
         "received_at": "2026-03-02T09:00:00Z", "headers": read.headers, **fields, **more}
    )  # fmt: skip


# ---- real mail


def test_every_sample_mail_is_read_and_machines_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    """All sample mails, which machines wrote, become valid messages; at most 2 % of them would be answered."""
    answered = []
    for name, raw in machine_mails().items():
        message = as_message(read_mail(raw, ""))
        if first_gate(message, OWN, suppressed=False, mode=Mode.AI_AUTO_SEND) is None:
            answered.append(name)
    with capsys.disabled():
        print(f"\nmails read: {len(machine_mails())}, of machines answered: {len(answered)}")
    assert len(answered) <= 0.02 * len(machine_mails()), answered


def test_sample_mails_are_known_without_their_envelope_too() -> None:
    """An empty MAIL FROM alone must not be what tells a machine: most are known by what they say."""
    gates = [
        first_gate(as_message(read_mail(raw, "someone@example.net")), OWN, suppressed=False, mode=Mode.AI_AUTO_SEND)
        for raw in machine_mails().values()
    ]
    assert gates.count(Gate.MACHINE_MAIL) >= 0.9 * len(gates)


# ---- texts


def multipart(**changes: Any) -> EmailMessage:
    """A mail as programs write it: plain text and HTML."""
    made = EmailMessage(policy=email.policy.SMTP)
    made["From"], made["Message-ID"] = "ann@example.net", "<m2@example.net>"
    if "text" in changes:
        made.set_content(changes["text"])
    if "html" in changes:
        if "text" in changes:
            made.add_alternative(changes["html"], subtype="html")
        else:
            made.set_content(changes["html"], subtype="html")
    return made


def read(made: EmailMessage) -> Mail:
    return read_mail(made.as_bytes(), "ann@example.net")


def test_plain_text_goes_before_html() -> None:
    """Of two versions of one text the plain one counts."""
    assert read(multipart(text="Hello\n", html="<p>HELLO</p>")).body == "Hello\n"


def test_a_mail_of_html_only_is_read_as_text() -> None:
    """Its HTML goes on as it is, and every reader of ours reads it as text."""
    body = read(multipart(html="<html><body><p>Hello <b>there</b></p><p>Ann</p></body></html>")).body
    assert readable(body) == "Hello there\n\nAnn"


@pytest.mark.parametrize(
    ("charset", "text"),
    [("iso-8859-1", "Grüße"), ("windows-1252", "“quoted” – 10 €"), ("utf-8", "日本語 👋"), ("iso-2022-jp", "日本語"),
     ("koi8-r", "Привет"), ("big5", "你好"), ("x-nonsense", "Grüße"), ("rot13", "Grüße"), ("", "Grüße")],
)  # fmt: skip
def test_charsets_are_understood_and_wrong_ones_forgiven(charset: str, text: str) -> None:
    """Each text arrives; a charset that is unknown or no text encoding is taken for UTF-8."""
    encoded = text.encode(charset) if charset not in ("x-nonsense", "rot13", "") else text.encode()
    named = f"text/plain; charset={charset}" if charset else "text/plain"
    assert mail(encoded, Content_Type=named, Content_Transfer_Encoding="8bit").body == text


def test_bytes_that_are_no_utf8_are_still_a_text() -> None:
    """What claims nothing, or the wrong thing, is read as mail programs mean it."""
    assert mail("Grüße".encode("cp1252"), Content_Type="text/plain; charset=utf-8").body == "Grüße"
    assert mail(bytes(range(256))).body


def test_a_long_text_is_cut_where_it_quotes() -> None:
    """The contract's limit holds in bytes, and no character is cut in half; what is new stands first."""
    body = mail("ü" * BODY_BYTES_MAX).body
    assert len(body.encode()) == BODY_BYTES_MAX
    assert set(body) == {"ü"}


# ---- heads


@pytest.mark.parametrize(
    ("given_from", "name", "address"),
    [
        ("ann@example.net", None, "ann@example.net"),
        ('"Bär, Ann" <ann@example.net>', "Bär, Ann", "ann@example.net"),
        ("=?utf-8?q?Ann_B=C3=A4r?= <ann@example.net>", "Ann Bär", "ann@example.net"),
        ("=?utf-8?q?x=40evil=2Eexample=2C?= <ann@example.net>", "x@evil.example,", "ann@example.net"),
        ("Ann <ann@example.net>, Bob <bob@example.net>", "Ann", "ann@example.net"),
        ("undisclosed-recipients:;", None, "envelope@example.net"),
        ("", None, "envelope@example.net"),
    ],
)
def test_the_sender_is_one_address(given_from: str, name: str | None, address: str) -> None:
    """Encoded words are decoded in the name only: they cannot bring another address along."""
    found = read_mail(f"From: {given_from}\r\n\r\nhello".encode(), "envelope@example.net")
    assert (found.from_name, found.from_address) == (name, address)


@pytest.mark.parametrize("given_from", ["", "From: MAILER-DAEMON (Mail Delivery System)\r\n", "From: <>\r\n"])
def test_a_mail_from_nobody_is_known_as_a_bounce(given_from: str) -> None:
    """Neither a usable From nor an envelope sender: stored, and never answered."""
    found = read_mail(f"{given_from}Subject: hello\r\n\r\nhello".encode(), "")
    assert not found.has_address
    assert first_gate(as_message(found), OWN, suppressed=False, mode=Mode.AI_AUTO_SEND) is Gate.MACHINE_MAIL


@pytest.mark.parametrize(
    ("subject", "seen"),
    [
        ("=?utf-8?b?R3LDvMOfZQ==?= =?utf-8?q?_an_alle?=", "Grüße an alle"),
        ("Grüße raw", "Grüße raw"),
        ("=?nonsense?q?hello?=", "hello"),
        ("=?utf-8?q?a=0D=0ABcc:_x=40y?=", "a Bcc: x@y"),
        ("folded\r\n  over lines", "folded over lines"),
    ],
)
def test_subjects_are_decoded_onto_one_line(subject: str, seen: str) -> None:
    """Encoded words, raw UTF-8, folds; no line end survives."""
    assert mail(Subject=subject).subject == seen


def test_the_mails_id_names_the_message() -> None:
    """Its own Message-ID; without one a hash of it, the same when it is delivered twice."""
    assert mail().message_id == "m1@example.net"
    assert mail(Message_ID=f"<{'x' * 300}@y>").message_id.startswith("mail-")
    first, again, other = (read_mail(b"From: a@b.example\r\n\r\n" + body, "") for body in (b"1", b"1", b"2"))
    assert first.message_id == again.message_id != other.message_id


def test_a_thread_is_what_the_mail_names() -> None:
    """References first, then In-Reply-To; the root is the first; replies of ours are known by their draft."""
    assert mail().root == "m1@example.net"
    answer = mail(References=f"<root@x> <{DRAFT}@acme.com>", In_Reply_To=f"<{DRAFT}@acme.com>")
    assert answer.thread == ("root@x", f"{DRAFT}@acme.com")
    assert (answer.root, answer.drafts) == ("root@x", (DRAFT,))
    assert mail(In_Reply_To=f"<{DRAFT}.0123456789ab@acme.com>").drafts == (DRAFT,)
    assert mail(In_Reply_To="<no-draft@acme.com>").drafts == ()


def test_headers_go_on_and_ours_cannot_be_forged() -> None:
    """What gates and threads need is kept; the return path is the envelope's, attachments are those that are there."""
    headers = mail(
        Auto_Submitted="auto-replied", List_Id="<x.y>", X_Attachments="forged.pdf", Return_Path="<forged@x>",
        Received="from a by b", DKIM_Signature="v=1",
    ).headers  # fmt: skip
    assert headers["Return-Path"] == "<ann@example.net>"
    assert (headers["Auto-Submitted"], headers["List-Id"]) == ("auto-replied", "<x.y>")
    assert {"X-Attachments", "Received", "DKIM-Signature"}.isdisjoint(headers)
    assert read_mail(b"From: a@b.example\r\n\r\nx", "").headers["Return-Path"] == "<>"


def test_every_authentication_result_counts() -> None:
    """One that says "pass" above one that says "fail" does not hide it: the sender counts as forged."""
    raw = (b"Authentication-Results: mx.acme.com; dmarc=pass\r\nAuthentication-Results: relay; dmarc=fail\r\n"
           b"From: ann@example.net\r\n\r\nhello")  # fmt: skip
    assert _forged({"headers": read_mail(raw, "").headers})  # type: ignore[arg-type]
    assert not _forged({"headers": mail(Authentication_Results="mx; spf=pass; dkim=none; dmarc=pass").headers})  # type: ignore[arg-type]


# ---- attachments


def test_attachments_are_named_and_pictures_in_the_text_are_not() -> None:
    """Files and forwarded mails by name, in the message's own header; a logo inside the HTML is no attachment."""
    made = multipart(text="See the files", html="<p>See the files</p><img src='cid:logo'>")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Angebot, März.pdf")
    made.add_attachment(b"x", maintype="application", subtype="octet-stream")
    inner = EmailMessage()
    inner["Subject"] = "forwarded"
    inner.set_content("inner text")
    made.add_attachment(inner)
    html = next(part for part in made.walk() if part.get_content_type() == "text/html")
    html.add_related(b"GIF", maintype="image", subtype="gif", cid="<logo>", disposition="inline", filename="logo.gif")
    found = read(made)
    assert found.body == "See the files\n"
    assert found.headers["X-Attachments"] == (
        "Angebot März.pdf, unnamed (application/octet-stream), unnamed (message/rfc822)"
    )
    assert _attachments({"headers": found.headers}) == [  # type: ignore[arg-type]
        "Angebot März.pdf", "unnamed (application/octet-stream)", "unnamed (message/rfc822)"
    ]  # fmt: skip


# ---- where a reply goes


@pytest.mark.parametrize(
    ("reply_to", "recipient"),
    [
        ("ann@work.example", "ann@work.example"),
        ("ANN@work.example", "ANN@work.example"),
        ("mallory@evil.example", "ann@example.net"),
        ("ann@work.example, mallory@evil.example", "ann@example.net"),
        ("", "ann@example.net"),
    ],
)
def test_reply_to_counts_only_for_an_address_of_the_lead(reply_to: str, recipient: str) -> None:
    """A stranger's Reply-To cannot send our answer elsewhere."""
    facts = {"channel": "email", "from_address": "ann@example.net", "email": "ann@work.example", "lead_id": "l",
             "headers": {"Reply-To": reply_to}}  # fmt: skip
    assert recipient_of(facts) == recipient  # type: ignore[arg-type]


def test_where_a_machine_hands_on_a_letter_a_person_says_who_wrote_it() -> None:
    """A contact form writes from its own address and names another: nothing goes to either by itself."""
    form = {"channel": "email", "from_address": "no-reply@forms.example", "email": None, "lead_id": "l"}
    assert recipient_of(form | {"headers": {"Reply-To": "Ann <ann@example.net>"}}) is None  # type: ignore[arg-type]
    assert recipient_of(form | {"headers": {}}) == "no-reply@forms.example"  # type: ignore[arg-type]


# ---- hostile


@given(st.binary(max_size=2_000))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """Whatever comes after DATA is a valid message or refused with a code."""
    try:
        found = read_mail(content, "a@b.example")
    except Unusable:
        return
    as_message(found)


@given(st.dictionaries(st.sampled_from(["From", "Subject", "Content-Type", "Message-ID", "References", "To",
                                        "Content-Disposition", "Content-Transfer-Encoding"]), st.text(max_size=100)))  # fmt: skip
def test_no_header_breaks_the_reader(headers: dict[str, str]) -> None:
    """Nor does any header that the reader looks at."""
    raw = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("utf-8", "surrogatepass")
    try:
        found = read_mail(raw + b"\r\nhello", "a@b.example")
    except Unusable:
        return
    as_message(found)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/plain; name*=x; name*0=y",
        b"Content-Type: text/plain; charset*=x; charset*0=y",
        b"Content-Disposition: inline; filename*" + b"9" * 5_000 + b"=d",
        b"From: " + b"(" * 5_000,
    ],
    ids=["name in pieces", "charset in pieces", "number of a piece", "nested comments"],
)
def test_a_head_made_to_break_the_standard_library_is_refused(head: bytes) -> None:
    """With a code, so that the sender hears 5xx: anything else would have them try again for days."""
    with pytest.raises(Unusable, match="malformed"):
        read_mail(head + b"\r\n\r\nhello", "a@b.example")


def test_naughty_strings_are_read() -> None:
    """As subject, sender's name, file name and body."""
    for text in naughty_strings():
        line = " ".join(text.split())
        found = mail(text.encode("utf-8", "replace"), Subject=line.encode("utf-8", "replace").decode())
        as_message(found)


@pytest.mark.parametrize(
    "content",
    [
        b"From: a@b.example\r\n" + b"X-%d: y\r\n" % 1 * 50_000 + b"\r\nhello",
        b"From: a@b.example\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\nhello",
        b"From: a@b.example\r\nReferences: " + b"<a@b> " * 100_000 + b"\r\n\r\nhello",
        b"From: a@b.example\r\nSubject: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n\r\nhello",
        b"From: " + b"a@b.example, " * 20_000 + b"\r\n\r\nhello",
        b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 5_000,
        b"From: a@b.example\r\n"
        + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2_000)),
    ],
    ids=["one header often", "many headers", "references", "encoded words", "senders", "parts", "nested parts"],
)
def test_a_mail_made_to_be_slow_is_not(content: bytes) -> None:
    """Read or refused within three seconds, and within the contract's limits."""
    began = time.perf_counter()
    try:
        found = read_mail(content, "a@b.example")
    except Unusable:
        pass
    else:
        assert len(as_message(found).headers or {}) <= HEADER_COUNT_MAX
    assert time.perf_counter() - began < 3.0
