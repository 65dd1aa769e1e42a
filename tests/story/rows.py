"""Records for `inbound-message`: made up, or real ones from the shared data, with markers that must never leak."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.samples import DATA, chat_bodies

OWN_ROWS, OWN_TURNS = 3_000, 6
OWN_MARKS = ("!!confident", "!!near", "!!never", "!!claim", "!!low", "!!confident")
_numbers = itertools.count(1)
Row = dict[str, Any]


@dataclass(frozen=True)
class Workspace:
    """A tenant as a story needs it; `settings` are columns of `workspace_settings`."""

    id: str
    mode: str = "AI_AUTO_SEND"
    settings: dict[str, Any] = field(default_factory=dict)
    campaigns: dict[str, str] = field(default_factory=dict)
    channels: dict[str, dict[str, Any]] | None = None


def now() -> str:
    """The time of producing."""
    return datetime.now(UTC).isoformat()


def row(workspace: str, who: str, body: str, **fields: Any) -> Row:
    """One inbound message, on chat unless said otherwise, with an id of its own."""
    made = {
        "schema_version": 1,
        "message_id": f"m-{workspace}-{next(_numbers)}",
        "workspace_id": workspace,
        "lead_id": who,
        "channel": "chat",
        "received_at": now(),
        "body": body,
    }
    return made | fields


def real_rows(name: str, count: int | None = None) -> list[Row]:
    """The first `count` messages of a shared file, as if received now; without the file, conversations of our own."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        return _own_rows(f"ws-{name}", count or OWN_ROWS)
    return [json.loads(line) | {"received_at": now()} for line in path.read_text().splitlines()[:count]]


def _own_rows(workspace: str, count: int) -> list[Row]:
    """Conversations of `OWN_TURNS` messages each, the last with a word that decides its fate."""
    bodies, rows = chat_bodies(), []
    for number in range(count):
        conversation, turn = divmod(number, OWN_TURNS)
        mark = OWN_MARKS[conversation % len(OWN_MARKS)] if turn == OWN_TURNS - 1 else ""
        rows.append(row(workspace, f"lead-{conversation}", f"{bodies[number % len(bodies)]} {mark}", thread_id="t"))
    return rows


def planted(rows: Iterable[Row]) -> list[Row]:
    """Rows whose texts, names and addresses all carry the marker of the row."""
    return [_plant(each, f"zqx{number:06d}") for number, each in enumerate(rows)]


def _plant(each: Row, mark: str) -> Row:
    return each | {
        "body": f"{each['body']} {mark}body",
        "subject": f"{mark}subject",
        "from_address": f"{mark}from@example.net",
        "to_address": f"{mark}to@example.com",
        "headers": {"X-Note": f"{mark}header"},
        "lead": {
            "name": f"{mark}name Smith",
            "email": f"{mark}mail@example.net",
            "phone": f"{mark}phone",
            "timezone": "Europe/Berlin",
            "locale": "en",
        },
    }


PLANTED = b"zqx0"


def value_of(each: Row | bytes | None) -> bytes | None:
    """A row as a producer would send it; bytes and null as they are."""
    return json.dumps(each).encode() if isinstance(each, dict) else each


def key_of(each: Row | bytes | None) -> bytes | None:
    """The lead's id, where there is one."""
    lead = each.get("lead_id") if isinstance(each, dict) else None
    return lead.encode("utf-8", "surrogatepass") if isinstance(lead, str) else None


def conversations(rows: Sequence[Row]) -> set[tuple[str, str, str, str]]:
    """Workspace, lead, channel and thread of each row, once."""
    return {(each["workspace_id"], each["lead_id"], each["channel"], each.get("thread_id") or "") for each in rows}
