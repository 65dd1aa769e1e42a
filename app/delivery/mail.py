"""A reply as a mail (RFC 5322), byte for byte. Pure.

The text is base64: the one transfer encoding that no server, line ending or line length can change, so that decoding
gives exactly the bytes of the draft. Beside it stands the same text as HTML, where nothing but line breaks is markup.
The head is put together here, not by the email package: that one decodes encoded words inside values it is given, and a
newline may come out of them. Every value is checked once more before it is used.
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from hashlib import sha256
from html import escape
from typing import Final

from agents.ports import Outgoing
from schemas.ids import delivery_id

SUBJECT_CHARS_MAX: Final = 250
PLAIN_VALUE_CHARS_MAX: Final = 250
MESSAGE_ID_CHARS_MAX: Final = 250
REFERENCES_MAX: Final = 20
LINE_CHARS: Final = 76
FIRST_DELIVERY: Final = 1
KEY_MARK_CHARS: Final = 12
BOUNDARY_CHARS: Final = 32

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NAMED: Final = re.compile(r'\s*(?:"(?P<quoted>[^"\\]*)"|(?P<name>[^<>"@,;]*?))\s*<(?P<address>[^<>]*)>\s*')
_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]{1,248}>")
_REPLY_MARK: Final = re.compile(r"(?:re|aw|sv|antw)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# Printable ASCII in lines that only our own folding begins.
_SAFE_VALUE: Final = re.compile(r"[ -~]*(?:\r\n [ -~]+)*")


@dataclass(frozen=True)
class Mailbox:
    """One address, ASCII (the domain as IDNA), and the name it may be shown with."""

    address: str
    name: str = ""


def parse_mailbox(value: object) -> Mailbox | None:
    """`a@b` or `Name <a@b>`; None for anything else: lists, groups, controls, non-ASCII local parts."""
    if not isinstance(value, str) or any(not character.isprintable() for character in value):
        return None
    named = _NAMED.fullmatch(value)
    name = (named["quoted"] or named["name"] or "") if named else ""
    local, _, domain = (named["address"] if named else value).strip().rpartition("@")
    try:
        address = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None
    return Mailbox(address, name.strip()) if _ADDRESS.fullmatch(address) else None


def message_id(outgoing: Outgoing, domain: str) -> str:
    """`<draft_id@domain>` for the first delivery of a draft; a confirmed re-send has another key and so another id."""
    first = (str(outgoing.draft_id), str(delivery_id(outgoing.draft_id, FIRST_DELIVERY)))
    mark = "" if outgoing.key in first else "." + sha256(outgoing.key.encode()).hexdigest()[:KEY_MARK_CHARS]
    return f"<{outgoing.draft_id}{mark}@{domain}>"


def build_mail(outgoing: Outgoing, sender: Mailbox, recipient: Mailbox, domain: str, now: datetime) -> bytes:
    """The mail as it goes over the wire, lines ended by CRLF. `now` is aware. Raises ValueError for an unsafe head."""
    fields = [
        ("From", f"{_words('From', sender.name)} <{sender.address}>" if sender.name else sender.address),
        ("To", recipient.address),
        ("Subject", _words("Subject", reply_subject(outgoing.subject))),
        ("Date", format_datetime(now)),
        ("Message-ID", message_id(outgoing, domain)),
    ]
    references = _references(outgoing)
    if references:
        fields += [("In-Reply-To", references[-1]), ("References", "\r\n ".join(references))]
    if outgoing.automatic:
        fields.append(("Auto-Submitted", "auto-replied"))
    boundary = "=_" + sha256(outgoing.key.encode()).hexdigest()[:BOUNDARY_CHARS]  # stands in no base64
    fields += [("MIME-Version", "1.0"), ("Content-Type", f'multipart/alternative; boundary="{boundary}"')]
    head = "".join(_line(name, value) for name, value in fields)
    parts = _part("plain", outgoing.text, boundary) + _part("html", html_of(outgoing.text), boundary)
    return f"{head}\r\n{parts}--{boundary}--\r\n".encode("ascii")


def _part(kind: str, text: str, boundary: str) -> str:
    encoded = base64.encodebytes(text.encode()).decode("ascii").replace("\n", "\r\n")
    head = _line("Content-Type", f"text/{kind}; charset=utf-8") + _line("Content-Transfer-Encoding", "base64")
    return f"--{boundary}\r\n{head}\r\n{encoded}"


def html_of(text: str) -> str:
    """The same text for a reader of HTML: every character of it is text, every line ends where it did."""
    lines = "<br>\n".join(escape(_CONTROL.sub("\ufffd", line)) for line in text.splitlines())
    return f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body dir="auto">\n{lines}\n</body></html>\n'


def reply_subject(subject: str | None) -> str:
    """`Re: ...`, once; on one line, without controls, at most `SUBJECT_CHARS_MAX` characters."""
    visible = "".join(character if character.isprintable() else " " for character in subject or "")
    clean = " ".join(visible.split())
    return (clean if _REPLY_MARK.match(clean) else f"Re: {clean}")[:SUBJECT_CHARS_MAX].strip()


def _words(field: str, value: str) -> str:
    """Text for a head: as it is when plain, else as encoded words (RFC 2047)."""
    plain = value.isascii() and "=?" not in value and len(value) <= PLAIN_VALUE_CHARS_MAX
    if plain and (field == "Subject" or re.fullmatch(r"[A-Za-z0-9 ]*", value)):
        return value
    return Header(value, "utf-8", maxlinelen=LINE_CHARS, header_name=field).encode(linesep="\r\n")


def _references(outgoing: Outgoing) -> list[str]:
    """The well-formed ids of the thread, the one answered last; of a long thread its start and its end (RFC 5322)."""
    answered = outgoing.in_reply_to if _is_message_id(outgoing.in_reply_to) else None
    ids = [value for value in dict.fromkeys(outgoing.references) if _is_message_id(value) and value != answered]
    if len(ids) >= REFERENCES_MAX:
        ids = [ids[0], *ids[-(REFERENCES_MAX - 2) :]]
    return [*ids, answered] if answered else []


def _is_message_id(value: str | None) -> bool:
    return value is not None and len(value) <= MESSAGE_ID_CHARS_MAX and bool(_MESSAGE_ID.fullmatch(value))


def _line(name: str, value: str) -> str:
    if not _SAFE_VALUE.fullmatch(value):
        raise ValueError(f"unsafe value for {name}")
    return f"{name}: {value}\r\n"
