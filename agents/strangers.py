"""The safety rule "holds another lead's data": one look-up of what stands in the text, none for most texts."""

from collections.abc import Mapping, Sequence

from agents.hard_blocks import BlockGroup, HardBlock, Rule
from agents.hard_blocks.strangers import Span, suspects
from agents.state import RunState
from db import sql
from db.pool import Executor
from schemas.limits import DRAFT_CHARS_MAX


async def other_leads_in(
    executor: Executor, text: str, state: RunState, blocks: Sequence[HardBlock]
) -> tuple[HardBlock, ...]:
    """A block for each name, address and number in `text` that belongs to another lead of the workspace, and that this
    run's context does not hold. `blocks` are those of `check_text` on the same text."""
    if len(text) > DRAFT_CHARS_MAX:
        return ()
    found = suspects(text, blocks, state.snapshot, state.pack)
    if not found:
        return ()
    rows = await sql.draft.other_leads_with.rows(
        executor,
        workspace_id=state.snapshot.workspace_id,
        lead_id=state.snapshot.lead_id,
        names=list(found.names),
        emails=list(found.emails),
        phones=list(found.phones),
    )
    places: Mapping[str, Mapping[str, Span]] = {"name": found.names, "email": found.emails, "phone": found.phones}
    spans = {places[row["kind"]][row["value"]] for row in rows}
    return tuple(HardBlock(BlockGroup.SAFETY, Rule.OTHER_LEAD, *span) for span in sorted(spans))
