"""What an approval rests on: that all is as it was shown, and the hard blocks on the exact text that would go out."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import asyncpg

from agents.hard_blocks import BlockGroup, HardBlock, check_text, may_pass, pack_texts
from agents.outcomes import sha256_of
from agents.starting import state_of
from agents.strangers import other_leads_in
from db import sql
from db.pool import Executor
from schemas.review import Binding, claims_sha256_of


def binding_of(standing: asyncpg.Record, blocks: Iterable[HardBlock] | None) -> Binding:
    """What a person sees now; `blocks` are those that are shown to them, marked in the draft."""
    return Binding(
        draft_id=str(standing["id"]),
        workspace_id=standing["workspace_id"],
        content_sha256=standing["content_sha256"] or "",
        recipient_sha256=sha256_of(standing["recipient"] or ""),
        newest_seq=standing["newest_seq"],
        policy_revision=standing["policy_now"],
        expires_at=standing["expires_at"].timestamp(),
        claims_sha256=shown_claims(blocks or ()),
    )


def binding_in(action: asyncpg.Record) -> Binding | None:
    """What a recorded action was bound to; None when it was bound to nothing that can be compared."""
    try:
        return Binding.of(action["binding"] or {})
    except TypeError:
        return None


def with_edit(binding: Binding, text: str, blocks: Iterable[HardBlock]) -> Binding:
    """The same, with the claims of a person's own text shown to them."""
    return replace(binding, claims_sha256=shown_claims(blocks), edited_sha256=sha256_of(text))


def shown_claims(blocks: Iterable[HardBlock]) -> str:
    return claims_sha256_of((each.rule, each.start, each.end) for each in blocks if each.group is BlockGroup.CLAIMS)


def changed(binding: Binding, at: datetime, draft: asyncpg.Record, now: asyncpg.Record) -> str | None:
    """What differs from what the person saw, or ran out before `at`, the time of the click. Nobody passes these.

    `now` is `send_standing`, or what has its columns.
    """
    found = (
        (binding.content_sha256 != (draft["content_sha256"] or ""), "text_changed"),
        (binding.recipient_sha256 != sha256_of(draft["recipient"] or ""), "recipient_changed"),
        (now["newer_inbound"], "newer_inbound"),
        (now["answered"], "answered"),
        (now["suppressed"], "lead_suppressed"),
        (binding.policy_revision != now["policy_now"], "policy_changed"),
        (binding.expires_at < at.timestamp(), "expired"),
    )
    return next((code for holds, code in found if holds), None)


async def blocks_of(connection: Executor, draft_id: uuid.UUID, text: str) -> tuple[HardBlock, ...] | None:
    """The hard blocks of `text` as a reply, against what the draft's run pinned; None when that is past retention."""
    pinned = await sql.review.check_context.row(connection, draft_id=draft_id)
    if pinned is None:
        return None
    state = state_of(pinned)
    language, scheduling = pinned["language"], pinned["scheduling"]
    checked = check_text(text, state.snapshot, pack_texts(state.pack), language=language, scheduling=scheduling)
    return (*await other_leads_in(connection, text, state, checked), *checked)


def forbidding(blocks: Iterable[HardBlock], binding: Binding, text: str, *, edited: bool) -> HardBlock | None:
    """The first block that even a person cannot pass: safety always, claims that were not shown in just this text."""
    blocks = tuple(blocks)
    seen_in = sha256_of(text) if edited else ""
    shown = binding.edited_sha256 == seen_in and binding.claims_sha256 == shown_claims(blocks)
    spans = {block.span for block in blocks} if shown else set()
    return next((block for block in blocks if not may_pass(block, automatic=False, shown_spans=spans)), None)
