"""Promises about trace context."""

import re
import uuid

import pytest

from schemas.traces import new_traceparent, read_traceparent

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_producers_header_is_taken_as_it_is() -> None:
    """Bytes or text; the flags stay."""
    assert read_traceparent(GIVEN.encode()) == GIVEN
    assert read_traceparent(GIVEN) == GIVEN


def test_a_newer_version_is_read_as_the_one_we_know() -> None:
    """A later version may say more; only what we know goes on."""
    assert read_traceparent(f"cc{GIVEN[2:]}-what-the-future-adds") == GIVEN


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Jane Doe <jane@example.net>",
        b"\xff\xfe",
        GIVEN.upper().encode(),
        GIVEN[:-1].encode(),
        f"ff{GIVEN[2:]}".encode(),
        f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(),
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01".encode(),
        f"{GIVEN}\n".encode(),
    ],
)
def test_what_is_no_traceparent_is_passed_on_to_nobody(header: bytes | None) -> None:
    """It may be text."""
    assert read_traceparent(header) is None


def test_a_derived_trace_is_the_same_on_every_retry() -> None:
    """And is one that every tool takes."""
    cause = uuid.uuid4()
    assert new_traceparent(cause) == new_traceparent(cause) == read_traceparent(new_traceparent(cause))
    assert re.fullmatch(r"[0-9a-f-]{55}", new_traceparent(cause))
