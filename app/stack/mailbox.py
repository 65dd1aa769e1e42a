"""The local mailbox: an SMTP server that has each mail on disk, synced, before it says 250.

Mails are `mailbox/*.eml`, exact bytes, in the order of their names; `mail.jsonl` has one line for each DATA command
(time, file, from, to, message_id, outcome). Behaviour in `mail.json`: `latency_ms` and the shares `p_cut_after`
(stored, then cut before 250), `p_cut_before` (cut, not stored), `p_4xx`, `p_5xx`; `times` bounds how many are injected.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from app.stack.behaviour import BehaviourFile, latency_s
from app.stack.ledger import Ledger, now, sync_folder
from app.stack.serving import Arguments, read_arguments, run, serve

NAME: Final = "mail"
FAULTS: Final = ("_cut_after", "_cut_before", "_4xx", "_5xx")
MAIL_BYTES_MAX: Final = 32 * 1024 * 1024
REFUSALS: Final = {"_4xx": "451 4.3.0 Try again later", "_5xx": "550 5.7.1 Message refused"}


class Mailbox:
    """Handles the DATA command of every connection."""

    def __init__(self, arguments: Arguments) -> None:
        self.folder = arguments.dir / "mailbox"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger(arguments.dir / "mail.jsonl")
        self._behaviour = BehaviourFile(arguments.dir / "mail.json")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """aiosmtpd's hook: the reply to the mail. The name is aiosmtpd's."""
        settings = self._behaviour.current()
        fault = self._behaviour.draw(settings, FAULTS)
        await asyncio.sleep(latency_s(settings))
        content = envelope.original_content or b""
        file = None
        if fault in (None, "_cut_after"):
            file = await asyncio.to_thread(store_mail, self.folder, content)
        await self._ledger.append(
            {
                "time": now(),
                "file": file,
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "message_id": message_id_of(content),
                "outcome": fault.removeprefix("_") if fault else "accepted",
            }
        )
        if fault in ("_cut_after", "_cut_before"):
            cast(asyncio.Transport, server.transport).abort()
            raise asyncio.CancelledError
        return REFUSALS[fault] if fault else f"250 2.0.0 OK queued as {file}"


def store_mail(folder: Path, content: bytes) -> str:
    """Write one mail, file and name synced; returns the file's name."""
    name = f"{time.time_ns()}-{hashlib.sha256(content).hexdigest()[:8]}.eml"
    draft = folder / f".{name}.new"
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / name)
    sync_folder(folder)
    return name


def message_id_of(content: bytes) -> str | None:
    """The Message-ID header as written, if there is one."""
    head = content.partition(b"\r\n\r\n")[0]
    found = email.message_from_bytes(head, policy=email.policy.compat32)["Message-ID"]
    return None if found is None else str(found).strip()


async def main() -> None:
    """Serve until told to end."""
    arguments = read_arguments("mailbox")
    mailbox = Mailbox(arguments)

    def connection() -> Any:
        return SMTP(mailbox, hostname="localhost", enable_SMTPUTF8=True, data_size_limit=MAIL_BYTES_MAX)

    await serve(NAME, arguments, connection)


if __name__ == "__main__":
    run(main)
