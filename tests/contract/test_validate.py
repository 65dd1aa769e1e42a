"""`validate FILE`: every mistake with its line, its field and what to do, and never what was sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.reading import Unreadable, read_event
from app.cli import app
from app.cli.shell import WrongUse
from app.contract import examples
from app.contract.checking import TOO_LARGE, Finding, findings_of, records_of
from schemas.events import InboundMessage
from schemas.limits import BODY_BYTES_MAX, INBOUND_RECORD_BYTES_MAX
from tests.samples import json_files, naughty_strings

GOOD: dict[str, Any] = examples.payload("inbound-message")
SECRET = "do-not-tell"


def _line(**changed: object) -> bytes:
    return json.dumps({**GOOD, **changed}).encode()


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def _file(folder: Path, *lines: bytes) -> str:
    (folder / "messages.jsonl").write_bytes(b"\n".join(lines))
    return str(folder / "messages.jsonl")


@pytest.mark.parametrize(
    ("record", "field", "code", "remedy"),
    [
        (_without("lead_id"), "lead_id", "missing", "add it"),
        (_without("schema_version"), "schema_version", "missing", "add it"),
        (_line(schema_version=7), "schema_version", "unknown_version", "a version that is known: 1"),
        (_line(schema_version=SECRET), "schema_version", "literal_error", "write 1"),
        (_line(message_id=""), "message_id", "too_short", "at least 1 character"),
        (_line(workspace_id=SECRET * 40), "workspace_id", "too_long", "at most 200 characters"),
        (_line(lead_id=7), "lead_id", "string_type", "in quotes"),
        (_line(channel=SECRET), "channel", "enum", "'email', 'sms', 'linkedin' or 'chat'"),
        (_line(direction=SECRET), "direction", "literal_error", "'inbound' or 'outbound'"),
        (_line(received_at="2026-03-02T09:00:00"), "received_at", "timezone_aware", "+02:00"),
        (_line(received_at=SECRET), "received_at", "datetime_from_date_parsing", "RFC 3339"),
        (_line(received_at=1772442000), "received_at", "value_error", "RFC 3339"),
        (_line(body="é" * BODY_BYTES_MAX), "body", "value_error", f"longer than {BODY_BYTES_MAX} bytes"),
        (_line(body="a\0b"), "body", "value_error", "NUL"),
        (_line(headers={SECRET: 7}), "headers", "string_type", "in quotes"),
        (_line(headers={str(number): "" for number in range(201)}), "headers", "too_long", "at most 200 entries"),
        (_line(headers={SECRET: "x" * 9_000}), "headers", "too_long", "at most 8192 characters"),
        (_line(headers=[SECRET]), "headers", "dict_type", "an object of strings"),
        (_line(lead={"email": [SECRET]}), "lead.email", "string_type", "The lead's mail address"),
        (_line(lead=SECRET), "lead", "model_type", "an object"),
        (b'"do-not-tell"', "value", "not_an_object", "one JSON object"),
        (b"do-not-tell", "value", "not_json", "one JSON object"),
        (b'{"body": "\xff"}', "value", "not_utf8", "UTF-8"),
        (b'{"body": NaN}', "value", "bad_number", "no NaN"),
        (b'{"body": "\\ud800"}', "value", "bad_text", "surrogates"),
        (b"[" * 5_000, "value", "too_deep", "nest less"),
        (b" " * (INBOUND_RECORD_BYTES_MAX + 1), "value", TOO_LARGE, "8388608 bytes"),
    ],
    ids=lambda each: each.replace("\0", "") if isinstance(each, str) and len(each) < 40 else "",
)
def test_a_mistake_is_told_with_field_and_remedy(record: bytes, field: str, code: str, remedy: str) -> None:
    """One finding, in words that help, without a value."""
    (finding,) = findings_of(3, record)
    assert (finding.line, finding.field, finding.code) == (3, field, code)
    assert remedy in finding.remedy
    assert SECRET not in repr(finding)


def test_all_mistakes_of_a_message_are_told_at_once() -> None:
    """Nobody mends a file one field at a time."""
    found = list(findings_of(1, _line(channel="fax", lead_id="", received_at="noon")))
    assert [finding.field for finding in found] == ["lead_id", "channel", "received_at"]


def test_it_agrees_with_what_the_pipeline_takes() -> None:
    """Real edges of JSON and of text: findings exactly where the record would become a dead letter."""
    records = [*json_files().values(), *(_line(body=each, subject=each[:200]) for each in naughty_strings())]
    refused = [isinstance(read_event(InboundMessage, record), Unreadable) for record in records]
    assert [bool(list(findings_of(1, record))) for record in records] == refused
    assert any(refused)
    assert not all(refused)


def test_a_file_is_lines_or_one_document() -> None:
    """Numbers are those of lines, or of a list's elements; a document that is broken somewhere is one."""
    one = json.dumps(GOOD, indent=2).encode()
    assert records_of(one) == [(1, one)]
    assert [number for number, _ in records_of(b"{}\r\n\n{}\nx\n")] == [1, 3, 4]
    assert [number for number, _ in records_of(b"[{}, {}]")] == [1, 2]
    assert records_of(b'{\n "a": 1,\n}') == [(2, b'{\n "a": 1,\n}')]
    assert records_of(b" \n") == []


def test_good_messages_are_exit_code_0(tmp_path: Path) -> None:
    """And said to be good."""
    ended = CliRunner().invoke(app, ["validate", _file(tmp_path, _line(), b"", _line())])
    assert (ended.exit_code, ended.stdout) == (0, "2 messages, all good\n")


def test_a_wrong_line_is_exit_code_1_and_named(tmp_path: Path) -> None:
    """Line, field, code, remedy."""
    ended = CliRunner().invoke(app, ["validate", _file(tmp_path, _line(), _without("body"))])
    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        "line 2: body: missing: add it (The message itself, may be empty)",
        "1 of 2 messages break the contract",
    ]


def test_programs_read_the_same_from_stdin() -> None:
    """`validate - --json`."""
    ended = CliRunner().invoke(app, ["validate", "-", "--json"], input=_line(channel="fax") + b"\n" + _line())
    told = json.loads(ended.stdout)
    assert (ended.exit_code, told["messages"], told["wrong"]) == (1, 2, 1)
    assert Finding(**told["findings"][0]).field == "channel"


def test_a_file_of_mistakes_is_told_in_part_and_counted_whole(tmp_path: Path) -> None:
    """The first 1,000 mistakes, and how many more."""
    ended = CliRunner().invoke(app, ["validate", _file(tmp_path, *[_without("body")] * 1_200)])
    *shown, more, summary = ended.stdout.splitlines()
    assert (ended.exit_code, len(shown)) == (1, 1_000)
    assert (more, summary) == ("... and 200 more mistakes", "1200 of 1200 messages break the contract")


def test_what_is_no_file_is_wrong_use(tmp_path: Path) -> None:
    """A missing file, a folder, and one that holds nothing."""
    for given in (str(tmp_path / "none"), str(tmp_path), _file(tmp_path, b"")):
        assert isinstance(CliRunner().invoke(app, ["validate", given]).exception, WrongUse)
