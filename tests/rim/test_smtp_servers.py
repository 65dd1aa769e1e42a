"""Promises of e-mail that depend on what the server offers: TLS, login, more recipients. And what the reader sees."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import SendRefused, SendResult, Sent
from app.config import Config
from app.delivery import SmtpAdapter, adapters
from app.delivery.mail import Mailbox, html_of
from tests.rim.certificates import certificate
from tests.rim.test_smtp import CALL_S, DOMAIN, DRAFT, OUTGOING, SENDER, part_of

SENT = Sent(f"<{DRAFT}@{DOMAIN}>")
COPY = Mailbox("sent@example.com")


@dataclass
class Inbox:
    """What a server took: envelopes, and the logins it was shown with whether the connection was encrypted."""

    refuses: str | None = None
    taken: list[Envelope] = field(default_factory=list)
    logins: list[tuple[bytes, bool]] = field(default_factory=list)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        """aiosmtpd's hook; the name is aiosmtpd's, as below."""
        if address == self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.taken.append(envelope)
        return "250 taken"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.password, session.ssl is not None))
        return AuthResult(success=(data.login, data.password) == (b"user", b"pass:word"), handled=False)


@asynccontextmanager
async def server(inbox: Inbox, *, tls: Any = None, starttls: Any = None, login: bool = False) -> AsyncIterator[int]:
    """An SMTP server on a loopback port: `tls` from the first byte, or `starttls` offered."""

    def connection() -> SMTP:
        options: dict[str, Any] = {"tls_context": starttls, "auth_require_tls": False}
        if login:
            options |= {"authenticator": inbox.authenticate, "auth_required": True}
        return SMTP(inbox, hostname="localhost", **options)

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def send(url: str, **more: Any) -> SendResult:
    return await SmtpAdapter(url, SENDER, DOMAIN, **more).send(OUTGOING, CALL_S)


# ---- TLS and login


async def test_mail_and_password_go_over_tls_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """smtps:// with a login: the server sees both only after the handshake, on a certificate that was checked."""
    inbox, made = Inbox(), certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    async with server(inbox, tls=made.context, login=True) as port:
        assert await send(f"smtps://user:pass%3Aword@127.0.0.1:{port}") == SENT
    assert len(inbox.taken) == 1
    assert [password for password, _ in inbox.logins] == [b"pass:word"]


async def test_starttls_is_used_where_it_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """smtp:// to a server that offers TLS: the login comes after the connection was encrypted."""
    inbox, made = Inbox(), certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    async with server(inbox, starttls=made.context, login=True) as port:
        assert await send(f"smtp://user:pass%3Aword@127.0.0.1:{port}") == SENT
    assert inbox.logins == [(b"pass:word", True)]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_nobody_vouches_for_gets_no_mail(tmp_path: Path, scheme: str) -> None:
    """An untrusted certificate ends the attempt before anything was said: not sent, try again."""
    inbox, made = Inbox(), certificate(tmp_path)
    offered: dict[str, Any] = {"tls": made.context} if scheme == "smtps" else {"starttls": made.context}
    async with server(inbox, login=True, **offered) as port:
        result = await send(f"{scheme}://user:pass@127.0.0.1:{port}")
    assert result == SendRefused("smtp_connection", temporary=True)
    assert (inbox.taken, inbox.logins) == ([], [])


async def test_a_wrong_password_costs_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, and the reply waits until somebody has mended the address."""
    inbox, made = Inbox(), certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    async with server(inbox, tls=made.context, login=True) as port:
        assert await send(f"smtps://user:wrong@127.0.0.1:{port}") == SendRefused("smtp_535", temporary=True)
    assert inbox.taken == []


async def test_a_password_never_goes_out_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server elsewhere that offers no TLS is not given the password; the mail is refused."""
    monkeypatch.setattr("app.delivery.smtp._is_loopback", lambda peer: False)
    inbox = Inbox()
    async with server(inbox, login=True) as port:
        assert await send(f"smtp://user:pass@127.0.0.1:{port}") == SendRefused("login_needs_tls", temporary=False)
    assert (inbox.taken, inbox.logins) == ([], [])


# ---- a copy


async def test_a_copy_goes_along_and_nobody_sees_it() -> None:
    """One mail, two recipients in the envelope, none of them in a header but the lead."""
    inbox = Inbox()
    async with server(inbox) as port:
        assert await send(f"smtp://127.0.0.1:{port}", sent_copy=COPY) == SENT
    assert [envelope.rcpt_tos for envelope in inbox.taken] == [[OUTGOING.recipient, COPY.address]]
    assert COPY.address.encode() not in (inbox.taken[0].original_content or b"")


async def test_a_copy_that_is_refused_keeps_no_reply_back() -> None:
    """The lead gets the reply, whatever the server thinks of the copy's address."""
    inbox = Inbox(refuses=COPY.address)
    async with server(inbox) as port:
        assert await send(f"smtp://127.0.0.1:{port}", sent_copy=COPY) == SENT
    assert [envelope.rcpt_tos for envelope in inbox.taken] == [[OUTGOING.recipient]]


async def test_a_lead_that_is_refused_gets_no_copy_either() -> None:
    """Without the lead there is no mail at all."""
    inbox = Inbox(refuses=OUTGOING.recipient)
    async with server(inbox) as port:
        assert await send(f"smtp://127.0.0.1:{port}", sent_copy=COPY) == SendRefused("smtp_550", temporary=False)
    assert inbox.taken == []


def test_a_workspace_chooses_its_copy() -> None:
    """`sent_copy` of the channel; what is no address is none."""
    pick = adapters(Config(_env_file=None, smtp_url="smtp://h", smtp_from="a@b.example"))
    chosen, nonsense = pick("email", {"sent_copy": COPY.address}), pick("email", {"sent_copy": "a, b"})
    assert isinstance(chosen, SmtpAdapter)
    assert isinstance(nonsense, SmtpAdapter)
    assert (chosen.sent_copy, nonsense.sent_copy) == (COPY, None)


# ---- what a reader of HTML sees

TAG = re.compile(r"<[^>]*>")


@given(st.text(st.characters(codec="utf-8")))
def test_the_html_says_what_the_text_says_and_nothing_else(text: str) -> None:
    """For every text: the only tags are ours, and without them the lines are those of the text."""
    body = html_of(text).partition('<body dir="auto">\n')[2].removesuffix("\n</body></html>\n")
    assert set(TAG.findall(body)) <= {"<br>"}
    shown = [re.sub(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", "\ufffd", line) for line in text.splitlines()]
    assert [unescape(line) for line in body.split("<br>\n")] == (shown or [""])


async def test_markup_in_a_draft_is_shown_not_obeyed() -> None:
    """A tag in the text arrives escaped in the HTML part, exactly in the plain one."""
    text = '<script src="https://evil.example/x"></script> & <b onclick="x">bold</b>\nsecond line\n'
    inbox = Inbox()
    async with server(inbox) as port:
        result = await SmtpAdapter(f"smtp://127.0.0.1:{port}", SENDER, DOMAIN).send(
            replace(OUTGOING, text=text), CALL_S
        )
    assert result == SENT
    mail = bytes(inbox.taken[0].original_content or b"")
    assert part_of(mail, "plain") == text.encode()
    assert b"<script" not in part_of(mail, "html")
    assert b"&lt;script src=&quot;https://evil.example/x&quot;&gt;" in part_of(mail, "html")
    assert b"<br>\nsecond line" in part_of(mail, "html")
