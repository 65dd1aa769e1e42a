"""The gates on letters of kinds that the shared samples lack: `letters.jsonl`, in twelve languages, none with the headers
that would make it easy. `author` is a machine, a person, or a person who wants to be left alone."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agents.gates import first_gate
from schemas.codes import Gate, Mode
from schemas.events import InboundMessage

ANSWERED_MACHINES_MAX = 0.02
OWN = frozenset({"sales@acme.example"})


@cache
def letters() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(__file__).with_name("letters.jsonl").read_text("utf-8").splitlines()]


def gate_of(letter: dict[str, Any]) -> Gate | None:
    fields = {name: value for name, value in letter.items() if name not in ("id", "author")}
    given = {"schema_version": 1, "message_id": "m", "workspace_id": "w", "lead_id": "l", "channel": "email"}
    message = InboundMessage.model_validate({**given, "received_at": datetime(2026, 11, 3, tzinfo=UTC), **fields})
    return first_gate(message, OWN, suppressed=False, mode=Mode.AI_AUTO_SEND)


def ends(author: str, wanted: Gate | None) -> tuple[int, list[str]]:
    """How many letters there are of this author, and which end otherwise than wanted."""
    written = [letter for letter in letters() if letter["author"] == author]
    return len(written), [letter["id"] for letter in written if gate_of(letter) is not wanted]


def test_notices_without_headers_get_no_reply(capsys: pytest.CaptureFixture[str]) -> None:
    """Absences, tickets, receipts, calendars, newsletters and bounces known by their words: at most 2 % answered."""
    count, answered = ends("machine", Gate.MACHINE_MAIL)
    with capsys.disabled():
        print(f"\nnotices answered: {len(answered)} of {count}")
    assert count > 100
    assert len(answered) <= ANSWERED_MACHINES_MAX * count, answered


def test_who_cites_a_notice_or_asks_about_lists_is_heard() -> None:
    """People who quote, paste, forward or merely mention such words, or ask while they are away: nobody is refused."""
    count, refused = ends("person", None)
    assert count > 100
    assert refused == []


def test_who_wants_no_more_mail_is_heard_in_their_language() -> None:
    """Every request to be left alone is an opt-out."""
    count, missed = ends("leaves", Gate.OPT_OUT)
    assert count >= 100
    assert missed == []
