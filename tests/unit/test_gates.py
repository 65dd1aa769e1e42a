"""The gates: machines get no reply, people who want to be left alone are, and nobody else is turned away."""

import email
import email.policy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.gates import MachineSign, first_gate, machine_mail, opts_out, readable, strip_quoted
from agents.gates.phrases import CHANNEL_KEYWORDS, KEYWORDS, STEMS, WEAK_KEYWORDS
from schemas.codes import Channel, Gate, Mode
from schemas.events import InboundMessage
from tests.samples import chat_bodies, machine_mails, naughty_strings

ANSWERED_MACHINES_MAX = 0.02
GATE_S_MAX = 30e-6
MESSAGES_MIN = 5_000
HOSTILE_S_MAX = 1.0
BODY_CHARS = 65_536
OWN = frozenset({"sales@acme.com"})


def message(body: str = "Hello", **changes: Any) -> InboundMessage:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "message_id": "m",
        "workspace_id": "w",
        "lead_id": "l",
        "channel": Channel.EMAIL,
        "received_at": datetime(2026, 3, 2, tzinfo=UTC),
        "body": body,
    }
    return InboundMessage.model_validate(fields | changes)


def gate(body: str = "Hello", **changes: Any) -> Gate | None:
    return first_gate(message(body, **changes), OWN, suppressed=False, mode=Mode.AI_AUTO_SEND)


@cache
def chat_messages() -> list[InboundMessage]:
    return [message(body, channel=Channel.CHAT) for body in chat_bodies()]


def sign_of(raw: bytes) -> str | None:
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    headers = {name: str(value) for name, value in mail.items()}
    part = mail.get_body(("plain", "html"))
    body = part.get_payload(decode=True) if part is not None else b""
    text = body.decode(errors="replace") if isinstance(body, bytes) else ""
    return machine_mail(headers, headers.get("From"), headers.get("To"), headers.get("Subject"), text, OWN)


def test_machine_mail_gets_no_reply(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the sample mails, all written by machines, at most 2 % would be answered."""
    mails = machine_mails()
    answered = [name for name, raw in mails.items() if sign_of(raw) is None]
    with capsys.disabled():
        print(f"\nmachine mail answered: {len(answered)} of {len(mails)}")
    assert mails
    assert len(answered) <= ANSWERED_MACHINES_MAX * len(mails), answered


def test_no_person_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the sample chats, all written by people, not one message is held back."""
    refused = [chat.body for chat in chat_messages() if first_gate(chat, OWN, False, Mode.AI_AUTO_SEND) is not None]
    with capsys.disabled():
        print(f"\npeople refused: {len(refused)} of {len(chat_messages())}")
    assert chat_messages()
    assert refused == []


def test_gates_keep_up_with_ingest() -> None:
    """A chat message passes all gates in less than 30 microseconds, in the best of five rounds."""
    chats = chat_messages() * max(1, MESSAGES_MIN // len(chat_messages()))

    def round_s() -> float:
        start = time.process_time()
        for chat in chats:
            first_gate(chat, OWN, False, Mode.AI_AUTO_SEND)
        return (time.process_time() - start) / len(chats)

    assert min(round_s() for _ in range(5)) < GATE_S_MAX


@pytest.mark.parametrize(
    ("headers", "sign"),
    [
        ({"Auto-Submitted": "auto-replied"}, MachineSign.AUTO_SUBMITTED),
        ({"AUTO-SUBMITTED": "auto-generated (failure)"}, MachineSign.AUTO_SUBMITTED),
        ({"auto-submitted": "No"}, None),
        ({"Auto-Submitted": "no; note=none"}, None),
        ({"Precedence": "bulk"}, MachineSign.PRECEDENCE),
        ({"Precedence": "first-class"}, None),
        ({"List-Unsubscribe": "<https://example.com/u>"}, MachineSign.MAILING_LIST),
        ({"List-Id": "Sales <sales.acme.com>", "Precedence": "list"}, None),
        ({"X-Auto-Response-Suppress": "DR, OOF, AutoReply"}, MachineSign.AUTO_RESPONSE),
        ({"X-Auto-Response-Suppress": "DR, RN"}, None),
        ({"x-autoreply": "yes"}, MachineSign.AUTO_RESPONSE),
        ({"Return-Path": "<>"}, MachineSign.EMPTY_RETURN_PATH),
        ({"Return-Path": "<ann@example.com>"}, None),
        ({"Content-Type": "multipart/report; report-type=delivery-status"}, MachineSign.BOUNCE),
        ({"Content-Type": "multipart/report; report-type=feedback-report"}, MachineSign.FEEDBACK_REPORT),
        ({"Content-Type": "multipart/alternative"}, None),
    ],
)
def test_headers_give_machines_away(headers: dict[str, str], sign: MachineSign | None) -> None:
    """Headers are read whatever the case of their names; our own group mailbox is no mailing list."""
    assert machine_mail(headers, "Ann <ann@example.com>", "sales@acme.com", "Prices", "Hello", OWN) == sign


@pytest.mark.parametrize(
    ("sender", "sign"),
    [
        ("no-reply@example.com", MachineSign.ROLE_SENDER),
        ("Shop <donotreply@example.com>", MachineSign.ROLE_SENDER),
        ("dmarc-noreply@example.com", MachineSign.ROLE_SENDER),
        ("bounces+12-ab@example.com", MachineSign.ROLE_SENDER),
        ("MAILER-DAEMON <>", MachineSign.BOUNCE),
        ("Postmaster@example.com", MachineSign.BOUNCE),
        ("Sales@ACME.com", MachineSign.OWN_ADDRESS),
        ("sales+tag@acme.com", MachineSign.OWN_ADDRESS),
        ("Ann Noreply <ann@example.com>", None),
        ("bouncer@example.com", None),
        ("ann@postmaster.example.com", None),
    ],
)
def test_senders_give_machines_away(sender: str, sign: MachineSign | None) -> None:
    """Role accounts, mailer daemons and our own address are no people, whatever their neighbours look like."""
    assert machine_mail(None, sender, "x@acme.com", "Prices", "Hello", OWN) == sign


@pytest.mark.parametrize(
    "subject",
    [
        "Out of Office",
        "Automatic reply: Prices",
        "Abwesenheitsnotiz",
        "Réponse automatique : Prix",
        "Away until May 5",
        "Respuesta automática: hola",
        "Risposta automatica",
        "Automatisch antwoord: x",
        "Odpowiedź automatyczna",
        "不在通知",
    ],
)
def test_absent_people_get_no_reply(subject: str) -> None:
    """An out-of-office notice is machine mail in every language we meet."""
    assert gate(subject=subject, from_address="ann@example.com") is Gate.MACHINE_MAIL


@pytest.mark.parametrize(
    "subject",
    [
        "Re: Automatic reply: Prices",
        "Out of office hours support?",
        "Automated response system",
        "My order was returned",
        "Absence of a receipt",
        "Delivery question",
        "Fwd: Undeliverable: our offer",
    ],
)
def test_subjects_of_people_pass(subject: str) -> None:
    """A person who writes about such a notice, or answers it, is a person."""
    assert gate(subject=subject, from_address="ann@example.com") is None


OPT_OUTS = (
    "STOP|Stop.|please stop|Unsubscribe|UNSUBSCRIBE ME!!!|Hi Sam, unsubscribe please|Take me off your mailing list"
    "|Hello,\nPlease remove me from your list.\nThanks\nBob|Stop emailing me|please don't contact me anymore|opt out"
    "|I no longer wish to receive these emails.|Can you please unsubscribe me?|stop\n\nJohn Smith"
    "|Not interested. Unsubscribe"
    "|Unsubscribe\n\nJohn Smith\nCEO, Acme\nPhone 555-1234|I asked to be removed from your list twice already!"
    "|Do not send me any more emails|Stop texting this number|Cease and desist emailing me|unsubscribe this email"
    "|Bitte abmelden|Bitte nehmen Sie mich aus dem Verteiler.|Ich möchte keine E-Mails mehr erhalten"
    "|Nicht mehr schreiben bitte"
    "|Désabonnez-moi|Veuillez me retirer de votre liste|Je ne souhaite plus recevoir vos mails|Stop aux mails"
    "|baja|Dame de baja por favor|No me envíen más correos|Cancellami|Non voglio più ricevere le vostre email"
    "|Descadastrar|Não quero mais receber emails|Afmelden|Ik wil geen mails meer ontvangen|Wypisz mnie"
    "|Proszę o wypisanie z listy"
    "|<div>stop</div><blockquote>hello, buy our things</blockquote>"
    "|unsubscribe\n\nOn Mon, 3 Nov 2025 at 10:00, Bob <bob@x.com> wrote:\n> hi"
    "|On Mon, 3 Nov 2025 at 10:00, Bob <bob@x.com> wrote:\n> hi\n\nunsubscribe"
).split("|")
NO_OPT_OUTS = (
    "please don't stop|Please don't stop emailing me|stop by tomorrow|can you stop my payment"
    "|Stop! that's not my address"
    "|unsubscribe link doesn't work on my invoice mail|I want to stop my subscription to the gold plan"
    "|The bus stop is near"
    "|please remove my card from the account|I unsubscribed from Netflix last year|Can I opt out of paperless billing?"
    "|Why did you unsubscribe me?|Thanks, no more questions|cancel|end|quit|cancel my order|my password is stop123"
    "|Stop. I think you charged me twice, please check invoice 123|stop sending invoices to my old address"
    "|I want to unsubscribe from the premium package|don't message me at work, use my cell"
    "|Does your tool help people opt out?"
    "|We had to stop sending newsletters last year because of GDPR, can your tool help?"
    "|please don't hesitate to contact me"
    "|Ich habe keine E-Mails mehr bekommen, bitte prüfen|Ich kann mich nicht abmelden"
    "|Können Sie mich für den Kurs anmelden"
    "|je ne reçois plus vos mails|quiero dar de baja mi línea de teléfono|non ricevo più le vostre email"
    "|não recebo mais e-mails"
    "|ik ontvang geen mails meer van jullie|nie otrzymuję wiadomości|Kunt u mij afmelden voor de afspraak van morgen?"
    "|Thanks\n\nOn Mon, 3 Nov 2025 at 10:00, Bob <bob@x.com> wrote:\n> Reply STOP to unsubscribe"
    "|Sounds good\n-- \nBob\nunsubscribe"
    "|Great!\n\nFrom: Bob <b@x.com>\nSent: Monday\nSubject: offer\n\nunsubscribe me"
    "|<p>Fine</p><blockquote>unsubscribe</blockquote>"
    "|Danke\n-----Ursprüngliche Nachricht-----\nVon: x\nabmelden"
    "|Oui\n\nLe lun. 3 nov. 2025 à 10:00, Bob\n<b@x.com> a écrit :\nstop"
).split("|")


@pytest.mark.parametrize("body", OPT_OUTS)
def test_people_who_opt_out_are_heard(body: str) -> None:
    """An opt-out is understood in its common forms and languages."""
    assert gate(body) is Gate.OPT_OUT


@pytest.mark.parametrize("body", NO_OPT_OUTS)
def test_ordinary_sentences_are_no_opt_out(body: str) -> None:
    """Nobody is put on the suppression list for a word that means something else, or that somebody else wrote."""
    assert gate(body, channel=Channel.CHAT) is None


def test_the_words_of_carriers_count_only_in_text_messages() -> None:
    """END and CANCEL end an SMS conversation; in a chat they are answers."""
    assert opts_out("CANCEL", Channel.SMS)
    assert not opts_out("CANCEL", Channel.CHAT)


def test_the_cheap_look_misses_no_keyword() -> None:
    """Every keyword holds a stem that lets it through the cheap look."""
    keywords = KEYWORDS | WEAK_KEYWORDS
    assert [word for word in keywords if not any(stem in word for stem in STEMS)] == []
    assert all(opts_out(word, Channel.EMAIL) for word in keywords)
    assert all(opts_out(word, channel) for channel, words in CHANNEL_KEYWORDS.items() for word in words)


def test_gates_close_in_their_order() -> None:
    """Outbound, machine mail, opt-out, suppressed lead, mode OFF: the first that fits is recorded."""
    machine = {"headers": {"Auto-Submitted": "auto-replied"}, "from_address": "ann@example.com"}
    assert gate("stop", direction="outbound", **machine) is Gate.OUTBOUND
    assert gate("stop", **machine) is Gate.MACHINE_MAIL
    assert first_gate(message("stop"), OWN, suppressed=True, mode=Mode.OFF) is Gate.OPT_OUT
    assert first_gate(message(), OWN, suppressed=True, mode=Mode.OFF) is Gate.SUPPRESSED
    assert first_gate(message(), OWN, suppressed=False, mode=Mode.OFF) is Gate.MODE_OFF
    assert gate() is None


def test_the_unsubscribe_button_of_a_mail_program_is_heard() -> None:
    """A mail that a program sent for a reader who pressed "unsubscribe" is an opt-out, though it is marked
    automatic."""
    automatic = {"Auto-Submitted": "auto-replied"}
    sent = {"subject": "unsubscribe", "from_address": "ann@example.com", "headers": automatic}
    assert gate("Mail sent this email to unsubscribe from the message.", **sent) is Gate.OPT_OUT
    assert gate("Hello", subject="Re: unsubscribe", from_address="ann@example.com") is None


def test_html_is_read_as_text() -> None:
    """Tags, styles, comments and entities are no text; blocks end lines; quotes are marked."""
    html = (
        "<html><head><style>p{}</style></head><body><!-- x --><p>Fish &amp; chips</p><div>Yes<br>No</div></body></html>"
    )
    assert readable(html).split() == ["Fish", "&", "chips", "Yes", "No"]
    assert strip_quoted("<p>Yes</p><blockquote><p>No</p></blockquote>") == "Yes"
    assert readable("if a < b and b > c") == "if a < b and b > c"


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "</",
        "<!--",
        "<x/",
        "On ",
        "On 1 wrote",
        "> ",
        "From: a\n",
        "stop ",
        "stop\n",
        "On 1\n",
        "_",
        "-",
        " ",
        "\n",
        "&a",
        "<p>stop <a ",
        "unsubscribe me ",
        "bitte keine ",
        "stop sending me more ",
        "nie wysyłać mi ",
        "<blockquote>",
        "this message is ",
        "do not reply to this message ",
        "we have received your message someone ",
        "your ticket 1",
        "i am away for ",
        "jag är ",
        "\n* ",
        ". ",
    ],
)
def test_hostile_bodies_do_not_hold_up_ingest(piece: str) -> None:
    """A body of 64 KB made to be slow passes the gates within a second."""
    body = ("unsubscribe <p>" + piece * BODY_CHARS)[:BODY_CHARS]
    start = time.process_time()
    mail = {"from_address": "ann@example.com", "subject": piece, "headers": {"Reply-To": piece}}
    first_gate(message(body[: BODY_CHARS // 2], **mail), OWN, False, Mode.AI_AUTO_SEND)
    first_gate(message((piece * BODY_CHARS)[: BODY_CHARS // 2], **mail), OWN, False, Mode.AI_AUTO_SEND)
    opts_out(body, Channel.EMAIL)
    assert time.process_time() - start < HOSTILE_S_MAX


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_no_text_breaks_a_gate(text: str, headers: dict[str, str]) -> None:
    """Whatever arrives, the gates answer."""
    machine_mail(headers, text, text, text, text, OWN)
    for channel in Channel:
        opts_out(text, channel)


@pytest.mark.parametrize(
    "reader", [readable, strip_quoted, lambda text: machine_mail({text: text}, text, text, text, text, OWN)]
)
def test_naughty_strings_break_nothing(reader: Callable[[str], object]) -> None:
    """The list of naughty strings passes every reader."""
    for naughty in naughty_strings():
        reader(naughty)
        reader(f"<p>{naughty}</p>unsubscribe")
