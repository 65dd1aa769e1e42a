"""A mail (RFC 5322, MIME) as the fields of a message. Pure; nothing a stranger writes may raise but `Unusable`.

The old header policy of the email package reads everything; the new one raises on headers made for it.
"""

import email
import email.policy
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses
from itertools import islice
from typing import Final

from schemas.limits import BODY_BYTES_MAX, HEADER_CHARS_MAX, HEADER_COUNT_MAX, ID_CHARS_MAX, TEXT_FIELD_CHARS_MAX

ATTACHMENTS: Final = "X-Attachments"
RETURN_PATH: Final = "Return-Path"
PARTS_MAX: Final = 1_000
HEADERS_READ_MAX: Final = 2_000
LINES_MAX: Final = 600_000
BOUNDARIES_MAX: Final = 50
THREAD_IDS_MAX: Final = 200
NAME_CHARS_MAX: Final = 200
NOBODY: Final = "<>"

_MESSAGE_ID: Final = re.compile(r"<([!-;=?-~]{1,500})>")
_ADDRESS: Final = re.compile(r"[^\s@<>\"(),;:]{1,64}@[^\s@<>\"(),;:]{1,255}")
_BOUNDARY: Final = re.compile(rb"boundary\s{0,3}\*?\d?\s{0,3}=", re.IGNORECASE)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_FOLD: Final = re.compile(r"[\r\n]+[ \t]*")
_DRAFT: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[0-9a-f]+)?@.*")
# What hops write for each other, and what only we may say.
_LEFT_OUT: Final = re.compile(
    r"received|x-received|dkim-signature|arc-.*|x-google-.*|x-ms-exchange-.*|x-attachments|return-path|bcc"
)
# Headers that a mail may have several times, all of which count.
_JOINED: Final = frozenset({"authentication-results", "references", "in-reply-to"})


class Unusable(Exception):
    """No message can be made of this mail. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Mail:
    """`thread` are the ids it names, the first of the thread first, without angle brackets. `headers` as they count,
    with the names of attachments in `X-Attachments`."""

    message_id: str
    from_address: str
    from_name: str | None
    to_address: str | None
    subject: str | None
    body: str
    headers: dict[str, str]
    thread: tuple[str, ...]

    @property
    def has_address(self) -> bool:
        """Whether the sender is one that could be answered."""
        return _ADDRESS.fullmatch(self.from_address) is not None

    @property
    def root(self) -> str:
        """What begins its thread: the first id it names, else its own."""
        return self.thread[0] if self.thread else self.message_id

    @property
    def drafts(self) -> tuple[str, ...]:
        """The drafts whose replies it answers: our Message-IDs begin with the draft's id."""
        return tuple(found[1] for each in self.thread if (found := _DRAFT.fullmatch(each)))


def read_mail(content: bytes, envelope_from: str) -> Mail:
    """The mail in `content`; `envelope_from` is the MAIL FROM, empty for a bounce. Raises Unusable."""
    # The parser compares each line with every boundary that is open.
    if content.count(b"\n") > LINES_MAX or len(_BOUNDARY.findall(content)) > BOUNDARIES_MAX:
        raise Unusable("too_many_parts")
    try:
        return _read(content, envelope_from)
    except MemoryError:
        raise
    except Exception:  # the email package parses heads anew at each look, and raises whatever it stumbles over
        raise Unusable("malformed") from None


def _read(content: bytes, envelope_from: str) -> Mail:
    mail = email.message_from_bytes(content, policy=email.policy.compat32)
    parts = list(_leaves(mail))
    headers = _Headers(mail)
    name, address = _sender(headers.raw("From"), envelope_from)
    thread = [*_ids(headers.text("References")), *_ids(headers.text("In-Reply-To"))]
    return Mail(
        message_id=_message_id(_ids(headers.text("Message-ID")), content),
        from_address=address,
        from_name=name,
        to_address=_plain(headers.text("To")),
        subject=_plain(headers.text("Subject")),
        body=_cut(_body(parts), BODY_BYTES_MAX),
        headers=_kept(headers, parts, envelope_from),
        thread=tuple(dict.fromkeys(thread)),
    )


# ---- headers


class _Headers:
    """The head of a mail, names in any case."""

    def __init__(self, mail: Message) -> None:
        self._found: dict[str, tuple[str, list[str]]] = {}
        for name, value in islice(mail.raw_items(), HEADERS_READ_MAX):
            # Bytes beyond ASCII, which RFC 6532 allows as UTF-8, come as surrogates.
            text = _text(str(value).encode("utf-8", "surrogateescape"), "utf-8")
            self._found.setdefault(name.lower(), (name, []))[1].append(_FOLD.sub(" ", text)[:HEADER_CHARS_MAX])

    def raw(self, name: str) -> str:
        """The first of this name as it was sent, on one line; empty without one."""
        return self._found.get(name.lower(), ("", [""]))[1][0]

    def text(self, name: str) -> str:
        """Encoded words decoded; of several headers the first, or all where all count."""
        values = self._found.get(name.lower(), ("", [""]))[1]
        return " ".join(_decoded(value) for value in (values if name.lower() in _JOINED else values[:1]))

    def kept(self) -> Iterator[tuple[str, str]]:
        """Names as they were written, with their texts."""
        for lower, (name, _) in self._found.items():
            if not _LEFT_OUT.fullmatch(lower) and name.isprintable():
                yield name[:HEADER_CHARS_MAX], self.text(name)[:HEADER_CHARS_MAX]


def _decoded(value: str) -> str:
    """RFC 2047 as far as it can be read; what cannot stays as it is."""
    if "=?" not in value:
        return _storable(value)
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError, LookupError):
        return _storable(value)
    return _storable("".join(_piece(piece, charset) for piece, charset in pieces))


def _piece(piece: bytes | str, charset: str | None) -> str:
    return piece if isinstance(piece, str) else _text(piece, charset or "raw-unicode-escape")


def _sender(raw: str, envelope_from: str) -> tuple[str | None, str]:
    """Name and address of the From header; of several addresses the first, of none the envelope's. A bounce may have
    neither: then what the header says, or `<>`, by which it is known as one."""
    for name, address in getaddresses([raw]):
        if _ADDRESS.fullmatch(address):
            return _plain(_decoded(name), NAME_CHARS_MAX), address
    if _ADDRESS.fullmatch(envelope_from):
        return None, envelope_from
    return None, _plain(raw) or NOBODY


def _ids(value: str) -> list[str]:
    return _MESSAGE_ID.findall(value)[:THREAD_IDS_MAX]


def _message_id(own: list[str], content: bytes) -> str:
    """The mail's own id; one that has none, or one too long, is named by its hash, so that delivered twice it is one
    message."""
    if own and len(own[0]) <= ID_CHARS_MAX:
        return own[0]
    return f"mail-{hashlib.sha256(content).hexdigest()}"


def _kept(headers: _Headers, parts: list[Message], envelope_from: str) -> dict[str, str]:
    """What goes on with the message: ours last, and never left out."""
    ours = {RETURN_PATH: f"<{envelope_from}>"}
    if names := _attachments(parts):
        ours[ATTACHMENTS] = ", ".join(names)[:HEADER_CHARS_MAX]
    return dict(islice(headers.kept(), HEADER_COUNT_MAX - len(ours))) | ours


# ---- parts


def _leaves(part: Message, left: list[int] | None = None) -> Iterator[Message]:
    """The parts that hold something; a mail inside a mail is one part."""
    left = [PARTS_MAX] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        return
    payload = part.get_payload()
    if isinstance(payload, list) and part.get_content_maintype() == "multipart":
        for each in payload:
            if isinstance(each, Message):
                yield from _leaves(each, left)
    else:
        yield part


def _is_attached(part: Message) -> bool:
    """Whether a part stands beside the text: a file, or a mail that was forwarded. Pictures inside the text are not."""
    disposition = part.get_content_disposition()
    if disposition == "attachment":
        return True
    if part.get_content_maintype() == "text":
        return bool(part.get_filename()) and part.get_content_subtype() not in ("plain", "html")
    return disposition != "inline" or not part.get("Content-ID")


def _attachments(parts: list[Message]) -> list[str]:
    """Names for people; a comma would begin another one."""
    return [" ".join(_name(part).replace(",", " ").split()) for part in parts if _is_attached(part)]


def _name(part: Message) -> str:
    try:
        given = part.get_filename()
    except (ValueError, LookupError, TypeError):
        given = None
    named = _decoded(given)[:NAME_CHARS_MAX].strip() if given else ""
    return named or f"unnamed ({part.get_content_type()})"


def _body(parts: list[Message]) -> str:
    """The plain text; of a mail that has none, its HTML as it is."""
    inline = [part for part in parts if part.get_content_maintype() == "text" and not _is_attached(part)]
    for kind in ("plain", "html"):
        texts = [_decoded_text(part) for part in inline if part.get_content_subtype() == kind]
        if any(text.strip() for text in texts):
            return "\n".join(text for text in texts if text.strip())
    return ""


def _decoded_text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    charset = part.get_content_charset() or "utf-8"
    return _storable(_text(payload, charset)).replace("\r\n", "\n")


def _text(payload: bytes, charset: str) -> str:
    """Bytes by the charset they claim, else as UTF-8, else as what mail programs mean when they claim nothing."""
    for name in (charset, "utf-8", "cp1252"):
        try:
            return payload.decode(name)
        except (UnicodeError, LookupError, ValueError):
            continue
    return payload.decode("latin-1")


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _plain(text: str | None, chars_max: int = TEXT_FIELD_CHARS_MAX) -> str | None:
    clean = " ".join((text or "").split())[:chars_max]
    return clean or None


def _cut(text: str, bytes_max: int) -> str:
    """The beginning of a text that fits: what is quoted stands at the end of a mail."""
    encoded = text.encode()
    return text if len(encoded) <= bytes_max else encoded[:bytes_max].decode(errors="ignore")
