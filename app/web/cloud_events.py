"""Requests that carry messages: plain JSON, or CloudEvents 1.0 over HTTP (binary, structured, batched). Pure.

Source: CloudEvents HTTP Protocol Binding 1.0.2. Attributes go on as headers of the Kafka record, in its binary mode.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson

from agents.reading import Unreadable, read_json

ATTRIBUTES: Final = ("id", "source", "type", "specversion", "time")
REQUIRED: Final = ("id", "source", "type", "specversion")
ATTRIBUTE_CHARS_MAX: Final = 500
_STRUCTURED: Final = "application/cloudevents+json"
_BATCHED: Final = "application/cloudevents-batch+json"


class NotUnderstood(Exception):
    """`status` for the answer, `code` for what is wrong, `field` where it is; never what was sent."""

    def __init__(self, status: int, code: str, field: str = "body") -> None:
        super().__init__(code)
        self.status, self.code, self.field = status, code, field


@dataclass(frozen=True)
class Given:
    """One message as it was sent: JSON that nobody has checked, and the attributes it came with."""

    value: Any
    headers: Mapping[str, str]


def read_request(headers: Mapping[str, str], body: bytes) -> tuple[list[Given], bool]:
    """The messages of a request, and whether it was a batch. Header names are in lower case. Raises NotUnderstood."""
    media = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media == _STRUCTURED:
        return [_structured(_json(body))], False
    if media == _BATCHED:
        return [_structured(each) for each in _list(_json(body))], True
    if media != "application/json" and not media.endswith("+json"):
        raise NotUnderstood(415, "not_json", "content-type")
    if "ce-specversion" in headers:
        attributes = {name: unquote(headers[f"ce-{name}"]) for name in ATTRIBUTES if f"ce-{name}" in headers}
        return [Given(_json(body), _record_headers(attributes))], False
    value = _json(body)
    plain = {"content-type": "application/json"}
    return [Given(each, plain) for each in (value if isinstance(value, list) else [value])], isinstance(value, list)


def _json(body: bytes) -> Any:
    value = read_json(body)
    if isinstance(value, Unreadable):
        raise NotUnderstood(400, value.code.value)
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise NotUnderstood(400, "not_a_list")
    return value


def _structured(event: Any) -> Given:
    """An event as one JSON object, its data beside its attributes."""
    if not isinstance(event, dict):
        raise NotUnderstood(400, "not_an_object")
    headers = _record_headers({name: event[name] for name in ATTRIBUTES if name in event})
    if "data_base64" not in event:
        return Given(event.get("data"), headers)
    try:
        return Given(orjson.loads(base64.b64decode(event["data_base64"], validate=True)), headers)
    except (binascii.Error, orjson.JSONDecodeError, TypeError, ValueError):
        raise NotUnderstood(400, "not_json", "data_base64") from None


def _record_headers(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The attributes as the Kafka binding writes them. Raises NotUnderstood for what is no CloudEvent 1.0."""
    for name in REQUIRED:
        if name not in attributes:
            raise NotUnderstood(400, "attribute_missing", name)
    for name, value in attributes.items():
        if not isinstance(value, str) or not 0 < len(value) <= ATTRIBUTE_CHARS_MAX or not value.isprintable():
            raise NotUnderstood(400, "attribute_malformed", name)
    if attributes["specversion"] != "1.0":
        raise NotUnderstood(400, "unknown_version", "specversion")
    return {f"ce_{name}": value for name, value in attributes.items()} | {"content-type": "application/json"}
