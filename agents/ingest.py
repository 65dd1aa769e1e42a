"""inbound-message -> message rows and waiting draft requests. No model call; one transaction per batch.

Under each lead's row lock: store the messages, retire what they make stale, keep one waiting request per conversation,
move the watermark. Whatever cannot be used becomes a dead letter in the same transaction.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Any

from agents.dead_letters import Incoming, add_dead_letters
from agents.gates import first_gate
from agents.outcomes import add_event, draft_outcome
from agents.reading import Unreadable, read_event
from agents.requesting import Conversation, Request, conversation_key, write_requests
from agents.rim import OutboxRow
from db import sql
from db.pool import Connection
from schemas.codes import Action, DeadLetterReason, DraftStatus, Gate, Mode, OutcomeStatus
from schemas.events import InboundMessage
from schemas.ids import message_row_id
from schemas.topics import INBOUND_MESSAGE
from schemas.traces import new_traceparent


@dataclass(frozen=True)
class Stored:
    """A message that is new, with what ingest decided about it."""

    message: InboundMessage
    disposition: Gate
    mode: Mode
    traceparent: str | None
    seq: int = 0

    @property
    def conversation(self) -> Conversation:
        message = self.message
        return message.workspace_id, message.lead_id, message.channel.value, message.thread_id or ""

    @property
    def waits(self) -> bool:
        return self.disposition is Gate.WAITING


@dataclass
class Result:
    """What a committed batch brought about; `rows` are to be published now."""

    rows: list[OutboxRow] = field(default_factory=list)
    stored: int = 0
    repeated: int = 0
    dead: int = 0


@dataclass(frozen=True)
class Workspace:
    default_mode: Mode
    modes: dict[str, str]
    quiet_window_s: float
    own_addresses: frozenset[str]
    has_erased: bool = False

    def mode_of(self, campaign_id: str | None) -> Mode:
        return Mode(self.modes.get(campaign_id or "", self.default_mode))


async def ingest_batch(connection: Connection, batch: Sequence[Incoming], own: frozenset[str]) -> Result:
    """Take a batch into the database; the caller owns the transaction. `own`: addresses that are ours."""
    result = Result()
    readable: list[tuple[Incoming, InboundMessage]] = []
    letters: list[tuple[Incoming, Unreadable]] = []
    for record in batch:
        read = read_event(InboundMessage, record.value)
        if isinstance(read, Unreadable):
            letters.append((record, read))
        else:
            readable.append((record, read))
    await sql.housekeeping.share_erasure_lock.value(connection)
    workspaces = await _workspaces(connection, {message.workspace_id for _, message in readable}, own)
    known = [(record, message) for record, message in readable if message.workspace_id in workspaces]
    unknown = Unreadable(DeadLetterReason.UNKNOWN_WORKSPACE, "workspace_id: unknown; retry after provisioning")
    letters += [(record, unknown) for record, message in readable if message.workspace_id not in workspaces]
    erased = await _erased(connection, [message for _, message in known], workspaces)
    result.repeated = len(erased)
    known = [(record, message) for record, message in known if _row_id(message) not in erased]
    if known:
        suppressed = await _lock_leads(connection, [message for _, message in known])
        stored = await _store(connection, known, workspaces, suppressed)
        result.stored = len(stored)
        result.repeated += len(known) - len(stored)
        if stored:
            result.rows += await _follow(connection, stored, workspaces)
    result.dead = len(letters)
    result.rows += await add_dead_letters(connection, letters)
    await _advance(connection, batch)
    return result


async def dead_letter_batch(connection: Connection, record: Incoming, code: DeadLetterReason, error: str) -> Result:
    """A record that the database refuses, as a dead letter; the watermark passes it."""
    rows = await add_dead_letters(connection, [(record, Unreadable(code, error))])
    await _advance(connection, [record])
    return Result(rows, dead=1)


async def _workspaces(connection: Connection, ids: set[str], own: frozenset[str]) -> dict[str, Workspace]:
    rows = await sql.ingest.workspaces_for_ingest.rows(connection, workspace_ids=sorted(ids))
    return {
        row["id"]: Workspace(
            Mode(row["default_mode"]),
            row["modes"],
            row["quiet_window_s"],
            own | _addresses(row["channels"]),
            row["has_erased"],
        )
        for row in rows
    }


def _addresses(channels: dict[str, Any]) -> frozenset[str]:
    """The workspace's own addresses: mail that comes from them is our own reply coming back."""
    found: list[Any] = []
    for channel in (each for each in channels.values() if isinstance(each, dict)):
        inbound = channel.get("inbound")
        found += [channel.get("from"), channel.get("sent_copy"), *(inbound if isinstance(inbound, list) else [])]
    addresses = (parseaddr(each)[1].lower() for each in found if isinstance(each, str))
    return frozenset(address for address in addresses if address)


async def _erased(
    connection: Connection, messages: Sequence[InboundMessage], workspaces: dict[str, Workspace]
) -> set[uuid.UUID]:
    """Those whose lead was erased after they were stored: nothing of them comes back."""
    ids = [_row_id(message) for message in messages if workspaces[message.workspace_id].has_erased]
    if not ids:
        return set()
    return {row["id"] for row in await sql.housekeeping.erased_messages.rows(connection, ids=ids)}


def _row_id(message: InboundMessage) -> uuid.UUID:
    return message_row_id(message.workspace_id, message.message_id)


async def _lock_leads(connection: Connection, messages: Sequence[InboundMessage]) -> set[tuple[str, str]]:
    """Insert or lock the leads; returns those on the suppression list."""
    leads = [message.lead for message in messages]
    rows = await sql.ingest.lock_leads.rows(
        connection,
        workspace_ids=[message.workspace_id for message in messages],
        lead_ids=[message.lead_id for message in messages],
        names=[lead.name if lead else None for lead in leads],
        emails=[_email(message) for message in messages],
        phones=[lead.phone if lead else None for lead in leads],
        timezones=[lead.timezone if lead else None for lead in leads],
        locales=[lead.locale if lead else None for lead in leads],
    )
    return {(row["workspace_id"], row["lead_id"]) for row in rows if row["suppressed"]}


def _email(message: InboundMessage) -> str | None:
    return message.lead.email if message.lead else None


def _dispose(message: InboundMessage, workspace: Workspace, suppressed: bool) -> Gate:
    if message.direction == "outbound":
        return Gate.OUTBOUND
    mode = workspace.mode_of(message.campaign_id)
    return first_gate(message, workspace.own_addresses, suppressed, mode) or Gate.WAITING


async def _store(
    connection: Connection,
    known: Sequence[tuple[Incoming, InboundMessage]],
    workspaces: dict[str, Workspace],
    suppressed: set[tuple[str, str]],
) -> list[Stored]:
    """Insert the messages; returns the new ones in order. A repeat of a message id changes nothing."""
    decided = []
    for record, message in known:
        lead, workspace = (message.workspace_id, message.lead_id), workspaces[message.workspace_id]
        gate = _dispose(message, workspace, lead in suppressed)
        if gate is Gate.OPT_OUT:
            suppressed.add(lead)
        trace = record.traceparent or new_traceparent(message_row_id(message.workspace_id, message.message_id))
        decided.append(Stored(message, gate, workspace.mode_of(message.campaign_id), trace))
    rows = await _insert(connection, decided)
    sequence = {row["id"]: row["ingest_seq"] for row in rows}
    new = []
    for stored in decided:
        seq = sequence.pop(_row_id(stored.message), None)
        if seq is not None:
            new.append(Stored(stored.message, stored.disposition, stored.mode, stored.traceparent, seq))
    return new


async def _insert(connection: Connection, decided: Sequence[Stored]) -> list[Any]:
    messages = [stored.message for stored in decided]
    return await sql.ingest.insert_messages_if_new.rows(
        connection,
        ids=[_row_id(message) for message in messages],
        workspace_ids=[message.workspace_id for message in messages],
        lead_ids=[message.lead_id for message in messages],
        channels=[message.channel.value for message in messages],
        thread_ids=[message.thread_id or "" for message in messages],
        message_ids=[message.message_id for message in messages],
        directions=[message.direction for message in messages],
        humans=[stored.disposition is not Gate.MACHINE_MAIL for stored in decided],
        sent_bys=[message.sent_by for message in messages],
        sources=[message.source for message in messages],
        campaign_ids=[message.campaign_id for message in messages],
        modes=[stored.mode.value for stored in decided],
        bodies=[message.body for message in messages],
        subjects=[message.subject for message in messages],
        from_addresses=[message.from_address for message in messages],
        to_addresses=[message.to_address for message in messages],
        headers=[message.headers or {} for message in messages],
        dispositions=[stored.disposition.value for stored in decided],
        traceparents=[stored.traceparent for stored in decided],
        received_ats=[message.received_at for message in messages],
    )


async def _follow(
    connection: Connection, stored: Sequence[Stored], workspaces: dict[str, Workspace]
) -> list[OutboxRow]:
    """What follows from new messages: stale work is retired, requests wait, opted-out leads are suppressed."""
    opted_out = {_lead(each): each.seq for each in stored if each.disposition is Gate.OPT_OUT}
    answered = {_lead(each): each.seq for each in stored if each.disposition is Gate.OUTBOUND}
    newest = {each.conversation: each for each in stored if each.disposition not in (Gate.OUTBOUND, Gate.MACHINE_MAIL)}
    rows: list[OutboxRow] = []
    if opted_out:
        await sql.ingest.suppress_leads.run(connection, **_leads(opted_out), reason="opt_out")
        rows += await _retire_leads(connection, opted_out, Gate.OPT_OUT, DraftStatus.SUPPRESSED, "opt_out")
    if answered:
        rows += await _retire_leads(connection, answered, Gate.JOINED, DraftStatus.SUPERSEDED, "answered")
    if newest:
        await _join_and_supersede(connection, newest)
        rows += await retire(connection, sorted(newest), DraftStatus.SUPERSEDED, "newer_inbound")
        settled = {lead: max(opted_out.get(lead, 0), answered.get(lead, 0)) for lead in (*opted_out, *answered)}
        waiting = [each for each in newest.values() if each.waits and each.seq > settled.get(_lead(each), 0)]
        await write_requests(connection, [_request(each, workspaces) for each in waiting])
    return rows


def _lead(stored: Stored) -> tuple[str, str]:
    return stored.message.workspace_id, stored.message.lead_id


def _leads(leads: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    ordered = sorted(leads)
    return {"workspace_ids": [lead[0] for lead in ordered], "lead_ids": [lead[1] for lead in ordered]}


def _conversations(conversations: Sequence[Conversation]) -> dict[str, list[str]]:
    columns = list(zip(*conversations, strict=True))
    names = ("workspace_ids", "lead_ids", "channels", "thread_ids")
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


async def _join_and_supersede(connection: Connection, newest: dict[Conversation, Stored]) -> None:
    conversations = sorted(newest)
    columns = _conversations(conversations)
    seqs = [newest[conversation].seq for conversation in conversations]
    await sql.ingest.join_older_waiting_messages.run(connection, **columns, ingest_seqs=seqs)
    await sql.ingest.supersede_running_runs.run(connection, **columns)


def _request(stored: Stored, workspaces: dict[str, Workspace]) -> Request:
    quiet_s = workspaces[stored.message.workspace_id].quiet_window_s
    return Request(stored.conversation, stored.message.message_id, stored.traceparent, quiet_s=quiet_s)


async def _retire_leads(
    connection: Connection, leads: dict[tuple[str, str], int], disposition: Gate, status: DraftStatus, reason: str
) -> list[OutboxRow]:
    """Nothing of these leads is sent any more: running runs, waiting requests, decided drafts, scheduled sends."""
    columns = _leads(leads)
    await sql.ingest.supersede_running_runs_of_leads.run(connection, **columns)
    dropped = await sql.ingest.settle_waiting_messages_of_leads.rows(
        connection, **columns, ingest_seqs=[leads[lead] for lead in sorted(leads)], disposition=disposition
    )
    conversations = [tuple(row) for row in dropped]
    await sql.ingest.drop_waiting_requests_of_leads.run(
        connection,
        workspace_ids=[conversation[0] for conversation in conversations],
        conversations=[conversation_key(conversation) for conversation in conversations],
    )
    drafts = await sql.ingest.open_drafts_of_leads.rows(connection, **columns)
    return await _retire_drafts(connection, drafts, status, reason)


async def retire(
    connection: Connection, conversations: Sequence[Conversation], status: DraftStatus, reason: str
) -> list[OutboxRow]:
    """Decided drafts of these conversations that nobody sent: retired, their scheduled sends cancelled."""
    drafts = await sql.ingest.open_drafts_of_conversations.rows(connection, **_conversations(conversations))
    return await _retire_drafts(connection, drafts, status, reason)


async def _retire_drafts(
    connection: Connection, drafts: Sequence[Any], status: DraftStatus, reason: str
) -> list[OutboxRow]:
    if not drafts:
        return []
    ids = [draft["id"] for draft in drafts]
    await sql.delivery.cancel_scheduled_deliveries.run(connection, draft_ids=ids, reason=reason)
    await sql.review.close_reviews.run(connection, draft_ids=ids, status="superseded")
    rows = []
    for draft in drafts:
        await sql.draft.set_draft_fate.value(
            connection, draft_id=draft["id"], status=status, action=draft["auto_send_action"], reason=reason
        )
        event = draft_outcome(
            draft,
            run_id=draft["decided_run_id"],
            action=Action(draft["auto_send_action"]),
            status=OutcomeStatus(status),
            reason=reason,
        )
        rows += await add_event(connection, event, draft["workspace_id"], None)
    return rows


async def _advance(connection: Connection, batch: Sequence[Incoming]) -> None:
    """Everything up to the last offset of the batch is now in the database."""
    ends: dict[int, int] = {}
    for record in batch:
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    await sql.ingest.advance_watermarks.run(
        connection, topic=INBOUND_MESSAGE.name, partitions=list(ends), next_offsets=list(ends.values())
    )
