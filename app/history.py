"""`import-history`: messages and drafts of another system become rows, as if they had always been here.

Nothing is drafted, sent or published for them. Every row has an id derived from its own, so a file that was imported
halfway is imported again from the start and changes nothing twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from pydantic import ValidationError

from agents.outcomes import sha256_of
from db import sql
from db.pool import Connection, Pool, transaction
from schemas.history import HistoryDraft, HistoryLine, HistoryMessage, history_line
from schemas.ids import delivery_id, draft_id, message_row_id

T = TypeVar("T")

BATCH_LINES_MAX: Final = 500
BROKEN_SHOWN_MAX: Final = 20
TOLD_LINES: Final = 10_000


@dataclass(frozen=True)
class Broken:
    """A line that cannot be imported: our own field names and pydantic's kind of error, nothing of its content."""

    line: int
    error: str


@dataclass
class Imported:
    """Rows that came in, and why others did not. `known`: they were here before."""

    messages: int = 0
    messages_known: int = 0
    messages_erased: int = 0
    drafts: int = 0
    drafts_known: int = 0
    drafts_without_message: int = 0
    sent_tied: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass
class Checked:
    """What reading a whole file found."""

    lines: int = 0
    workspaces: set[str] = field(default_factory=set)
    broken: list[Broken] = field(default_factory=list)


def read_lines(path: Path) -> Iterator[tuple[int, HistoryLine | Broken]]:
    """The lines that are not blank, with their numbers."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                yield number, _read(number, raw)


def _read(number: int, raw: bytes) -> HistoryLine | Broken:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Broken(number, "no JSON")
    try:
        return history_line.validate_python(parsed)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = [str(part) for part in first["loc"] if part not in ("message", "draft")]
        return Broken(number, f"{place[0] if place else 'kind'}: {first['type']}")


def check(path: Path, say: Callable[[Checked], None] = lambda checked: None) -> Checked:
    """Read the whole file and write nothing; `say` is told now and then."""
    checked = Checked()
    for _, line in read_lines(path):
        checked.lines += 1
        if isinstance(line, Broken):
            checked.broken.append(line)
        else:
            checked.workspaces.add(line.workspace_id)
        if checked.lines % TOLD_LINES == 0:
            say(checked)
    return checked


async def unknown_workspaces(pool: Pool, found: set[str]) -> list[str]:
    known = {row["id"] for row in await sql.housekeeping.workspaces.rows(pool)}
    return sorted(found - known)


async def import_file(pool: Pool, path: Path, say: Callable[[Imported], None] = lambda imported: None) -> Imported:
    """Messages first, then the drafts that belong to them, in batches of one transaction each."""
    imported = Imported()
    for messages in _batches(line for _, line in read_lines(path) if isinstance(line, HistoryMessage)):
        async with transaction(pool) as connection:
            await _import_messages(connection, messages, imported)
        say(imported)
    for drafts in _batches(line for _, line in read_lines(path) if isinstance(line, HistoryDraft)):
        async with transaction(pool) as connection:
            await _import_drafts(connection, drafts, imported)
        say(imported)
    return imported


def _batches(lines: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(lines, BATCH_LINES_MAX)):
        yield batch


async def _import_messages(connection: Connection, messages: Sequence[HistoryMessage], imported: Imported) -> None:
    """An erased lead's messages stay away, as in a replay of the topic."""
    await sql.housekeeping.share_erasure_lock.value(connection)
    ids = [message_row_id(message.workspace_id, message.message_id) for message in messages]
    erased = {row["id"] for row in await sql.housekeeping.erased_messages.rows(connection, ids=ids)}
    chosen = [(row, message) for row, message in zip(ids, messages, strict=True) if row not in erased]
    imported.messages_erased += len(messages) - len(chosen)
    if not chosen:
        return
    modes = await _modes(connection, {message.workspace_id for _, message in chosen})
    await _insert_leads(connection, [message for _, message in chosen])
    new = await sql.history.insert_history_if_absent.rows(connection, **_columns(chosen, modes))
    imported.messages += len(new)
    imported.messages_known += len(chosen) - len(new)


async def _modes(connection: Connection, workspaces: set[str]) -> dict[str, Any]:
    """Default mode and the campaigns' by workspace."""
    rows = await sql.ingest.workspaces_for_ingest.rows(connection, workspace_ids=sorted(workspaces))
    return {row["id"]: row for row in rows}


async def _insert_leads(connection: Connection, messages: Sequence[HistoryMessage]) -> None:
    leads = [message.lead for message in messages]
    await sql.history.insert_leads_if_absent.run(
        connection,
        workspace_ids=[message.workspace_id for message in messages],
        lead_ids=[message.lead_id for message in messages],
        names=[lead.name if lead else None for lead in leads],
        emails=[lead.email if lead else None for lead in leads],
        phones=[lead.phone if lead else None for lead in leads],
        timezones=[lead.timezone if lead else None for lead in leads],
        locales=[lead.locale if lead else None for lead in leads],
    )


def _columns(chosen: Sequence[tuple[Any, HistoryMessage]], modes: dict[str, Any]) -> dict[str, Any]:
    messages = [message for _, message in chosen]
    return {
        "ids": [row for row, _ in chosen],
        "workspace_ids": [message.workspace_id for message in messages],
        "lead_ids": [message.lead_id for message in messages],
        "channels": [message.channel.value for message in messages],
        "thread_ids": [message.thread_id or "" for message in messages],
        "message_ids": [message.message_id for message in messages],
        "directions": [message.direction for message in messages],
        "humans": [message.human for message in messages],
        "sent_bys": [message.sent_by for message in messages],
        "sources": [message.source for message in messages],
        "campaign_ids": [message.campaign_id for message in messages],
        "modes": [_mode(modes[message.workspace_id], message.campaign_id) for message in messages],
        "bodies": [message.body for message in messages],
        "subjects": [message.subject for message in messages],
        "from_addresses": [message.from_address for message in messages],
        "to_addresses": [message.to_address for message in messages],
        "headers": [message.headers or {} for message in messages],
        "received_ats": [message.received_at for message in messages],
    }


def _mode(workspace: Any, campaign: str | None) -> str:
    found: str = workspace["modes"].get(campaign or "", workspace["default_mode"])
    return found


async def _import_drafts(connection: Connection, drafts: Sequence[HistoryDraft], imported: Imported) -> None:
    ids = [message_row_id(draft.workspace_id, draft.trigger_message_id) for draft in drafts]
    found = {row["id"]: row for row in await sql.history.triggers_of_history.rows(connection, ids=ids)}
    for row, draft in zip(ids, drafts, strict=True):
        trigger = found.get(row)
        if trigger is None or trigger["message_id"] != draft.trigger_message_id:  # unknown, or erased
            imported.drafts_without_message += 1
            continue
        identity = draft_id(draft.workspace_id, draft.trigger_message_id, trigger["channel"])
        new = await _insert_draft(connection, identity, draft)
        imported.drafts += new
        imported.drafts_known += not new
        if new and draft.sent_message_id is not None:
            imported.sent_tied += await _tie(connection, identity, draft)


async def _insert_draft(connection: Connection, identity: Any, draft: HistoryDraft) -> bool:
    inserted = await sql.history.insert_draft_if_absent.value(
        connection,
        draft_id=identity,
        workspace_id=draft.workspace_id,
        trigger_message_id=draft.trigger_message_id,
        mode=draft.mode,
        recipient=draft.recipient,
        content=draft.content,
        content_sha256=sha256_of(draft.content),
        language=draft.language,
        status=draft.status,
        created_at=draft.created_at,
    )
    return inserted is not None


async def _tie(connection: Connection, identity: Any, draft: HistoryDraft) -> bool:
    tied = await sql.history.tie_sent_message.value(
        connection,
        draft_id=identity,
        delivery_id=delivery_id(identity, 1),
        workspace_id=draft.workspace_id,
        message_id=draft.sent_message_id,
        sent_by="reviewer" if draft.edited else "ai",
        delayed=draft.delayed,
    )
    return tied is not None
