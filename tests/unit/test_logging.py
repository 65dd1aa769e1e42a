"""Promises of the logs."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from app.logging import CATALOGUE, allow_list, configure_logging, describe_exception
from schemas.codes import Stage
from schemas.settings import WorkspaceSettings, iterations_max

SECRET = "Maria Huber, maria@example.com, +43 660 1234567"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A configured log; the machine's own set-up comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("DEBUG", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_unknown_keys_are_dropped_and_counted(out: io.StringIO) -> None:
    """What is not in the catalogue never reaches the line; how much was dropped does."""
    before = allow_list.dropped_total
    structlog.get_logger().info("draft_done", body=SECRET, from_address=SECRET, run_id=uuid4(), stage=Stage.REVISER)
    (line,) = lines(out)
    assert "Maria" not in out.getvalue()
    assert (line["stage"], line["dropped"]) == (Stage.REVISER.value, 2)
    assert allow_list.dropped_total == before + 2
    assert set(line) <= CATALOGUE


@pytest.mark.parametrize(
    "value", [SECRET, "two words", "a@b.example", "x" * 201, {"a": 1}, object(), b"bytes", 1 << 80]
)
def test_values_that_may_be_text_are_dropped(out: io.StringIO, value: object) -> None:
    """A known key does not smuggle text: only ids, codes and numbers pass."""
    structlog.get_logger().info("draft_done", reason=value)
    (line,) = lines(out)
    assert "reason" not in line
    assert line["dropped"] == 1


def test_events_are_codes(out: io.StringIO) -> None:
    """A sentence as event, which could be formatted from anything, is not printed."""
    structlog.get_logger().info(f"Wrote to {SECRET}")
    assert lines(out)[0]["event"] == "unprintable_event"
    assert "Maria" not in out.getvalue()


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40)))
def test_every_line_is_json_from_the_catalogue(fields: dict[str, str]) -> None:
    """Whatever is passed, the processor returns catalogue keys whose strings have no blank and no at-sign."""
    line = allow_list(None, "info", {"event": "x", **{key: value for key, value in fields.items() if key != "event"}})
    assert set(line) <= CATALOGUE
    kept = (value for key, value in line.items() if key != "template" and isinstance(value, str))
    assert not any(" " in value or "@" in value for value in kept)


class Postgres(Exception):
    sqlstate = "23505"
    constraint_name = "lead_email_key"


def test_exceptions_lose_their_message(out: io.StringIO) -> None:
    """Of a database error class, SQLSTATE and constraint are told, the key's value is not."""
    try:
        raise Postgres(f"Key (email)=({SECRET}) already exists")
    except Postgres:
        structlog.get_logger().exception("write_failed", topic="draft-evaluated")
    (line,) = lines(out)
    assert "Maria" not in out.getvalue()
    assert (line["sqlstate"], line["constraint"]) == ("23505", "lead_email_key")
    assert line["error_class"].endswith("Postgres")


def test_exceptions_name_our_own_places(out: io.StringIO) -> None:
    """The innermost frames in our packages are told as file:line; other people's frames are not."""
    settings = WorkspaceSettings.model_construct(auto_send_revision_max_iterations=SECRET)  # type: ignore[arg-type]
    try:
        iterations_max(settings)
    except TypeError as error:
        (place,) = describe_exception(error)["at"]
        assert place.startswith("schemas/settings.py:")
    else:
        pytest.fail("nothing was raised")


def test_validation_errors_do_not_show_their_input(out: io.StringIO) -> None:
    """pydantic puts the input into its message; the log has the class only."""

    class Strict(BaseModel):
        number: int

    try:
        Strict.model_validate({"number": SECRET})
    except ValueError:
        structlog.get_logger().exception("bad_input")
    assert "Maria" not in out.getvalue()
    assert lines(out)[0]["error_class"].endswith("ValidationError")


def test_libraries_keep_logger_level_and_template(out: io.StringIO) -> None:
    """A library's arguments are never printed, its template and logger are."""
    logging.getLogger("aiokafka.consumer").error("Failed fetch from %s: %s", "host", SECRET)
    (line,) = lines(out)
    assert (line["logger"], line["level"]) == ("aiokafka.consumer", "error")
    assert line["template"] == "Failed fetch from %s: %s"
    assert "Maria" not in out.getvalue()


@pytest.mark.parametrize(
    "message",
    [
        f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>",
        f"Unhandled error: {SECRET}",
        f"Bad value '{SECRET}'",
        f"Got {len(SECRET)} {SECRET}",
    ],
)
def test_preformatted_library_messages_are_cut(out: io.StringIO, message: str) -> None:
    """A message that was formatted before the call keeps its plain first words only."""
    logging.getLogger("asyncio").error(message)
    assert "Maria" not in out.getvalue()
    assert "example.com" not in out.getvalue()


def test_library_exceptions_lose_their_message(out: io.StringIO) -> None:
    """exc_info of a library's line is told like our own."""
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("faust").exception("Crashed: %r", SECRET)
    (line,) = lines(out)
    assert line["error_class"] == "ValueError"
    assert "Maria" not in out.getvalue()


def test_libraries_are_not_heard_at_debug(out: io.StringIO) -> None:
    """Some libraries print request bodies at DEBUG; ours may be at DEBUG all the same."""
    logging.getLogger("slack_sdk").debug("Sending a request - body: " + SECRET)
    structlog.get_logger().debug("own_line")
    assert [line["event"] for line in lines(out)] == ["own_line"]


def test_crash_shows_no_message(out: io.StringIO) -> None:
    """An exception that ends the process is logged like any other, instead of a traceback with its message."""
    error = ValueError(SECRET)
    sys.excepthook(ValueError, error, None)
    (line,) = lines(out)
    assert (line["event"], line["error_class"]) == ("crashed", "ValueError")
