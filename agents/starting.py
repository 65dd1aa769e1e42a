"""From a stored message to a run: what it may know is read once, pinned, and stored with it."""

import asyncio
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from email.utils import getaddresses
from typing import Any, Final

import asyncpg
import structlog

from agents.calling import NO_NEXT_CALL, NextCall, next_call
from agents.context import build_pack, fallback_pack, resolve_budgets
from agents.gates import hands_on, readable
from agents.rim import Rim
from agents.state import RunState
from db import sql
from schemas.codes import Channel, KillSwitch, Mode
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Knowledge, Profile, Slot, Turn
from schemas.events import DraftRequested
from schemas.ids import run_id, source_of
from schemas.limits import LEASE_S
from schemas.settings import PolicyRules, WorkspaceSettings, under_policy
from schemas.traces import new_traceparent

log = structlog.get_logger()

CONTEXT_ROWS_MAX: Final = 30
BUNDLE_S_MAX: Final = 2.0
SEARCH_WORDS_MAX: Final = 40
_WORD = re.compile(r"\w{3,}")
_FORGED = re.compile(r"\b(?:dmarc|dkim|spf)\s*=\s*(?:fail|softfail)\b", re.IGNORECASE)


def search_words(body: str) -> str:
    """A query for websearch_to_tsquery: any of the message's words."""
    words = dict.fromkeys(word.lower() for word in _WORD.findall(body))
    return " or ".join(f'"{word}"' for word in list(words)[:SEARCH_WORDS_MAX])


def _author(row: dict[str, Any]) -> str:
    if row["direction"] == "inbound":
        return "lead"
    return row["sent_by"] if row["sent_by"] in ("ai", "reviewer") else "other"


def _turns(rows: list[dict[str, Any]] | None) -> list[Turn]:
    return [
        Turn(
            message_id=row["message_id"],
            author=_author(row),
            body=readable(row["body"]),
            received_at=row["received_at"],
            subject=row["subject"],
        )
        for row in rows or []
    ]


def recipient_of(facts: asyncpg.Record) -> str | None:
    """Where a reply goes: where the message came from. Reply-To counts only when it is the same lead's address; where a
    machine names another one, a person has to say whether that is the lead's."""
    if facts["channel"] != Channel.EMAIL:
        return str(facts["from_address"] or facts["lead_id"])
    sender = facts["from_address"] or facts["email"]
    headers = {name.lower(): value for name, value in (facts["headers"] or {}).items()}
    reply_to = [address for _, address in getaddresses([headers.get("reply-to", "")]) if "@" in address]
    if len(reply_to) == 1 and facts["email"] and reply_to[0].lower() == facts["email"].lower():
        return reply_to[0]
    addresses = [address for _, address in getaddresses([sender or ""]) if "@" in address]
    handed_on = any(hands_on(address, headers.get("reply-to", "")) for address in addresses)
    return addresses[0] if len(addresses) == 1 and not handed_on else None


def _forged(facts: asyncpg.Record) -> bool:
    """Whether the receiving server's Authentication-Results (RFC 8601) call the sender forged."""
    headers = {name.lower(): value for name, value in (facts["headers"] or {}).items()}
    return bool(_FORGED.search(headers.get("authentication-results", "")))


def _attachments(facts: asyncpg.Record) -> list[str]:
    headers = {name.lower(): value for name, value in (facts["headers"] or {}).items()}
    return [name.strip() for name in headers.get("x-attachments", "").split(",") if name.strip()]


def snapshot_of(
    facts: asyncpg.Record, rows: asyncpg.Record, event: DraftRequested, *, bundle: bool
) -> DraftRunSnapshot:
    """Everything the run pins."""
    run = run_id(facts["workspace_id"], facts["message_id"], facts["channel"], event.attempt)
    profile = {name: facts[name] for name in ("email", "phone", "timezone", "locale")}
    return DraftRunSnapshot(
        run_id=run,
        draft_id=event.draft_id,
        workspace_id=facts["workspace_id"],
        workspace_name=facts["workspace_name"],
        lead_id=facts["lead_id"],
        channel=facts["channel"],
        thread_id=facts["thread_id"],
        campaign_id=facts["campaign_id"],
        mode=Mode(facts["mode"]),
        campaign_instructions=facts["campaign_instructions"],
        settings=under_policy(settings_of(facts["settings"]), facts["rules"]),
        policy=PolicyRules(
            revision=facts["revision"],
            auto_send_threshold=facts["auto_send_threshold"],
            booking_threshold=facts["booking_threshold"],
            rules=facts["rules"],
        ),
        now=facts["now"],
        trigger=Turn(
            message_id=facts["message_id"],
            author="lead",
            body=readable(facts["body"]),
            received_at=facts["received_at"],
            subject=facts["subject"],
        ),
        trigger_ingest_seq=facts["ingest_seq"],
        recipient=recipient_of(facts),
        profile=Profile(name=facts["lead_name"], **profile),
        conversation=_turns(rows["turns"]),
        knowledge=[Knowledge.model_validate(entry) for entry in rows["knowledge"] or []],
        free_slots=[Slot.model_validate(slot) for slot in rows["slots"] or []],
        bundle_enabled=bundle,
        attachments=_attachments(facts),
        forged_sender=_forged(facts),
        traceparent=facts["traceparent"],
    )


def settings_of(stored: dict[str, Any]) -> WorkspaceSettings:
    return WorkspaceSettings.model_validate(stored)


async def build_context(
    rim: Rim, facts: asyncpg.Record, event: DraftRequested
) -> tuple[DraftRunSnapshot, DraftRunContextPack]:
    """Snapshot and context pack. A bundle that is off or fails leaves the base context; it never blocks a draft."""
    settings: dict[str, Any] = facts["settings"]
    off = rim.is_off(KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED) or facts["bundle_off"]
    bundle = bool(settings["lead_context_bundle_enabled"]) and not off
    rows = await sql.run.context_rows.one(
        rim.pool,
        workspace_id=facts["workspace_id"],
        lead_id=facts["lead_id"],
        channel=facts["channel"],
        thread_id=facts["thread_id"],
        ingest_seq=facts["ingest_seq"],
        words=search_words(readable(facts["body"])),
        limit=CONTEXT_ROWS_MAX,
    )
    snapshot = snapshot_of(facts, rows, event, bundle=bundle)
    pack = await _bundle(rim, snapshot) if bundle else DraftRunContextPack()
    rim.context_built(pack)
    return snapshot, pack


async def _bundle(rim: Rim, snapshot: DraftRunSnapshot) -> DraftRunContextPack:
    try:
        async with asyncio.timeout(BUNDLE_S_MAX):
            rows = await sql.run.bundle_rows.one(
                rim.pool,
                workspace_id=snapshot.workspace_id,
                lead_id=snapshot.lead_id,
                channel=snapshot.channel,
                thread_id=snapshot.thread_id,
                limit=CONTEXT_ROWS_MAX,
            )
        budgets, _ = resolve_budgets(snapshot.settings.lead_context_bundle_budgets)
        return build_pack(snapshot, rows["memory"] or [], _turns(rows["history"]), budgets)
    except Exception as error:  # whatever it is: a bundle never blocks a draft or a booking
        log.warning("lead_context_bundle_failed", run_id=str(snapshot.run_id), exc_info=error)
        return fallback_pack(type(error).__name__)


@dataclass(frozen=True)
class Created:
    """A new run; `epoch` is None when another worker was first. Its first call is recorded with it."""

    epoch: int | None
    state: RunState
    first_call: NextCall | None


async def create_run(rim: Rim, facts: asyncpg.Record, event: DraftRequested) -> Created:
    """Create the run, take its first lease and record its first call."""
    snapshot, pack = await build_context(rim, facts, event)
    state = RunState(snapshot=snapshot, pack=pack)
    first = next_call(state, frozenset(), rim.model.known_models) if event.retry_of is None else None
    epoch = await sql.run.create_run_if_absent.value(
        rim.pool,
        run_id=snapshot.run_id,
        workspace_id=snapshot.workspace_id,
        lead_id=snapshot.lead_id,
        trigger_message_id=snapshot.trigger.message_id,
        draft_id=snapshot.draft_id,
        channel=snapshot.channel,
        thread_id=snapshot.thread_id,
        attempt=event.attempt,
        retry_of=event.retry_of,
        policy_revision=snapshot.policy.revision,
        lease_owner=rim.process_id,
        lease_s=LEASE_S,
        traceparent=snapshot.traceparent,
        campaign_id=snapshot.campaign_id,
        trigger_ingest_seq=snapshot.trigger_ingest_seq,
        mode=snapshot.mode,
        recipient=snapshot.recipient,
        threshold=snapshot.policy.auto_send_threshold,
        snapshot=snapshot.model_dump(mode="json"),
        context_pack=pack.model_dump(mode="json"),
        request_event_id=event.event_id,
        source=source_of(snapshot.workspace_id),
        **(first.columns() if first is not None else NO_NEXT_CALL),
    )
    return Created(epoch, state, first)


def state_of(row: asyncpg.Record) -> RunState:
    """The state a run started with, from what was stored."""
    return RunState(
        snapshot=DraftRunSnapshot.model_validate(row["snapshot"]),
        pack=DraftRunContextPack.model_validate(row["context_pack"]),
    )


def trace_of(run: uuid.UUID, traceparent: str | None) -> str:
    return traceparent or new_traceparent(run)


def age_s(now: datetime, received_at: datetime) -> float:
    return (now - received_at).total_seconds()
