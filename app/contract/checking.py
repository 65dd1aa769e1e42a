"""A file of messages against the contract of `inbound-message`: each mistake with its place and its remedy. Pure.

A finding names fields of ours and says what they must be; nothing that was sent is repeated.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from agents.reading import Unreadable, field_of, read_event
from schemas.codes import DeadLetterReason
from schemas.events import InboundMessage, LeadFields, supported_versions
from schemas.limits import INBOUND_RECORD_BYTES_MAX

REMEDY: Final[Mapping[DeadLetterReason, str]] = {
    DeadLetterReason.NULL_VALUE: "send a JSON object; a record without a value says nothing here",
    DeadLetterReason.NOT_UTF8: "encode the value as UTF-8",
    DeadLetterReason.NOT_JSON: "write one JSON object, with quotes around names and no comma after the last field",
    DeadLetterReason.TOO_DEEP: "nest less: no field needs more than one level",
    DeadLetterReason.NOT_AN_OBJECT: "write one JSON object a record, no list and no bare value",
    DeadLetterReason.BAD_NUMBER: "write no NaN, no Infinity and no number that a double cannot hold",
    DeadLetterReason.BAD_TEXT: "remove NUL characters and lone surrogates",
    DeadLetterReason.UNKNOWN_VERSION: f"write a version that is known: {', '.join(map(str, supported_versions()))}",
    DeadLetterReason.INVALID_FIELD: "write the field as the contract says",
    DeadLetterReason.UNKNOWN_WORKSPACE: "have the workspace provisioned, then ask for a retry",
    DeadLetterReason.REFUSED_BY_DATABASE: "report it: a defect of ours",
    DeadLetterReason.UNEXPECTED_ERROR: "report it: a defect of ours",
}
TOO_LARGE: Final = "too_large"
_IN_FIELDS: Final = frozenset({DeadLetterReason.INVALID_FIELD, DeadLetterReason.BAD_TEXT})
_BY_KIND: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda told: "add it",
    "string_type": lambda told: "write a string in quotes",
    "too_short": lambda told: f"write at least {told['min_length']} character",
    "too_long": lambda told: f"write at most {told['max_length']} {_unit(told)}",
    "enum": lambda told: f"write one of {told['expected']}",
    "literal_error": lambda told: f"write {told['expected']}",
    "dict_type": lambda told: "write an object of strings",
    "model_type": lambda told: "write an object",
    "model_attributes_type": lambda told: "write an object",
    "timezone_aware": lambda told: "end the timestamp with Z or an offset such as +02:00",
}
_TIMESTAMP: Final = "write an RFC 3339 timestamp with an offset, such as 2026-03-02T09:00:00Z"


@dataclass(frozen=True)
class Finding:
    """A mistake. `line` counts from 1: lines of JSON Lines, or the elements of one JSON list."""

    line: int
    field: str
    code: str
    remedy: str


def records_of(content: bytes) -> list[tuple[int, bytes]]:
    """The records of a file with their numbers: the lines that are not blank, or what one JSON document holds."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if content.lstrip()[:3].split(b"\n")[0].strip() in (
            b"{",
            b"[",
        ):  # one document over many lines, broken somewhere
            return [(error.lineno, content)]
        lines = enumerate(content.split(b"\n"), 1)
        return [(number, line.removesuffix(b"\r")) for number, line in lines if line.strip()]
    if isinstance(document, list):
        return [(number, orjson.dumps(each)) for number, each in enumerate(document, 1)]
    return [(1, content)]


def findings_of(number: int, record: bytes) -> Iterator[Finding]:
    """Every mistake in one record, as the pipeline would find it; none when it keeps the contract."""
    if len(record) > INBOUND_RECORD_BYTES_MAX:
        yield Finding(number, "value", TOO_LARGE, f"write at most {INBOUND_RECORD_BYTES_MAX} bytes a record")
        return
    read = read_event(InboundMessage, record)
    if not isinstance(read, Unreadable):
        return
    mistakes = list(_mistakes(number, record)) if read.code in _IN_FIELDS else []
    field = read.error.partition(":")[0] if ":" in read.error else "value"
    yield from mistakes or [Finding(number, field, read.code.value, REMEDY[read.code])]


def _mistakes(number: int, record: bytes) -> Iterator[Finding]:
    """A line for each field that is wrong."""
    try:
        InboundMessage.model_validate(orjson.loads(record))
    except orjson.JSONDecodeError:
        return  # a lone surrogate, which no parser of ours takes
    except ValidationError as error:
        for mistake in error.errors(include_input=False, include_url=False):
            field, kind = field_of(InboundMessage, mistake["loc"]), mistake["type"]
            yield Finding(number, field, kind, _remedy(field, kind, mistake.get("ctx", {}), mistake["msg"]))


def _unit(told: Mapping[str, Any]) -> str:
    return "entries" if told["field_type"] == "Dictionary" else "characters"


def _remedy(field: str, kind: str, told: Mapping[str, Any], message: str) -> str:
    """What to do, and what the field is for. `message` is pydantic's, which repeats no input."""
    known = _BY_KIND.get(kind)
    if known is not None:
        act = known(told)
    elif "surrogate" in message:
        act = REMEDY[DeadLetterReason.BAD_TEXT]
    elif field == "received_at":
        act = _TIMESTAMP
    else:
        act = message.removeprefix("Value error, ")
    outer, _, inner = field.partition(".")
    fields = LeadFields.model_fields if inner else InboundMessage.model_fields
    about = fields[inner or outer].description if (inner or outer) in fields else None
    return f"{act} ({about})" if about else act
