"""From the bytes of a record to an event, or to the code and field that say why not. Never a value in an error."""

import json
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from pydantic import ValidationError

from schemas.codes import DeadLetterReason
from schemas.events import Event, InboundMessage

E = TypeVar("E", bound=Event)

_RECURSION: Final = "recursion"


@dataclass(frozen=True)
class Unreadable:
    """`error` names a field of ours and a kind of mistake."""

    code: DeadLetterReason
    error: str


def read_json(value: bytes) -> Any:
    """The JSON in `value`, or Unreadable. Never raises, whatever the bytes are."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _not_json(value, str(error))


def read_event(kind: type[E], value: bytes | None) -> E | Unreadable:
    """The event in `value`. Never raises, whatever the bytes are."""
    if value is None:
        return Unreadable(DeadLetterReason.NULL_VALUE, "the record has no value")
    parsed = read_json(value)
    if isinstance(parsed, Unreadable):
        return parsed
    if not isinstance(parsed, dict):
        return Unreadable(DeadLetterReason.NOT_AN_OBJECT, "the value is no JSON object")
    version = parsed.get("schema_version", 1 if kind is not InboundMessage else None)
    if isinstance(version, bool):
        return Unreadable(DeadLetterReason.INVALID_FIELD, "schema_version: int_type")
    if isinstance(version, int) and version != 1:
        return Unreadable(DeadLetterReason.UNKNOWN_VERSION, "schema_version: this version is not known")
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        return _invalid(kind, error)


def _not_json(value: bytes, error: str) -> Unreadable:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return Unreadable(DeadLetterReason.NOT_UTF8, "the value is not UTF-8")
    if _RECURSION in error:
        return Unreadable(DeadLetterReason.TOO_DEEP, "the value is nested too deeply")
    try:
        json.loads(text)
    except RecursionError:
        return Unreadable(DeadLetterReason.TOO_DEEP, "the value is nested too deeply")
    except ValueError:
        return Unreadable(DeadLetterReason.NOT_JSON, "the value is not JSON")
    if "\\ud" in text.lower():
        return Unreadable(DeadLetterReason.BAD_TEXT, "the value holds a lone surrogate")
    return Unreadable(DeadLetterReason.BAD_NUMBER, "the value holds NaN, Infinity or a number out of range")


def _invalid(kind: type[Event], error: ValidationError) -> Unreadable:
    """The first mistake: our own field names and pydantic's kind of error, nothing that was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = field_of(kind, first["loc"])
    if first["type"] == "value_error" and "surrogate" in first["msg"]:
        return Unreadable(DeadLetterReason.BAD_TEXT, f"{field}: holds NUL or a lone surrogate")
    return Unreadable(DeadLetterReason.INVALID_FIELD, f"{field}: {first['type']}")


def field_of(kind: type[Event], location: tuple[Any, ...]) -> str:
    """The name of a field of ours at a place that pydantic names, `value` for any other."""
    name = str(location[0]) if location else ""
    if name not in kind.model_fields:
        return "value"
    if name == "lead" and len(location) > 1 and location[1] in ("name", "email", "phone", "timezone", "locale"):
        return f"lead.{location[1]}"
    return name
