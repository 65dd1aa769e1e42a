"""Control: what is on where, since when, and who did it? For super-admins only, and offered to nobody else."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.cli.switch import flip
from app.control.changing import VIA, NotAllowed, reason_of
from app.control.effective import standing
from app.control.fields import FIELDS
from app.control.switches import FEATURES, SwitchState, switch_state
from app.model import prices
from app.web.access import Here, Who, require
from app.web.page import Page
from app.web.rendering import add_page, as_json, render, wants_json
from db import sql
from schemas.codes import KillSwitch, Role
from schemas.limits import REASON_CHARS_MAX
from schemas.settings import MODEL_DEFAULT

PAGE: Final = Page("/control", "Control", frozenset({Role.SUPER_ADMIN}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

WORKSPACES_SHOWN: Final = 200
_CHANGES_SHOWN: Final = 20
_STOPPED: Final = "stopped from the control page"
STOPS: Final = {
    KillSwitch.AUTO_SEND_DISABLED: "no automatic send is claimed, scheduled ones neither, no draft is revised;"
    " people may still send",
    KillSwitch.AUTO_SEND_REVISION_DISABLED: "no revision starts, and a running one ends before its next call",
    KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED: "runs that start have the base context only",
}
Reason = Annotated[str, Form(max_length=2 * REASON_CHARS_MAX)]


def known_models(web: Here) -> frozenset[str]:
    """The models whose names are not coerced."""
    return prices.table_models() | web.config.models_extra | {MODEL_DEFAULT}


async def switches_of(web: Here) -> dict[str, SwitchState]:
    """Every switch with its one answer."""
    rows, processes = await asyncio.gather(
        sql.draft.kill_switches.rows(web.pool), sql.overview.processes.rows(web.pool)
    )
    living = [dict(row) for row in processes]
    return {row["name"]: switch_state(dict(row), living) for row in rows}


async def load(web: Here, search: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
    """Kill switches, every workspace with what is in force and why, and the newest changes."""
    switches, rows, changes = await asyncio.gather(
        switches_of(web),
        sql.control.workspaces.rows(web.pool, search=search.strip() or None, limit=WORKSPACES_SHOWN),
        sql.control.changes.rows(web.pool, workspace_id=None, subject=None, limit=_CHANGES_SHOWN),
    )
    models = known_models(web)
    return {
        "search": search,
        "switches": list(switches.values()),
        "stops": STOPS,
        "default_reason": _STOPPED,
        "workspaces": [{**dict(row), "standing": standing(dict(row), switches, models)} for row in rows],
        "more": len(rows) == WORKSPACES_SHOWN,
        "changes": [change_row(row) for row in changes],
        "answer": _answer(list(switches.values())),
    }


def _answer(switches: list[SwitchState]) -> dict[str, str]:
    off = [each for each in switches if each.state != "on"]
    if not off:
        return {"kind": "good", "words": "No kill switch is off."}
    words = ", ".join(f"{each.feature.lower()} {each.state}" for each in off)
    return {"kind": "warn", "words": f"Not everything is on: {words}."}


def change_row(row: Any) -> dict[str, Any]:
    """A change as pages show it; `undo` says whether it can be undone here."""
    subject, action = row["subject"], row["action"]
    undo = action == "set" and subject in FIELDS and row["before"] != row["after"] and row["workspace_id"] is not None
    label = FIELDS[subject].label if subject in FIELDS else FEATURES.get(subject, subject)
    if subject.startswith("token:"):
        what = row["after"] or row["before"] or {}
        label = f"token of {what.get('name')}, {what.get('role')}"
    return {**dict(row), "label": label, "undo": undo, "is_switch": subject in FEATURES}


# ---- one switch


async def load_switch(web: Here, name: KillSwitch) -> dict[str, Any]:
    """One kill switch: its answer, its history, and what turning it does."""
    switches, changes, processes = await asyncio.gather(
        switches_of(web),
        sql.control.changes.rows(web.pool, workspace_id=None, subject=name.value, limit=_CHANGES_SHOWN),
        sql.overview.processes.rows(web.pool),
    )
    return {
        "switch": switches[name],
        "stops": STOPS[name],
        "default_reason": _STOPPED,
        "changes": [change_row(row) for row in changes],
        "processes": [dict(row) for row in processes],
        "problem": "",
    }


@router.post("/control/switches/{name}/off", summary="Stop a feature for all, at once")
async def turn_off(request: Request, who: Who, web: Here, name: KillSwitch, reason: Annotated[str, Form()]) -> Response:
    """Off in one click, whatever it was: when this has returned nothing is claimed any more."""
    return await _turn(request, who, web, name, reason, disabled=True, seen=None)


@router.post("/control/switches/{name}/on", summary="Let a feature work again")
async def turn_on(
    request: Request,
    who: Who,
    web: Here,
    name: KillSwitch,
    reason: Annotated[str, Form()],
    seen: Annotated[str, Form()],
) -> Response:
    """On again; `seen` is when it was turned last, as the person saw it: a flip since then is told instead."""
    return await _turn(request, who, web, name, reason, disabled=False, seen=seen)


async def _turn(
    request: Request, who: Who, web: Here, name: KillSwitch, reason: str, *, disabled: bool, seen: str | None
) -> Response:
    try:
        why = reason_of(reason)
    except NotAllowed as error:
        return await _switch_again(request, web, name, str(error), 422)
    async with web.pool.acquire() as connection, connection.transaction():
        await sql.draft.own_kill_switch_lock.run(connection)  # in the order of every flip: lock, then row
        row = await sql.control.lock_switch.one(connection, name=name.value)
        if seen is not None and row["changed_at"].isoformat() != seen:
            problem = f"It was turned meanwhile, by {row['changed_by']}: {row['reason']}. Nothing was changed."
            stale = True
        else:
            stale = False
            await flip(connection, name.value, disabled=disabled, reason=why, actor=who.subject, via=VIA)
    if stale:
        return await _switch_again(request, web, name, problem, 409)
    if wants_json(request):
        return as_json(await load_switch(web, name))
    return RedirectResponse("/control", 303)


async def _switch_again(request: Request, web: Here, name: KillSwitch, problem: str, status: int) -> Response:
    if wants_json(request):
        raise HTTPException(status, problem)
    return render(request, "control_switch.html", {**await load_switch(web, name), "problem": problem}, status)


# ---- one workspace beside the others


async def load_canary(
    web: Here, workspace: Annotated[str, Query(max_length=200)] = "", hours: Annotated[int, Query(ge=1, le=168)] = 24
) -> dict[str, Any]:
    """One workspace beside all others: sends, reviews, revision, confidence, time and cost."""
    rows, known = await asyncio.gather(
        sql.control.canary.rows(web.pool, workspace_id=workspace or None, hours=hours),
        sql.control.workspaces.rows(web.pool, search=None, limit=WORKSPACES_SHOWN),
    )
    by_canary = {row["canary"]: dict(row) for row in rows}
    return {
        "workspace": workspace,
        "hours": hours,
        "known": [row["id"] for row in known],
        "canary": by_canary.get(True),
        "rest": by_canary.get(False),
    }


add_page(router, "/control", "control.html", load)
add_page(router, "/control/canary", "control_canary.html", load_canary)
add_page(router, "/control/switches/{name}", "control_switch.html", load_switch)
