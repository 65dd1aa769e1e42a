"""E-mail over SMTP (RFC 5321). What decides between "not sent" and "unknown" is whether the final dot was written."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from agents.ports import Capabilities, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from app.delivery.mail import Mailbox, build_mail, message_id, parse_mailbox

PORT: Final = 25
PORT_TLS: Final = 465
START_INPUT: Final = 354
_CLASS, _SUCCESS, _TEMPORARY, _PERMANENT = 100, 2, 4, 5  # a reply by its first digit

CAPABILITIES: Final = Capabilities()


@dataclass
class _Progress:
    """`dot_written`: from here on the server may have taken the mail, whatever we hear."""

    dot_written: bool = False


@dataclass
class SmtpAdapter:
    """One connection a mail. `url` is smtp:// (with STARTTLS where offered) or smtps://, with a login or without.

    SMTP knows neither keys nor look-ups: an unknown send is for a person. `sent_copy` gets the same mail, of which its
    head says nothing; a server that refuses it there delivers to the recipient all the same.
    """

    url: str = field(repr=False)
    sender: Mailbox
    domain: str
    sent_copy: Mailbox | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    capabilities: Capabilities = CAPABILITIES

    @property
    def route(self) -> str:
        return f"smtp {urlsplit(self.url).hostname}"

    async def send(self, outgoing: Outgoing, timeout_s: float) -> SendResult:
        """Deliver within `timeout_s` seconds. 4xx, a failed login, a cut before the dot: temporary; 5xx: permanent."""
        recipient = parse_mailbox(outgoing.recipient)
        if recipient is None:
            return SendRefused("bad_recipient", temporary=False)
        mail = build_mail(outgoing, self.sender, recipient, self.domain, self.now())
        client, progress = self._client(timeout_s), _Progress()
        try:
            async with asyncio.timeout(timeout_s):
                await self._log_in(client)
                await client.mail(self.sender.address)
                await client.rcpt(recipient.address)
                if self.sent_copy is not None:
                    with suppress(aiosmtplib.SMTPRecipientRefused):
                        await client.rcpt(self.sent_copy.address)
                code = await _hand_over(client, mail, progress)
            return _result(code, Sent(message_id(outgoing, self.domain)), progress)
        except _LoginInTheClear:
            return SendRefused("login_needs_tls", temporary=False)
        except aiosmtplib.SMTPAuthenticationError as error:  # our mistake, and one that somebody will mend
            return SendRefused(f"smtp_{error.code}", temporary=True)
        except aiosmtplib.SMTPResponseException as error:
            return _result(error.code, None, progress)
        except TimeoutError:
            return SendUnknown("smtp_timeout") if progress.dot_written else SendRefused("smtp_timeout", temporary=True)
        except (aiosmtplib.SMTPException, OSError):
            return SendUnknown("smtp_cut") if progress.dot_written else SendRefused("smtp_connection", temporary=True)
        finally:
            client.close()

    async def look_up(self, outgoing: Outgoing, timeout_s: float) -> SendResult | None:
        return None

    def _client(self, timeout_s: float) -> aiosmtplib.SMTP:
        address = urlsplit(self.url)
        tls = address.scheme == "smtps"
        return aiosmtplib.SMTP(
            hostname=address.hostname,
            port=address.port or (PORT_TLS if tls else PORT),
            local_hostname=self.domain,  # the default asks DNS for this machine's name, and shows it
            timeout=timeout_s,
            use_tls=tls,
        )

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        await client.connect()
        address = urlsplit(self.url)
        if address.username is None:
            return
        if client.get_transport_info("sslcontext") is None and not _is_loopback(client.get_transport_info("peername")):
            raise _LoginInTheClear
        await client.login(unquote(address.username), unquote(address.password or ""))


class _LoginInTheClear(Exception):
    """The server offers no TLS: the password stays here."""


def _is_loopback(peer: object) -> bool:
    return isinstance(peer, tuple) and ip_address(str(peer[0]).partition("%")[0]).is_loopback


async def _hand_over(client: aiosmtplib.SMTP, mail: bytes, progress: _Progress) -> int:
    """DATA, the mail and its final dot; returns the code of the reply to it."""
    answer = await client.execute_command(b"DATA")
    if answer.code != START_INPUT or client.protocol is None:
        raise aiosmtplib.SMTPDataError(answer.code, "")
    protocol = client.protocol
    protocol.write(mail.replace(b"\r\n.", b"\r\n..") + b".\r\n")  # raises, with nothing written, on a lost connection
    progress.dot_written = True
    answer = await protocol.read_response()
    with suppress(aiosmtplib.SMTPException):
        protocol.write(b"QUIT\r\n")
    return answer.code


def _result(code: int, sent: Sent | None, progress: _Progress) -> SendResult:
    """What a reply means; `sent` is None when it was not the reply to the final dot."""
    digit = code // _CLASS
    if digit == _SUCCESS and sent is not None:
        return sent
    if digit in (_TEMPORARY, _PERMANENT):
        return SendRefused(f"smtp_{code}", temporary=digit == _TEMPORARY)
    # Not a reply that SMTP knows.
    return SendUnknown("smtp_reply") if progress.dot_written else SendRefused("smtp_reply", temporary=True)
