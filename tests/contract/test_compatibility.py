"""A change that breaks others is noticed, and one that does not is let through."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.contract import files
from app.contract.compatibility import Direction, breaches
from schemas.events import PUBLIC_EVENTS, json_schema

Schema = dict[str, Any]
Change = Callable[[Schema], object]
DEPLOY = Path(__file__).parents[2] / "deploy"


def _after(topic: str, change: Change) -> list[str]:
    before = json_schema(topic)
    after = copy.deepcopy(before)
    change(after)
    return breaches(files.direction_of(topic), before, after)


def _add(name: str, told: Schema, *, required: bool = False) -> Change:
    def change(schema: Schema) -> None:
        schema["properties"][name] = told
        if required:
            schema["required"].append(name)

    return change


def _drop(name: str) -> Change:
    return lambda schema: (
        schema["properties"].pop(name),
        name in schema["required"] and schema["required"].remove(name),
    )


def _set(path: str, value: object) -> Change:
    """`a.b.c` to value, from `properties` of the schema, or from its root after `/`."""

    def change(schema: Schema) -> None:
        *outer, last = path.removeprefix("/").split(".")
        inner = schema if path.startswith("/") else schema["properties"]
        for name in outer:
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        inner[last] = value

    return change


CHANNELS = ["email", "sms", "linkedin", "chat"]
BROKEN_INPUTS: dict[str, tuple[Change, str]] = {
    "a new required field": (_add("tenant", {"type": "string"}, required=True), "tenant: became required"),
    "an optional field becomes required": (
        lambda schema: schema["required"].append("direction"),
        "direction: became required",
    ),
    "a field goes": (_drop("thread_id"), "thread_id: the field is gone"),
    "a field of the lead goes": (
        lambda schema: schema["$defs"]["LeadFields"]["properties"].pop("phone"),
        "lead.phone: the field is gone",
    ),
    "another type": (_set("body.type", "object"), "body: type string is not object"),
    "null is no longer taken": (_set("subject.anyOf", [{"type": "string", "maxLength": 2000}]), "subject: type null"),
    "a shorter text": (_set("message_id.maxLength", 100), "message_id: maxLength became narrower"),
    "a shorter optional text": (_set("subject.anyOf.0.maxLength", 10), "subject: maxLength became narrower"),
    "fewer bytes": (_set("body.maxBytes", 1000), "body: maxBytes became narrower"),
    "a lower bound where none was": (_set("body.minLength", 1), "body: minLength became narrower"),
    "a pattern where none was": (_set("lead_id.pattern", "^[a-z]+$"), "lead_id: pattern changed"),
    "a channel goes": (_set("/$defs.Channel.enum", CHANNELS[:-1]), "channel: chat is no longer allowed"),
    "a closed list where none was": (_set("source.anyOf.0.enum", ["crm"]), "source: its values became closed"),
    "another version": (_set("schema_version.const", 2), "schema_version: 1 is no longer allowed"),
    "another default": (_set("direction.default", "outbound"), "direction: its default changed"),
    "unknown fields are refused": (_set("/additionalProperties", False), "additionalProperties: its values"),
    "fewer headers": (_set("headers.anyOf.0.maxProperties", 5), "headers: maxProperties became narrower"),
    "shorter headers": (
        _set("headers.anyOf.0.additionalProperties.maxLength", 5),
        "headers.additionalProperties: maxLength became narrower",
    ),
    "a keyword that nobody knows here": (_set("body.not", {"const": ""}), "body: not changed"),
}
BROKEN_OUTPUTS: dict[str, tuple[Change, str]] = {
    "a field goes": (_drop("draft_sha256"), "draft_sha256: the field is gone"),
    "an optional field goes": (_drop("delivery_id"), "delivery_id: the field is gone"),
    "a field may be missing": (
        lambda schema: schema["required"].remove("reason"),
        "reason: is no longer always there",
    ),
    "a status that nobody was told of": (
        lambda schema: schema["$defs"]["OutcomeStatus"]["enum"].append("forgotten"),
        "status: forgotten is a value that nobody was told of",
    ),
    "an open list of values": (_set("/$defs.Action", {"type": "string"}), "action: its values became open"),
    "null where none was": (
        _set("reason", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "reason: type null is not string",
    ),
    "another type": (_set("sequence.type", "number"), "sequence: type number is not integer"),
    "a wider number": (_set("sequence.minimum", 0), "sequence: minimum became wider"),
    "a longer id": (_set("lead_id.maxLength", 500), "lead_id: maxLength became wider"),
    "no format any more": (lambda schema: schema["properties"]["event_id"].pop("format"), "event_id: format changed"),
    "another version": (_set("schema_version.const", 2), "schema_version: 2 is a value that nobody was told of"),
}
HARMLESS_INPUTS: dict[str, Change] = {
    "nothing": lambda schema: None,
    "an optional field": _add("priority", {"type": "integer"}),
    "a required field becomes optional": lambda schema: schema["required"].remove("body"),
    "another channel": lambda schema: schema["$defs"]["Channel"]["enum"].append("fax"),
    "a longer text": _set("message_id.maxLength", 400),
    "no bound": lambda schema: schema["properties"]["message_id"].pop("maxLength"),
    "null as well": _set("lead_id", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "other words": _set("body.description", "What they wrote"),
}
HARMLESS_OUTPUTS: dict[str, Change] = {
    "nothing": lambda schema: None,
    "another field": _add("priority", {"type": "integer"}, required=True),
    "an optional field is always there": lambda schema: schema["required"].append("delivery_id"),
    "a status goes": lambda schema: schema["$defs"]["OutcomeStatus"]["enum"].remove("unknown"),
    "a narrower number": _set("sequence.minimum", 5),
    "never null": _set("threshold", {"type": "number", "minimum": 0.0, "maximum": 1.0}),
    "the definition in place": lambda schema: schema["properties"].update(action=schema["$defs"]["Action"]),
}


@pytest.mark.parametrize("case", BROKEN_INPUTS)
def test_what_breaks_a_producer_is_noticed(case: str) -> None:
    """What was valid stays valid; the line names the field."""
    change, line = BROKEN_INPUTS[case]
    found = _after("inbound-message", change)
    assert any(each.startswith(line) for each in found), found


@pytest.mark.parametrize("case", BROKEN_OUTPUTS)
def test_what_breaks_a_consumer_is_noticed(case: str) -> None:
    """What we write stays what they were told to expect."""
    change, line = BROKEN_OUTPUTS[case]
    topic = "draft-evaluated" if "draft_sha256" in line else "draft-outcome"
    found = _after(topic, change)
    assert any(each.startswith(line) for each in found), found


@pytest.mark.parametrize("case", HARMLESS_INPUTS)
def test_a_producer_may_be_given_more_room(case: str) -> None:
    """No new version for that."""
    assert _after("inbound-message", HARMLESS_INPUTS[case]) == []


@pytest.mark.parametrize("case", HARMLESS_OUTPUTS)
def test_a_consumer_may_be_told_more(case: str) -> None:
    """No new version for that: consumers ignore fields they do not know."""
    assert _after("draft-outcome", HARMLESS_OUTPUTS[case]) == []


def test_the_same_change_is_judged_by_who_writes() -> None:
    """A wider list is a gift on the way in and a surprise on the way out."""
    before, after = ({"enum": ["a"]}, {"enum": ["a", "b"]})
    assert breaches(Direction.INPUT, before, after) == []
    assert breaches(Direction.OUTPUT, before, after) == ["value: b is a value that nobody was told of"]


def test_the_events_break_nothing_that_was_published() -> None:
    """Each version's schemas, against the events of today."""
    versions = [path for path in (DEPLOY / files.SCHEMAS).iterdir() if path.is_dir()]
    assert {path.name for version in versions for path in version.iterdir()} == {
        f"{name}.json" for name in PUBLIC_EVENTS
    }
    assert files.broken(DEPLOY) == []


def test_nothing_is_written_over_a_breaking_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make contract` stops and says what breaks; what was published stays as it is."""
    assert files.main(tmp_path) == 0
    published = tmp_path / "contract" / __version__ / "draft-outcome.json"
    told = json.loads(published.read_text("utf-8"))
    told["properties"]["gone"] = {"type": "string"}
    published.write_text(json.dumps(told), "utf-8")
    page = tmp_path / "topics" / "draft-outcome.md"
    page.unlink()
    assert files.main(tmp_path) == 1
    assert "draft-outcome gone: the field is gone" in capsys.readouterr().err
    assert not page.exists()
    assert json.loads(published.read_text("utf-8")) == told
