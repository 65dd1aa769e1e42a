"""The hard blocks again, on a text that waited to be sent: what the workspace forbids now counts."""

from typing import Final

import asyncpg

from agents.draft import blocks_as_rows
from agents.hard_blocks import check_text, pack_texts
from agents.rim import Rim
from agents.starting import settings_of, state_of
from agents.strangers import other_leads_in
from db import sql
from schemas.limits import TEXT_UNCHECKED_S_MAX
from schemas.settings import under_policy

CONTEXT_GONE: Final = "context_gone"
HARD_BLOCKED: Final = "hard_blocked"


async def blocked_now(rim: Rim, delivery: asyncpg.Record) -> str | None:
    """Why an automatic send that waited longer than TEXT_UNCHECKED_S_MAX may not go; None when nothing forbids it.

    The text is checked against the context that was stored with its run, under the settings and the policy in force
    now. What is found is kept with the draft, for the person who is asked.
    """
    if not delivery["automatic"] or delivery["waited_s"] <= TEXT_UNCHECKED_S_MAX:
        return None
    row = await sql.delivery.texts_for_recheck.row(rim.pool, draft_id=delivery["draft_id"])
    if row is None or row["snapshot"] is None:
        return CONTEXT_GONE
    state, text = state_of(row), delivery["content"]
    snapshot = state.snapshot.model_copy(update={"settings": under_policy(settings_of(row["settings"]), row["rules"])})
    checked = check_text(text, snapshot, pack_texts(state.pack), language=row["language"], scheduling=row["scheduling"])
    blocks = (*await other_leads_in(rim.pool, text, state, checked), *checked)
    if not blocks:
        return None
    await sql.delivery.set_hard_blocks.run(rim.pool, draft_id=delivery["draft_id"], hard_blocks=blocks_as_rows(blocks))
    return HARD_BLOCKED
