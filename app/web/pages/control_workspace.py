"""One workspace in the control plane: its fields, the difference before saving, its history, undo."""

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Path, Request, Response
from fastapi.responses import RedirectResponse

from app.control.changing import Change, Made, NotAllowed, change, reason_of, values_of
from app.control.effective import standing
from app.control.fields import FIELDS, GROUPS, Unreadable
from app.web.access import Here, Who, require
from app.web.pages import control
from app.web.rendering import add_page, as_json, render, wants_json
from app.web.words import segment
from db import sql
from db.pool import Pool

router: Final = APIRouter(dependencies=[require(*control.PAGE.roles)])

_CHANGES_SHOWN: Final = 50
_ID_MAX: Final = 2**63 - 1
_WANTED, _SEEN = "want.", "seen."


@dataclass(frozen=True)
class Row:
    """One line of the difference: what the person saw, what they want, what it is now."""

    name: str
    label: str
    seen: Any
    wanted: Any
    now: Any

    @property
    def is_stale(self) -> bool:
        return bool(self.now != self.seen)


async def load(web: Here, workspace_id: str) -> dict[str, Any]:
    """Every field of a workspace with what is in force and why, and who changed what."""
    values, row, switches, changes, campaigns = await asyncio.gather(
        values_of(web.pool, workspace_id),
        sql.control.workspace.row(web.pool, workspace_id=workspace_id),
        control.switches_of(web),
        sql.control.changes.rows(web.pool, workspace_id=workspace_id, subject=None, limit=_CHANGES_SHOWN),
        sql.control.campaigns.rows(web.pool, workspace_id=workspace_id),
    )
    if values is None or row is None:
        raise HTTPException(404)
    return {
        "workspace": dict(row),
        "values": values,
        "standing": standing(dict(row), switches, control.known_models(web)),
        "fields": list(FIELDS.values()),
        "groups": GROUPS,
        "campaigns": [dict(each) for each in campaigns],
        "changes": [control.change_row(each) for each in changes],
    }


# ---- the difference


@router.post("/control/workspaces/{workspace_id:path}/preview", summary="The difference a change would make")
async def preview(request: Request, web: Here, workspace_id: str) -> Response:
    """From the form of a workspace: what would change. Nothing is written."""
    now = await _values(web.pool, workspace_id)
    form = {name: str(value) for name, value in (await request.form()).items()}
    try:
        changes = _read(form)
    except Unreadable as error:
        return await _difference(request, web, workspace_id, [], str(error), 422)
    rows = [Row(each.name, FIELDS[each.name].label, each.seen, each.wanted, now[each.name]) for each in changes]
    return await _difference(request, web, workspace_id, rows)


@router.post("/control/undo/{audit_id}", summary="The difference an undo would make")
async def undo(request: Request, web: Here, audit_id: Annotated[int, Path(ge=1, le=_ID_MAX)]) -> Response:
    """Back to the value before a change, as a difference to be confirmed. Nothing is written."""
    row = await sql.control.change_by_id.row(web.pool, audit_id=audit_id)
    if row is None or not control.change_row(row)["undo"]:
        raise HTTPException(404)
    now = (await _values(web.pool, row["workspace_id"]))[row["subject"]]
    line = Row(row["subject"], FIELDS[row["subject"]].label, now, row["before"], now)
    later = "" if now == row["after"] else "It was changed again since: this goes back behind that, too."
    return await _difference(request, web, row["workspace_id"], [line], later, undoes=audit_id)


async def _values(pool: Pool, workspace_id: str) -> dict[str, Any]:
    values = await values_of(pool, workspace_id)
    if values is None:
        raise HTTPException(404)
    return values


def _read(form: dict[str, str]) -> list[Change]:
    """The fields whose text differs from what was shown. Raises Unreadable."""
    changes = []
    for name, field in FIELDS.items():
        text, seen_text = form.get(_WANTED + name), form.get(_SEEN + name)
        if text is None or seen_text is None:
            continue
        seen = _json(seen_text)
        if text.strip() != field.write(seen).strip():
            wanted = field.read(text)
            if wanted != seen:
                changes.append(Change(name, seen, wanted))
    return changes


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("The form was damaged: load the workspace again") from None


async def _difference(
    request: Request,
    web: Here,
    workspace_id: str,
    rows: list[Row],
    problem: str = "",
    status: int = 200,
    undoes: int | None = None,
) -> Response:
    models = control.known_models(web)
    data = {
        "workspace_id": workspace_id,
        "rows": rows,
        "stale": [row for row in rows if row.is_stale],
        "unknown_models": [
            row.wanted for row in rows if FIELDS[row.name].kind == "model" and row.wanted and row.wanted not in models
        ],
        "problem": problem,
        "undoes": undoes,
        "changes": json.dumps({row.name: [row.seen, row.wanted] for row in rows}),
        "conflicts": [],
    }
    if wants_json(request):
        return as_json(data, status)
    return render(request, "control_difference.html", data, status)


# ---- the change


@router.post("/control/workspaces/{workspace_id:path}/apply", summary="Make a change that was previewed")
async def apply(
    request: Request,
    who: Who,
    web: Here,
    workspace_id: str,
    changes: Annotated[str, Form()],
    reason: control.Reason = "",
) -> Response:
    """Write the change with its reason; 409 with both values when somebody changed a field meanwhile."""
    try:
        asked, why = _asked(changes), reason_of(reason)
        async with web.pool.acquire() as connection:
            made = await change(connection, workspace_id, asked, who.subject, why)
    except (NotAllowed, Unreadable) as error:
        return await _again(request, web, workspace_id, changes, str(error), 422)
    if made.conflicts:
        return await _conflict(request, workspace_id, made)
    if wants_json(request):
        return as_json({"workspace_id": workspace_id, "written": made.written})
    return RedirectResponse(f"/control/workspaces/{segment(workspace_id)}?saved={len(made.written)}", 303)


def _asked(text: str) -> list[Change]:
    """The changes of a confirmed difference, read anew: what a form brings is not trusted. Raises Unreadable."""
    found = _json(text)
    if not isinstance(found, dict) or not found:
        raise Unreadable("There is nothing to change")
    asked = []
    for name, pair in found.items():
        if name not in FIELDS or not isinstance(pair, list) or len(pair) != 2:
            raise Unreadable("The form was damaged: load the workspace again")
        field = FIELDS[name]
        asked.append(Change(name, pair[0], field.read(field.write(pair[1]))))
    return asked


async def _again(request: Request, web: Here, workspace_id: str, changes: str, problem: str, status: int) -> Response:
    """The difference once more, with what is wrong about it."""
    now = await _values(web.pool, workspace_id)
    try:
        asked = _asked(changes)
    except Unreadable:
        asked = []
    rows = [Row(each.name, FIELDS[each.name].label, each.seen, each.wanted, now[each.name]) for each in asked]
    return await _difference(request, web, workspace_id, rows, problem, status)


async def _conflict(request: Request, workspace_id: str, made: Made) -> Response:
    data: dict[str, Any] = {"workspace_id": workspace_id, "conflicts": made.conflicts, "rows": [], "changes": "{}"}
    data |= {"stale": [], "unknown_models": [], "undoes": None}
    data["problem"] = "Somebody changed this meanwhile. Nothing was written."
    if wants_json(request):
        return as_json(data, 409)
    return render(request, "control_difference.html", data, 409)


add_page(router, "/control/workspaces/{workspace_id:path}", "control_workspace.html", load)
