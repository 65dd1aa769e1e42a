"""The forms of a draft's page. A decision takes the same way as one from Slack: one row, then the review agent."""

import asyncio
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from agents.approval import blocks_of, forbidding, with_edit
from app.review.recording import Decision, problem_of, record, unchanged_is_approved
from app.review.sealing import seal, unseal
from app.review.words import refusal_in_words
from app.web.access import Who, require
from app.web.pages.draft import Written, load, shown_to
from app.web.pages.review import PAGE, Chosen, Filters
from app.web.rendering import as_json, render, wants_json
from db import sql
from schemas.codes import ReviewAction
from schemas.limits import DRAFT_CHARS_MAX

if TYPE_CHECKING:
    from app.web.server import Web

router: Final = APIRouter(dependencies=[require(*PAGE.roles)], include_in_schema=False)

_WAIT_S: Final = 2.0
_POLL_S: Final = 0.05
_OUTDATED: Final = "This page was too old to decide on. Look at the draft as it is now and decide again."
_LOOK: Final = "Look at the marked places. Send it like this only if they are right."

# As they come from a browser: a line ends with two characters, and each may be sent as up to four bytes.
_FIELD_CHARS_MAX: Final = 4 * DRAFT_CHARS_MAX
Seen = Annotated[str, Form(max_length=4_000)]
Text = Annotated[str, Form(max_length=_FIELD_CHARS_MAX)]


@router.post("/drafts/{draft_id}/approve")
async def approve(request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, seen: Seen = "") -> Response:
    """Send it as it was shown."""
    return await _decide(request, draft_id, who, filters, ReviewAction.APPROVE, seen)


@router.post("/drafts/{draft_id}/edit")
async def edit(
    request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, seen: Seen = "", text: Text = ""
) -> Response:
    """Send the person's own text, when nothing in it is unsafe and every claim was shown to them."""
    return await _decide(request, draft_id, who, filters, ReviewAction.EDIT, seen, text)


@router.post("/drafts/{draft_id}/reject")
async def reject(
    request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, seen: Seen = "", text: Text = ""
) -> Response:
    """Do not send it; `text` says why."""
    return await _decide(request, draft_id, who, filters, ReviewAction.REJECT, seen, text)


@router.post("/drafts/{draft_id}/resend")
async def resend(request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, seen: Seen = "") -> Response:
    """Send it again although it may have arrived."""
    return await _decide(request, draft_id, who, filters, ReviewAction.CONFIRM_RESEND, seen)


@router.post("/drafts/{draft_id}/undo")
async def take_back(request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, seen: Seen = "") -> Response:
    """Stop a scheduled send, until it is claimed."""
    return await _decide(request, draft_id, who, filters, ReviewAction.UNDO, seen)


async def _decide(
    request: Request,
    draft_id: uuid.UUID,
    who: Who,
    filters: Filters,
    action: ReviewAction,
    seen: str,
    text: str | None = None,
) -> Response:
    web: Web = request.app.state.web
    await shown_to(web, draft_id, who)
    binding = unseal(seen, web.seals.secrets)
    text = text.replace("\r\n", "\n") if text is not None else None
    if binding is None or binding.draft_id != str(draft_id):
        return await _again(request, draft_id, who, filters, Written(action, text or "", _OUTDATED), 409)
    decision = Decision(binding, action, who.subject, "web", text)
    problem = problem_of(decision)
    if problem is not None:
        return await _again(request, draft_id, who, filters, Written(action, text or "", problem), 422)
    decision = unchanged_is_approved(decision)
    if decision.action is ReviewAction.EDIT:
        checked = await _checked(web, decision)
        if isinstance(checked, Written):
            return await _again(request, draft_id, who, filters, checked, 422)
        decision = checked
    recorded = await record(web.pool, decision)
    if recorded is None:
        raise HTTPException(404)
    web.relay.publish(recorded.rows)
    await _carried_out(web, recorded.action_id, draft_id)
    return _to_page(request, draft_id, filters, recorded.action_id)


async def _checked(web: "Web", decision: Decision) -> Decision | Written:
    """The edit to record, or the form again: what nobody may send, or what must be looked at first."""
    text = decision.text or ""
    blocks = await blocks_of(web.pool, decision.draft_id, text)
    if blocks is None:
        return Written(decision.action, text, f"This cannot be sent: {refusal_in_words('context_gone')}.")
    looked_at = replace(decision, binding=with_edit(decision.binding, text, blocks))
    if forbidding(blocks, looked_at.binding, text, edited=True) is not None:
        return Written(decision.action, text, "Nobody may send this text as it is.", blocks)
    if forbidding(blocks, decision.binding, text, edited=True) is None:
        return looked_at
    return Written(decision.action, text, _LOOK, blocks, seal(looked_at.binding, web.seals.secrets[0]))


async def _again(
    request: Request, draft_id: uuid.UUID, who: Who, filters: Filters, written: Written, status: int
) -> Response:
    """The page with what was written, and why it was not taken."""
    data = await load(request, draft_id, who, filters, written=written)
    return as_json(data, status) if wants_json(request) else render(request, "draft.html", data, status)


async def _carried_out(web: "Web", action_id: uuid.UUID, draft_id: uuid.UUID) -> None:
    """Give a worker the moment that it mostly needs; the page tells what came of it, or that it is still to come."""
    give_up = time.monotonic() + _WAIT_S
    while time.monotonic() < give_up:
        row = await sql.review.action_of_draft.row(web.pool, action_id=action_id, draft_id=draft_id)
        if row is None or row["done_at"] is not None:
            return
        await asyncio.sleep(_POLL_S)


def _to_page(request: Request, draft_id: uuid.UUID, filters: Filters, action_id: uuid.UUID) -> Response:
    query = filters.query(action=str(action_id))
    return RedirectResponse(f"{'/api' if wants_json(request) else ''}/drafts/{draft_id}{query}", 303)
