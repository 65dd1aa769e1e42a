"""The listener: 250 only after the broker has the message, 4xx when it has not, 5xx for what nobody could use."""

import asyncio
import hashlib
import signal
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from agents.persist import TRANSIENT
from app.config import Config
from app.kafka.inbound import BrokerAway, InboundProducer, Posting, TooLarge
from app.mail_in.reading import Mail, Unusable, read_mail
from db import sql
from db.pool import Pool, create_pool
from schemas.codes import Channel
from schemas.events import InboundMessage, LeadFields
from schemas.ids import derive

log = structlog.get_logger()

MAIL_BYTES_MAX: Final = 32 * 1024 * 1024
LINE_BYTES_MAX: Final = 1024 * 1024
RECIPIENTS_MAX: Final = 50
READ_S_MAX: Final = 20.0
THREAD_HASH_CHARS: Final = 32

OK: Final = "250 2.0.0 taken"
NOT_OURS: Final = "550 5.1.1 no such address here"
TOO_MANY: Final = "452 4.5.3 too many recipients"
AMBIGUOUS: Final = "451 4.3.5 this address belongs to two workspaces"
LATER: Final = "451 4.3.0 not now, try again"
USELESS: Final = "554 5.6.0 this is no mail that can be read"


def bare(address: str) -> str:
    """An address as workspaces are found by: lower case, without what stands behind a plus."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


class MailIn:
    """aiosmtpd's handler; the names of its hooks are aiosmtpd's."""

    def __init__(self, pool: Pool, producer: InboundProducer) -> None:
        self._pool, self._producer = pool, producer

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        """Take a recipient that belongs to a workspace."""
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return TOO_MANY
        found = (await self._workspaces([address])).get(bare(address), [])
        if len(found) > 1:
            log.warning("mail_address_ambiguous", workspace_id=found)
            return AMBIGUOUS
        if not found:
            return NOT_OURS
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """One answer for all recipients; over LMTP one for each (RFC 2033), the same for all."""
        answer = await self._take(envelope)
        return "\r\n".join([answer] * len(envelope.rcpt_tos)) if isinstance(server, LMTP) else answer

    async def handle_exception(self, error: Exception) -> str:
        """A defect, or the database away: the sender keeps the mail and tries again."""
        if isinstance(error, (*TRANSIENT, asyncpg.PostgresError)):
            log.warning("mail_waits_for_database", error_class=type(error).__name__)
        else:
            log.error("mail_failed", exc_info=error)
        return LATER

    async def _take(self, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        try:
            async with asyncio.timeout(READ_S_MAX):
                mail = await asyncio.to_thread(read_mail, content, envelope.mail_from or "")
        except Unusable as error:
            log.warning("mail_refused", code=error.code)
            return USELESS
        except TimeoutError:
            log.warning("mail_refused", code="too_slow")
            return USELESS
        found = await self._workspaces(envelope.rcpt_tos)
        workspaces = sorted({each for address in found.values() for each in address})
        messages = [await self._message(workspace, mail) for workspace in workspaces]
        try:
            landed = await self._producer.send([Posting(message) for message in messages])
        except TooLarge:
            log.warning("mail_refused", code="too_large")
            return USELESS
        except BrokerAway as error:
            log.warning("mail_waits_for_broker", error_class=type(error.__cause__).__name__)
            return LATER
        for workspace, place in zip(workspaces, landed, strict=True):
            log.info("mail_taken", workspace_id=workspace, partition=place.partition, offset=place.offset)
        return OK

    async def _workspaces(self, addresses: list[str]) -> dict[str, list[str]]:
        """The workspaces of each address that has any."""
        rows = await sql.ingest.workspaces_of_addresses.rows(self._pool, addresses=[bare(each) for each in addresses])
        return {row["address"]: row["workspaces"] for row in rows}

    async def _message(self, workspace: str, mail: Mail) -> InboundMessage:
        """The message, with the lead that has this address, and the thread that it goes on with."""
        standing = await sql.ingest.mail_standing.one(
            self._pool,
            workspace_id=workspace,
            address=mail.from_address.lower(),
            message_ids=list(mail.thread),
            draft_ids=list(mail.drafts),
        )
        begun = standing["thread_id"]
        thread = f"mail-{hashlib.sha256(mail.root.encode()).hexdigest()[:THREAD_HASH_CHARS]}"
        return InboundMessage(
            schema_version=1,
            message_id=mail.message_id,
            workspace_id=workspace,
            lead_id=standing["lead_id"] or str(derive("lead", workspace, mail.from_address.lower())),
            channel=Channel.EMAIL,
            received_at=datetime.now(UTC),
            body=mail.body,
            thread_id=thread if begun is None else begun,
            subject=mail.subject,
            from_address=mail.from_address,
            to_address=mail.to_address,
            headers=mail.headers,
            # Who is known keeps their name: anybody can write any name beside an address.
            lead=LeadFields(
                name=None if standing["lead_id"] else mail.from_name,
                email=mail.from_address if mail.has_address else None,
            ),
        )


class _Smtp(SMTP):
    line_length_limit = LINE_BYTES_MAX  # the standard's 998 are not kept by all who send


class _Lmtp(LMTP):
    line_length_limit = LINE_BYTES_MAX


async def listen(handler: MailIn, host: str, port: int, *, lmtp: bool) -> asyncio.Server:
    """Accept mail; the caller closes the server. Raises OSError when the address is taken."""
    kind = _Lmtp if lmtp else _Smtp

    def connection() -> SMTP:
        return kind(handler, hostname="draft-pipeline", ident="mail-in", enable_SMTPUTF8=True,
                    data_size_limit=MAIL_BYTES_MAX)  # fmt: skip

    return await asyncio.get_running_loop().create_server(connection, host, port)


async def run_mail_in(config: Config, host: str, port: int, *, lmtp: bool) -> None:
    """Take mail until SIGTERM or SIGINT. Prints one line when it listens. Raises OSError."""
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    pool = await create_pool(config.database_url or "", application="draft-pipeline mail-in")
    producer = InboundProducer(config)
    try:
        server = await listen(MailIn(pool, producer), host, port, lmtp=lmtp)
        where = server.sockets[0].getsockname()
        print(f"mail-in is listening on {where[0]}:{where[1]}", flush=True)  # noqa: T201 - what scripts wait for
        await stop.wait()
        server.close()
    finally:
        await producer.stop()
        await pool.close()
