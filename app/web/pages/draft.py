"""One draft, as a reviewer decides on it: the text beside the conversation, why it is asked, what was changed.

No page of the navigation: the queue, Slack and other pages lead here, by the draft's id.
"""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from fastapi import APIRouter, HTTPException, Request, Response

from agents.draft import blocks_as_rows
from agents.hard_blocks import BlockGroup, HardBlock
from app.review.difference import Piece, difference, marked
from app.review.refusal import changes_since, refusal_of, state_in_words
from app.review.sealing import seal
from app.review.showing import Shown, offered, shown
from app.review.words import MAYBE_SENT, RESULTS, in_words, refusal_in_words, rule_in_words
from app.web.access import Who, require
from app.web.pages.review import PAGE, Chosen, Filters, rows_of
from app.web.rendering import as_json, render
from db import sql
from schemas.codes import DraftStatus, ReviewAction

if TYPE_CHECKING:
    from app.web.server import Web

router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

_MESSAGES_MAX: Final = 30
_REFRESH_S: Final = 2
_PASSES: Final = {
    BlockGroup.STATE: "nobody may send this",
    BlockGroup.SAFETY: "nobody may send this",
    BlockGroup.CLAIMS: "you may send it if it is right",
    BlockGroup.POLICY: "you may send it",
}


@dataclass(frozen=True)
class Written:
    """What somebody wrote into a form that is shown again: `problem` says why; `blocks` are those of the text."""

    action: ReviewAction
    text: str
    problem: str
    blocks: tuple[HardBlock, ...] = ()
    seen: str = ""


@router.get("/drafts/{draft_id}", name="draft", include_in_schema=False)
async def draft_page(
    request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, action: uuid.UUID | None = None
) -> Response:
    """The page. While a worker carries out what was decided, it renews itself."""
    data = await load(request, draft_id, who, filters, action)
    page = render(request, "draft.html", data)
    if data["done"] is not None and data["done"]["result"] is None:
        page.headers["Refresh"] = str(_REFRESH_S)
    return page


@router.get("/api/drafts/{draft_id}", name="draft_json")
async def draft_json(
    request: Request, draft_id: uuid.UUID, who: Who, filters: Chosen, action: uuid.UUID | None = None
) -> Response:
    """A draft as a reviewer is shown it, with what may be decided and `seen`, which a decision must carry."""
    return as_json(await load(request, draft_id, who, filters, action))


async def shown_to(web: "Web", draft_id: uuid.UUID, who: Who) -> Shown:
    """The draft, or 404 for one that does not exist for who asks."""
    draft = await shown(web.pool, draft_id)
    if draft is None or not who.may_see(draft.standing["workspace_id"]):
        raise HTTPException(404)
    return draft


async def load(
    request: Request,
    draft_id: uuid.UUID,
    who: Who,
    filters: Filters,
    action: uuid.UUID | None = None,
    written: Written | None = None,
) -> dict[str, Any]:
    """Everything that the page shows."""
    web: Web = request.app.state.web
    draft = await shown_to(web, draft_id, who)
    now = await sql.delivery.send_standing.row(web.pool, draft_id=draft_id)
    if now is None:
        raise HTTPException(404)
    outcome = await sql.review.review_outcome.one(web.pool, draft_id=draft_id)
    about = await sql.queue.draft_reviewed.one(web.pool, draft_id=draft_id)
    actions = await sql.queue.actions_of_draft.rows(web.pool, draft_id=draft_id)
    may = offered(draft, now, outcome["send_status"], now["now"])
    blocks = blocks_as_rows(draft.blocks or ())
    return {
        "draft_id": draft_id,
        "standing": draft.standing,
        "about": about,
        "outcome": outcome,
        "filters": filters,
        "state": state_in_words(outcome),
        "kind": _kind(now["status"], may),
        "reasons": _reasons(draft, now, about),
        "changes": [change.words for change in await changes_since(web.pool, draft.binding, now)] if may else [],
        "may": {each.value for each in may},
        "seen": seal(draft.binding, web.seals.secrets[0]),
        "text": draft.text,
        "pieces": marked(draft.text, blocks),
        "blocks": _told(draft.text, draft.blocks or ()),
        "versions": _versions(draft.text, about, actions),
        "conversation": await _conversation(web, draft_id),
        "actions": [_action(each) for each in actions],
        "done": await _done(web, draft_id, action),
        "written": _written(written),
        "next": await _next(web, draft_id, who, filters),
    }


def _kind(status: str, may: frozenset[ReviewAction]) -> str:
    if status == DraftStatus.UNKNOWN:
        return "bad"
    return "warn" if may else "good" if status == DraftStatus.SENT else "quiet"


def _reasons(draft: Shown, now: asyncpg.Record, about: asyncpg.Record) -> list[str]:
    """Why a person is asked, in sentences, the evaluator's own words last."""
    reason = draft.standing["reason"] or now["auto_send_reason"]
    said = [MAYBE_SENT] if now["status"] == DraftStatus.UNKNOWN else []
    said += [in_words(reason)] if reason else []
    if draft.blocks is None:
        said.append("What the text was checked against is past retention: it can only be rejected.")
    evaluation = about["evaluation"] if isinstance(about["evaluation"], list) else []
    return list(dict.fromkeys([*said, *(str(each) for each in evaluation)]))


def _told(text: str, blocks: tuple[HardBlock, ...]) -> list[dict[str, str]]:
    """Each block in words, with the words of the text and who may pass it; each once."""
    told = [
        {
            "rule": rule_in_words(block.rule),
            "code": block.rule,
            "quote": text[block.start : block.end] if 0 <= block.start < block.end else "",
            "passes": _PASSES[block.group],
            "group": block.group.value,
        }
        for block in blocks
    ]
    return list({(each["code"], each["quote"]): each for each in told}.values())


def _versions(text: str, about: asyncpg.Record, actions: list[asyncpg.Record]) -> list[dict[str, Any]]:
    """From the original over the revision to the edit: each step that changed something, with the difference."""
    edited: str | None = next((each["edited_text"] for each in actions if each["result"] == "edited"), None)
    original: str | None = about["original_content"]
    decided: str | None = about["decided_text"] if about["decided_text"] is not None or edited is not None else text
    before, after = about["auto_send_original_confidence"], about["auto_send_revision_confidence"]
    steps = (_step("revised", original, decided, before, after), _step("edited", decided or original, edited))
    return [step for step in steps if step is not None]


def _step(
    what: str, old: str | None, new: str | None, before: float | None = None, after: float | None = None
) -> dict[str, Any] | None:
    """`before` and `after` are confidences."""
    if old is None or new is None or old == new:
        return None
    return {"what": what, "before": before, "after": after, "pieces": difference(old, new)}


async def _conversation(web: "Web", draft_id: uuid.UUID) -> list[dict[str, Any]]:
    """Oldest first. One that was left out is not told: the newest are there."""
    rows = await sql.queue.conversation_of_draft.rows(web.pool, draft_id=draft_id, limit=_MESSAGES_MAX)
    return [dict(row) | {"by": _author(row)} for row in reversed(rows)]


def _author(row: asyncpg.Record) -> str:
    if row["direction"] == "inbound":
        return "the lead" if row["human"] else "a machine of the lead"
    if row["ours"]:
        return "us: this draft"
    return f"us: {row['sent_by'] or row['source'] or 'somebody'}"


def _action(row: asyncpg.Record) -> dict[str, Any]:
    """One thing that a person did, in words."""
    result = row["result"]
    if result is None:
        words = "not carried out yet"
    elif result.startswith("refused"):
        words = f"refused: {refusal_in_words(result)}"
    else:
        words = RESULTS.get(result, result)
    return dict(row) | {"words": words, "passed": [rule_in_words(each["rule"]) for each in row["passed"]]}


async def _done(web: "Web", draft_id: uuid.UUID, action: uuid.UUID | None) -> dict[str, Any] | None:
    """What came of the decision that led here: done, refused with what changed, or still to be carried out."""
    if action is None:
        return None
    row = await sql.review.action_of_draft.row(web.pool, action_id=action, draft_id=draft_id)
    if row is None:
        return None
    refusal = await refusal_of(web.pool, row)
    changes: list[dict[str, Any]] = []
    for each in refusal.changes if refusal is not None else ():
        compared: list[Piece] = []
        if each.before is not None and each.after is not None:
            compared = difference(each.before, each.after)
        changes.append({"words": each.words, "pieces": compared, "text": None if compared else each.after})
    return {"result": row["result"], "words": _action(row)["words"], "refusal": refusal, "changes": changes}


def _written(written: Written | None) -> dict[str, Any] | None:
    if written is None:
        return None
    return {
        "action": written.action.value,
        "text": written.text,
        "problem": written.problem,
        "seen": written.seen,
        "blocks": _told(written.text, written.blocks),
        "pieces": marked(written.text, blocks_as_rows(written.blocks)) if written.blocks else [],
    }


async def _next(web: "Web", draft_id: uuid.UUID, who: Who, filters: Filters) -> str | None:
    """The address of what follows this one in the queue, within the same filters; after the last, of the first."""
    workspace = who.narrow(filters.workspace)
    rows = await rows_of(web, filters, workspace, 1, after=draft_id) or await rows_of(web, filters, workspace, 1)
    found = next((row["draft_id"] for row in rows if row["draft_id"] != draft_id), None)
    return None if found is None else f"/drafts/{found}{filters.query()}"
