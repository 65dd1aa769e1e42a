"""The AsyncAPI document: valid by the schema that AsyncAPI publishes, whole, and true to events and topics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from agents.dead_letters import Incoming, _letter_headers
from agents.reading import Unreadable
from app.cli import app
from app.cli.shell import WrongUse
from app.contract.asyncapi import LETTER, document
from schemas.codes import DeadLetterReason
from schemas.events import PUBLIC_EVENTS, json_schema
from schemas.topics import TOPICS

VENDOR = Path(__file__).parent / "vendor"
CHANNELS = [*PUBLIC_EVENTS, "dead-letter"]


@pytest.fixture(scope="module")
def asyncapi() -> jsonschema.Draft7Validator:
    """AsyncAPI's own schema of 3.0.0, which holds all that it refers to."""
    return jsonschema.Draft7Validator(json.loads((VENDOR / "asyncapi-3.0.0.json").read_text("utf-8")))


def test_the_schema_is_the_one_that_was_published() -> None:
    """Hash and licence are those of the package it came from."""
    (told,) = json.loads((VENDOR / "vendor.json").read_text("utf-8"))
    assert hashlib.sha256((VENDOR / told["file"]).read_bytes()).hexdigest() == told["sha256"]
    assert "Apache License" in (VENDOR / told["license_file"]).read_text("utf-8")


def test_the_document_is_valid_asyncapi(asyncapi: jsonschema.Draft7Validator) -> None:
    """Not one error."""
    assert [error.message for error in asyncapi.iter_errors(document())] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("operations", "sendDraftOutcome", "action"), "publish"),
        (("channels", "inbound-message", "bindings", "kafka", "partitions"), 0),
        (("components", "messages", "draft-outcome", "headers"), 7),
        (("servers", "kafka", "protocol"), None),
    ],
)
def test_a_broken_document_is_not_valid(
    asyncapi: jsonschema.Draft7Validator, place: tuple[str, ...], value: object
) -> None:
    """The schema sees into every part of the document."""
    broken: dict[str, Any] = json.loads(json.dumps(document()))
    inner = broken
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert not asyncapi.is_valid(broken)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def test_every_reference_leads_somewhere() -> None:
    """A reader needs nothing but the document."""
    told = document()
    found = list(_references(told))
    assert len(found) > len(CHANNELS)
    for reference in found:
        inner: Any = told
        for name in reference.removeprefix("#/").split("/"):
            inner = inner[name]
        assert inner


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_are_cut_and_kept_as_topics_are_created(name: str) -> None:
    """Partitions and configuration, value for value."""
    binding = document()["channels"][name]["bindings"]["kafka"]
    told = {
        key: ",".join(value) if isinstance(value, list) else str(value)
        for key, value in binding["topicConfiguration"].items()
    }
    assert (binding["partitions"], told) == (TOPICS[name].partitions, TOPICS[name].config)


@pytest.mark.parametrize("name", PUBLIC_EVENTS)
def test_examples_keep_what_they_illustrate(name: str) -> None:
    """Payload by the payload's schema and the event, headers by the headers' schema, formats included."""
    told = document()
    message = told["components"]["messages"][name]
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    (example,) = message["examples"]
    for schema, value in (
        (json_schema(name), example["payload"]),
        (told["components"]["schemas"][name], example["payload"]),
        (message["headers"], example["headers"]),
    ):
        jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)
    PUBLIC_EVENTS[name].model_validate(example["payload"])


def test_a_letter_has_the_headers_that_are_told() -> None:
    """No more and no fewer than the pipeline writes."""
    record = Incoming("inbound-message", 3, 1207, 0.0, b"k", b"v")
    why = Unreadable(DeadLetterReason.NOT_JSON, "the value is not JSON")
    headers = _letter_headers(record, why, 1, "2026-03-02T09:00:01+00:00")
    assert set(headers) == set(LETTER)
    jsonschema.validate(headers, document()["components"]["messages"]["dead-letter"]["headers"])


def test_the_command_prints_it_and_writes_it(tmp_path: Path) -> None:
    """`asyncapi`, with and without --output, the same."""
    printed = CliRunner().invoke(app, ["asyncapi"])
    written = CliRunner().invoke(app, ["asyncapi", "--output", str(tmp_path / "told.json")])
    nowhere = CliRunner().invoke(app, ["asyncapi", "--output", str(tmp_path / "no" / "told.json")])
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert isinstance(nowhere.exception, WrongUse)
    assert json.loads(printed.stdout) == json.loads((tmp_path / "told.json").read_text("utf-8")) == document()
    assert "127.0.0.1" not in printed.stdout
    assert "localhost" not in printed.stdout
