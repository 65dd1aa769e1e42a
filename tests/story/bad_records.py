"""Records that no producer should send, each with the code and the start of the error that its dead letter must have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.story.rows import now

WORKSPACE = "ws-bad"


@dataclass(frozen=True)
class Bad:
    """`error` is what `dlq_error` begins with: the field, where one is at fault."""

    what: str
    value: bytes | None
    code: str
    error: str = ""
    key: bytes | None = b"lead"


def good(**changes: Any) -> dict[str, Any]:
    """A record that keeps the contract, with changes; a value of `...` takes the field away."""
    made = {
        "schema_version": 1,
        "message_id": "bad-1",
        "workspace_id": WORKSPACE,
        "lead_id": "lead",
        "channel": "chat",
        "received_at": now(),
        "body": "hello",
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def _json(**changes: Any) -> bytes:
    return json.dumps(good(**changes)).encode()


def _raw(body: bytes) -> bytes:
    """A good record whose body is these bytes of JSON."""
    return _json(body="@@").replace(b'"@@"', body)


_REQUIRED = ("schema_version", "message_id", "workspace_id", "lead_id", "channel", "received_at", "body")

BAD: tuple[Bad, ...] = (
    Bad("null", None, "null_value"),
    Bad("null without key", None, "null_value", key=None),
    Bad("empty", b"", "not_json"),
    Bad("text", b"hello", "not_json"),
    Bad("half a record", _json()[:-5], "not_json"),
    Bad("two records", _json() + _json(), "not_json"),
    Bad("not UTF-8", _raw(b'"caf\xe9"'), "not_utf8"),
    Bad("UTF-16", json.dumps(good()).encode("utf-16"), "not_utf8"),
    Bad("byte order mark", b"\xef\xbb\xbf" + _json(), "not_json"),
    Bad("surrogates as UTF-8", _raw(b'"\xed\xa0\x80"'), "not_utf8"),
    Bad("NUL", _json(body="a\x00b"), "bad_text", "body"),
    Bad("NUL in a header", _json(headers={"a\x00": "b"}), "bad_text", "headers"),
    Bad("lone surrogate", _raw(b'"\\ud800"'), "bad_text"),
    Bad("lone surrogate in an id", _json(message_id="\udfff"), "bad_text"),
    Bad("nested 100,000 deep", _raw(b"[" * 100_000 + b"]" * 100_000), "too_deep"),
    Bad("objects nested 5,000 deep", _raw(b'{"a":' * 5_000 + b"1" + b"}" * 5_000), "too_deep"),
    Bad("NaN", _raw(b"NaN"), "bad_number"),
    Bad("Infinity", _raw(b"-Infinity"), "bad_number"),
    Bad("list", b"[]", "not_an_object"),
    Bad("number", b"42", "not_an_object"),
    Bad("null in JSON", b"null", "not_an_object"),
    *(Bad(f"no {name}", _json(**{name: ...}), "invalid_field", name) for name in _REQUIRED),
    Bad("version 2", _json(schema_version=2), "unknown_version", "schema_version"),
    Bad("version as text", _json(schema_version="1"), "invalid_field", "schema_version"),
    Bad("version true", _json(schema_version=True), "invalid_field", "schema_version"),
    Bad("empty id", _json(message_id=""), "invalid_field", "message_id"),
    Bad("long id", _json(lead_id="x" * 201), "invalid_field", "lead_id"),
    Bad("id as number", _json(message_id=7), "invalid_field", "message_id"),
    Bad("unknown channel", _json(channel="pigeon"), "invalid_field", "channel"),
    Bad("unknown direction", _json(direction="sideways"), "invalid_field", "direction"),
    Bad("time without zone", _json(received_at="2026-01-01T00:00:00"), "invalid_field", "received_at"),
    Bad("time as number", _json(received_at=1700000000), "invalid_field", "received_at"),
    Bad("time out of range", _json(received_at="0001-01-01T00:00:00+10:00"), "invalid_field", "received_at"),
    Bad("long body", _json(body="x" * 65_537), "invalid_field", "body"),
    Bad("long body in bytes", _json(body="ä" * 40_000), "invalid_field", "body"),
    Bad("body of 5 MB", _json(body="x" * 5_000_000), "invalid_field", "body"),
    Bad("body null", _json(body=None), "invalid_field", "body"),
    Bad("long subject", _json(subject="x" * 2_001), "invalid_field", "subject"),
    Bad("201 headers", _json(headers={str(n): "" for n in range(201)}), "invalid_field", "headers"),
    Bad("a header that is a list", _json(headers={"a": ["b"]}), "invalid_field", "headers"),
    Bad("lead as text", _json(lead="Ann"), "invalid_field", "lead"),
    Bad("lead's mail as number", _json(lead={"email": 5}), "invalid_field", "lead.email"),
    Bad("nobody's workspace", _json(workspace_id="ws-nobody"), "unknown_workspace", "workspace_id"),
    Bad("large key", b"{}", "invalid_field", key=b"k" * 3_000_000),
)
