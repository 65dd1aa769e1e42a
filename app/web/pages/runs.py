"""Runs: what was done for each message, newest first. One run: what happened, what was decided and why?"""

import asyncio
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException

from app.cli.explaining import explain_draft, stages
from app.web.access import ALL_ROLES, Here, Who, require
from app.web.identity import Identity
from app.web.page import Page
from app.web.rendering import add_page
from app.web.run_list import CHOICES, Filters, as_uuid, count_by_status, read_page
from app.web.run_story import answer_of, happenings, sums_of, told_stages, trace_of
from app.web.timeline import timeline
from db import sql
from schemas.codes import Role, RunStatus
from schemas.limits import RUNS_COUNTED_MAX, RUNS_LOOKED_AT_MAX

PAGE: Final = Page("/runs", "Runs", ALL_ROLES)
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

# Who may read what leads wrote and what was answered, in the workspaces they may see.
READERS: Final = frozenset({Role.SUPER_ADMIN, Role.WORKSPACE_ADMIN, Role.REVIEWER})


async def load_list(who: Who, web: Here, filters: Annotated[Filters, Depends()]) -> dict[str, Any]:
    """Runs, newest first, with how many there are of each status. Filters stand in the URL."""
    of, now = who.narrow(filters.workspace), datetime.now(UTC)
    page, counts = await asyncio.gather(
        read_page(web.pool, of, filters, now), count_by_status(web.pool, of, filters, now)
    )
    without_run = []
    if filters.id and not page.runs:
        without_run = await sql.run_list.messages_with_id.rows(web.pool, workspace_id=of, message_id=filters.id.strip())
    chosen = {name: value for name, value in asdict(filters).items() if value and name != "before"}
    if "failed" in chosen:
        chosen["failed"] = "true"
    return {
        "workspace": of,
        "filters": asdict(filters),
        "chosen": chosen,
        "choices": CHOICES,
        "answer": _answer(counts, of),
        "counts": counts,
        "counted_all": sum(counts.values()) < RUNS_COUNTED_MAX,
        "counted_max": RUNS_COUNTED_MAX,
        "runs": page.runs,
        "next": f"/runs?{urlencode({**chosen, 'before': str(page.next)})}" if page.next else None,
        "looked_to": page.looked_to,
        "looked_max": RUNS_LOOKED_AT_MAX,
        "messages": [dict(row) for row in without_run],
    }


def _answer(counts: dict[str, int], of: str | None) -> dict[str, str]:
    total, failed = sum(counts.values()), counts[RunStatus.FAILED]
    where = f" in {of}" if of else ""
    if not total:
        return {"kind": "quiet", "words": f"No run{where} in this time."}
    running = f"{counts[RunStatus.RUNNING]:,} of {total:,} runs{where} are running"
    if not failed:
        return {"kind": "good", "words": f"{running}, none failed."}
    kind = "bad" if failed > 0.05 * total else "warn"
    return {"kind": kind, "words": f"{running}, {failed:,} failed ({failed / total:.1%})."}


async def load_run(who: Who, web: Here, run_id: str) -> dict[str, Any]:
    """One run, by its id or by its draft's: stages, calls, gates, and what became of it. Texts for readers."""
    identity = as_uuid(run_id)
    run = await _find(web, who, identity) if identity is not None else None
    draft_id = run["draft_id"] if run else identity
    if draft_id is None or (run is None and not await _is_theirs(web, who, draft_id)):
        raise HTTPException(404)
    text = who.role in READERS
    explained = await _explained(web, draft_id, run, text=text)
    attempts = await sql.run_list.attempts_of_draft.rows(web.pool, draft_id=draft_id)
    told = told_stages(explained, run["id"] if run else None)
    facts = {
        "run": run,
        "draft_id": draft_id,
        "answer": answer_of(explained, run),
        "trace_id": trace_of(run["traceparent"]) if run else None,
        "attempts": [dict(row) for row in attempts],
        "explained": explained,
        "stages": told,
        "sums": sums_of(told),
        "happenings": happenings(explained, run),
        "timeline": timeline(told, run["created_at"], run["finished_at"]) if run else None,
        "may_read": text,
        "reviewable": any(each.path == "/review" and who.role in each.roles for each in web.pages),
    }
    if text and explained["draft"]:
        message = {name: explained["draft"][name] for name in ("workspace_id", "trigger_message_id")}
        row = await sql.run_list.trigger_text.row(
            web.pool, workspace_id=message["workspace_id"], message_id=message["trigger_message_id"]
        )
        facts["message"] = dict(row) if row else None
    return facts


async def _find(web: Here, who: Identity, identity: uuid.UUID) -> dict[str, Any] | None:
    """The run of this id, or the newest one for the draft of this id, if they may see it."""
    row = await sql.ops.run_by_id.row(web.pool, run_id=identity)
    if row is None:
        attempts = await sql.run_list.attempts_of_draft.rows(web.pool, draft_id=identity)
        row = await sql.ops.run_by_id.row(web.pool, run_id=attempts[0]["id"]) if attempts else None
    return dict(row) if row is not None and who.may_see(row["workspace_id"]) else None


async def _is_theirs(web: Here, who: Identity, draft_id: uuid.UUID) -> bool:
    """Whether there is such a draft, whose run is past retention, in a workspace that they may see."""
    workspace = await sql.run_list.workspace_of_draft.value(web.pool, draft_id=draft_id)
    return workspace is not None and who.may_see(workspace)


async def _explained(web: Here, draft_id: uuid.UUID, run: dict[str, Any] | None, *, text: bool) -> dict[str, Any]:
    """As `draft-pipeline explain` tells it; of a run that has no draft yet, its stages."""
    if run is None or await sql.run_list.workspace_of_draft.value(web.pool, draft_id=draft_id) is not None:
        return await explain_draft(web.pool, draft_id, text=text, run_id=run["id"] if run else None)
    artifacts = await sql.ops.artifacts_explained.rows(web.pool, run_id=run["id"])
    calls = await sql.ops.calls_of_draft.rows(web.pool, draft_id=draft_id)
    names = ("gates", "hard_blocks", "claims", "deliveries", "reviews")
    return {
        "verdict": None,
        "draft": None,
        "revision": None,
        "meeting": None,
        "stages": stages(artifacts, calls, text=text),
        "context_kept": True,
        **{name: [] for name in names},
    }


add_page(router, "/runs", "runs.html", load_list)
add_page(router, "/runs/{run_id}", "run.html", load_run)
