"""Erasing one lead: every text and address of theirs goes, hashed ids stay, and a replay brings nothing back.

The lead's rows change in one transaction, under the lock that ingest shares and the lead's row lock: whoever comes
later finds an erased lead, whoever was before is waited for. What hangs on nothing but a key (the outbox) and what
stands outside (Slack) follows in steps that may be repeated: run again, it goes on with what is left.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from agents.outcomes import draft_outcome, envelope
from agents.persist import TRANSIENT, backoff_s
from agents.reading import read_json
from app.slack.blocks import Decided, decided_message
from app.slack.client import Posted, SlackClient
from db import sql
from db.pool import Connection, Pool, transaction
from schemas.codes import Action, DraftStatus, OutcomeStatus
from schemas.topics import DEAD_LETTER

REASON: Final = "lead_erased"
WAIT_S_MAX: Final = 90.0
POLL_S: Final = 0.5
OUTBOX_PAGE_ROWS_MAX: Final = 2_000
OUTBOX_PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
DEADLOCKS_MAX: Final = 5


class LeadUnknown(Exception):
    """There is no such lead, and none was erased under this id."""


class StillUnderWay(Exception):
    """A send of this lead has no outcome yet, or an event of theirs is not on its topic yet."""

    def __init__(self, sends: int, events: int) -> None:
        super().__init__(f"{sends} sends, {events} events")
        self.sends, self.events = sends, events


@dataclass
class Erased:
    """What went. `before`: erased earlier, this was the rest. `slack_left`: messages that could not be written anew."""

    erased_id: str
    before: bool = False
    messages: int = 0
    runs: int = 0
    drafts: int = 0
    deliveries: int = 0
    memory_entries: int = 0
    outbox_rows: int = 0
    slack_messages: int = 0
    slack_left: int = 0


@dataclass(frozen=True)
class Request:
    """Who is to be erased, and who asks. `reason` is kept in the audit: it must not name the lead."""

    workspace_id: str
    lead_id: str
    actor: str
    via: str
    reason: str

    @property
    def lead(self) -> dict[str, str]:
        return {"workspace_id": self.workspace_id, "lead_id": self.lead_id}


async def erase_lead(
    pool: Pool,
    request: Request,
    slack: SlackClient | None,
    link: Callable[[Any], str],
    *,
    wait_s: float = WAIT_S_MAX,
    say: Callable[[str], None] = lambda text: None,
) -> Erased:
    """Erase a lead, or finish an erasure that was interrupted. `link` gives a draft's address for Slack.

    Raises LeadUnknown, and StillUnderWay when after `wait_s` seconds a send or an event is still under way.
    """
    erased = await _rows_until_quiet(pool, request, time.monotonic() + wait_s, say)
    erased.outbox_rows = await _clean_outbox(pool, request, say)
    if slack is not None:
        await _rewrite_slack(pool, request, erased, slack, link)
    erased.slack_left = len(await _slack_messages(pool, request, erased))
    return erased


async def _rows_until_quiet(pool: Pool, request: Request, give_up: float, say: Callable[[str], None]) -> Erased:
    failures = 0
    while True:
        try:
            async with transaction(pool) as connection:
                return await _erase_rows(connection, request)
        except StillUnderWay as waiting:
            if time.monotonic() >= give_up:
                raise
            say(f"waits for {waiting.sends} sends and {waiting.events} events of this lead")
        except TRANSIENT:
            failures += 1
            if failures > DEADLOCKS_MAX:
                raise
            await asyncio.sleep(backoff_s(failures))
        await asyncio.sleep(POLL_S)


async def _erase_rows(connection: Connection, request: Request) -> Erased:
    """The lead's rows, in the caller's transaction."""
    await sql.housekeeping.own_erasure_lock.value(connection)
    lead = await sql.housekeeping.lock_lead_to_erase.row(connection, **request.lead)
    if lead is None:
        known = await sql.housekeeping.was_erased.one(connection, **request.lead)
        if not known["erased"]:
            raise LeadUnknown
        return Erased(known["erased_id"], before=True)
    under_way = await sql.housekeeping.under_way_of_lead.one(connection, **request.lead)
    if under_way["sends"] or under_way["events"]:
        raise StillUnderWay(under_way["sends"], under_way["events"])
    erased = Erased(lead["erased_id"], **await sql.housekeeping.rows_of_lead.one(connection, **request.lead))
    retired = await _retire(connection, request)
    await _anonymise(connection, request, erased.erased_id)
    await _tell(connection, retired)
    await _audit(connection, request, erased)
    return erased


async def _retire(connection: Connection, request: Request) -> list[asyncpg.Record]:
    """Nothing of this lead is drafted, sent or asked any more; returns the drafts whose fate that changes."""
    await sql.housekeeping.drop_waiting_requests_of_lead.run(connection, **request.lead)
    drafts = await sql.housekeeping.open_drafts_of_lead.rows(connection, **request.lead)
    await sql.delivery.cancel_scheduled_deliveries.run(
        connection, draft_ids=[draft["id"] for draft in drafts], reason=REASON
    )
    for draft in drafts:
        await sql.draft.set_draft_fate.value(
            connection, draft_id=draft["id"], status=DraftStatus.SUPERSEDED, action=draft["action"], reason=REASON
        )
    return drafts


async def _anonymise(connection: Connection, request: Request, erased_id: str) -> None:
    """Runs first: what a worker still writes for one finds no run. The lead's own row last: everything hangs on it."""
    of_lead, to_hash = request.lead, {**request.lead, "erased_id": erased_id}
    await sql.housekeeping.delete_runs_of_lead.run(connection, **of_lead)
    await sql.housekeeping.close_reviews_of_lead.run(connection, **of_lead)
    await sql.housekeeping.erase_review_texts.run(connection, **of_lead)
    await sql.housekeeping.erase_meeting_reasons.run(connection, **of_lead)
    await sql.housekeeping.put_erased_lead.run(connection, workspace_id=request.workspace_id, erased_id=erased_id)
    await sql.housekeeping.erase_messages.run(connection, **to_hash)
    await sql.housekeeping.erase_drafts.run(connection, **to_hash)
    await sql.housekeeping.erase_deliveries.run(connection, **to_hash)
    await sql.housekeeping.erase_followups.run(connection, **to_hash)
    await sql.housekeeping.erase_bookings.run(connection, **to_hash)
    await sql.housekeeping.keep_suppression.run(connection, **to_hash)
    await sql.housekeeping.delete_lead.run(connection, **of_lead)


async def _tell(connection: Connection, retired: list[asyncpg.Record]) -> None:
    """Their outcome, under the hashed ids: consumers know the draft by its own id."""
    for each in retired:
        draft = await sql.draft.lock_draft.one(connection, draft_id=each["id"])
        event = draft_outcome(
            draft,
            run_id=each["decided_run_id"],
            action=Action(each["action"]),
            status=OutcomeStatus.SUPERSEDED,
            reason=REASON,
            sequence=draft["outcome_sequence"],
        )
        written = envelope(event, event.event_id, None) | {"taken_s": 0.0}  # a worker's sweep publishes it
        await sql.outbox.add_event.value(connection, topic=event.topic, workspace_id=draft["workspace_id"], **written)


async def _audit(connection: Connection, request: Request, erased: Erased) -> None:
    await sql.admin.add_audit.value(
        connection,
        actor=request.actor,
        via=request.via,
        action="erase-lead",
        workspace_id=request.workspace_id,
        subject=f"lead:{erased.erased_id}",
        before={"messages": erased.messages, "drafts": erased.drafts},
        after=None,
        reason=request.reason,
    )


# ---- the outbox, where dead letters hold originals


async def _clean_outbox(pool: Pool, request: Request, say: Callable[[str], None]) -> int:
    """Published events of this lead, and dead letters that name them; page by page, no lock held."""
    after, deleted = 0, 0
    while True:
        page = await sql.housekeeping.outbox_page.rows(
            pool, after_id=after, limit=OUTBOX_PAGE_ROWS_MAX, bytes=OUTBOX_PAGE_BYTES_MAX
        )
        if not page:
            return deleted
        after = page[-1]["id"]
        theirs = [row["id"] for row in page if row["published"] and _is_about(row, request)]
        if theirs:
            deleted += await sql.housekeeping.delete_outbox_rows.run(pool, ids=theirs)
            say(f"{deleted} published events of this lead deleted")


def _is_about(row: asyncpg.Record, request: Request) -> bool:
    key = bytes(row["key"] or b"")
    if row["topic"] != DEAD_LETTER.name:
        return row["workspace_id"] == request.workspace_id and key == request.lead_id.encode()
    return _letter_is_about(key, bytes(row["letter"] or b""), request)


def _letter_is_about(key: bytes, original: bytes, request: Request) -> bool:
    """Whether a dead letter may hold something of this lead.

    One that says whose it is stays when that is another lead, or one of another workspace: ids are a workspace's own,
    and an id such as `1` stands in nearly every text. One that does not say (no JSON, no object, no id) goes when its
    key is the id or the id stands anywhere in it: rather a stranger's copy, of what the topic has, than a person who
    was erased.
    """
    owner = _owner(original)
    if owner is None:
        folded = original.lower()
        return key == request.lead_id.encode() or any(each in folded for each in _spellings(request.lead_id))
    workspace, lead = owner
    ours = lead == request.lead_id or key == request.lead_id.encode()
    return ours and workspace in (None, request.workspace_id)


def _owner(original: bytes) -> tuple[str | None, str] | None:
    """Workspace, where it is named, and lead of a record; None when it does not say whose it is."""
    parsed = read_json(original)
    if not isinstance(parsed, dict):
        return None
    workspace, lead = (
        str(parsed[name]) if isinstance(parsed.get(name), str | int) else None for name in ("workspace_id", "lead_id")
    )
    return None if lead is None else (workspace, lead)


def _spellings(text: str) -> set[bytes]:
    """The bytes that a text may stand as, in lower case: as it is, escaped in JSON, in two bytes a character."""
    encoded = {text.encode(), json.dumps(text)[1:-1].encode(), text.encode("utf-16-le"), text.encode("utf-16-be")}
    return {each.lower() for each in encoded}


# ---- Slack


async def _slack_messages(pool: Pool, request: Request, erased: Erased) -> list[asyncpg.Record]:
    return await sql.housekeeping.slack_messages_of_lead.rows(
        pool, workspace_id=request.workspace_id, lead_id=erased.erased_id
    )


async def _rewrite_slack(
    pool: Pool, request: Request, erased: Erased, slack: SlackClient, link: Callable[[Any], str]
) -> None:
    """Every Slack message about a draft of theirs is written anew, without draft and recipient."""
    refused: set[Any] = set()
    while True:
        left = [row for row in await _slack_messages(pool, request, erased) if row["id"] not in refused]
        if not left:
            return
        for row in left:
            if row["slack_ts"] is None:
                continue
            message = decided_message(row["draft_id"], Decided("The lead was erased on request"), link(row["draft_id"]))
            if isinstance(await slack.update(row["slack_channel"], row["slack_ts"], message), Posted):
                await sql.housekeeping.slack_message_written.run(pool, review_id=row["id"])
                erased.slack_messages += 1
            else:
                refused.add(row["id"])
        await asyncio.sleep(POLL_S if any(row["slack_ts"] is None for row in left) else 0)
