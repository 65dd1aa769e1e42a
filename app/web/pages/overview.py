"""Overview: is it healthy, and is it sending?"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from fastapi import APIRouter

from app.control.switches import SwitchState, is_alive, sending, switch_state, workers_of
from app.web.access import ALL_ROLES, Here, Who, require
from app.web.diagnosis import BAD, Facts, Finding, diagnose
from app.web.identity import Identity
from app.web.page import Page
from app.web.rendering import add_page
from db import sql
from schemas.codes import Role, Stage
from schemas.limits import PAST_LEASE_S

PAGE: Final = Page("/", "Overview", ALL_ROLES)
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

_HOUR: Final = 1
_DAY: Final = 24
_WEEK: Final = 7 * 24
_STATES: Final = ("pending", "awaiting_review", "scheduled", "unknown")
_STAGES: Final = [stage.value for stage in Stage]


def sees_the_machine(who: Identity) -> bool:
    """Processes, topics and other people's lag are for those who run all of it."""
    return who.workspace_id is None and who.role in (Role.SUPER_ADMIN, Role.OPS)


async def load(who: Who, web: Here, workspace: str | None = None) -> dict[str, Any]:
    """Health, switches, lag, drafts and cost at a glance; figures of one workspace for who has one."""
    of = who.narrow(workspace)
    figures, machine = await asyncio.gather(_figures(web, of), _machine(web))
    switches: list[SwitchState] = machine["switches"]
    findings = diagnose(_facts(figures, machine)) if sees_the_machine(who) else []
    is_sending, said = sending(switches, len(workers_of(machine["processes"])))
    shown = {"workspace": of, "switches": switches, "findings": findings, **figures}
    if sees_the_machine(who):
        shown["machine"] = machine
    return {**shown, "answer": _answer(findings, is_sending, said)}


def _answer(findings: list[Finding], is_sending: bool, said: str) -> dict[str, str]:
    if any(each.kind == BAD for each in findings):
        return {"kind": "bad", "words": f"Not healthy, {said}."}
    if findings:
        return {"kind": "warn", "words": f"Working, with something to look at; {said}."}
    return {"kind": "good" if is_sending else "warn", "words": f"Healthy, {'and ' if is_sending else 'but '}{said}."}


async def _figures(web: Here, of: str | None) -> dict[str, Any]:
    """What is counted by workspace."""
    pool = web.pool
    waiting, day, week, runs, stages, cost = await asyncio.gather(
        sql.overview.drafts_waiting.rows(pool, workspace_id=of),
        sql.overview.decided_since.one(pool, workspace_id=of, hours=_DAY),
        sql.overview.decided_since.one(pool, workspace_id=of, hours=_WEEK),
        sql.overview.runs_since.one(pool, workspace_id=of, hours=_HOUR),
        sql.overview.stages_since.rows(pool, workspace_id=of, hours=_HOUR),
        sql.overview.cost_today.rows(pool, workspace_id=of),
    )
    counted = {row["state"]: dict(row) for row in waiting}
    none = {"drafts": 0, "oldest": None}
    return {
        "waiting": [{"state": state, **none, **counted.get(state, {})} for state in _STATES],
        "decided": {"24 h": dict(day), "7 d": dict(week)},
        "runs": dict(runs),
        "stages": sorted((dict(row) for row in stages), key=lambda row: _STAGES.index(row["stage"])),
        "cost": {
            "models": [dict(row) for row in cost],
            "usd": sum(row["cost_usd"] or 0.0 for row in cost) if cost else None,
            "unpriced": sum(row["unpriced"] for row in cost),
        },
    }


async def _machine(web: Here) -> dict[str, Any]:
    """What is the same for all workspaces: processes, switches, topics, outbox."""
    pool = web.pool
    processes, switches, outbox, left, dead_hour, dead_day = await asyncio.gather(
        sql.overview.processes.rows(pool),
        sql.draft.kill_switches.rows(pool),
        sql.overview.outbox_standing.one(pool),
        sql.overview.left_behind.one(pool, past_lease_s=PAST_LEASE_S),
        sql.overview.dead_letters_since.rows(pool, hours=_HOUR),
        sql.overview.dead_letters_since.rows(pool, hours=_DAY),
    )
    known = [_process(row) for row in processes]
    return {
        "processes": known,
        "switches": [switch_state(dict(row), known) for row in switches],
        "topics": web.lag.topics() if web.lag.latest is not None else None,
        "lag_at": web.lag.latest.at if web.lag.latest is not None else None,
        "outbox": dict(outbox),
        "left_behind": dict(left),
        "dead_letters": [dict(row) for row in dead_day],
        "dead_letters_hour": sum(row["letters"] for row in dead_hour),
        "variables": _variables(known),
    }


def _process(row: asyncpg.Record) -> dict[str, Any]:
    process = dict(row)
    return {**process, "alive": is_alive(process)}


def _variables(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Which variables are set, and in which living processes; never a value."""
    alive = [each for each in processes if each["alive"]]
    names = sorted({name for each in alive for name in each["figures"].get("variables") or ()})
    return [
        {"name": name, "set_in": [e["process_id"] for e in alive if name in (e["figures"].get("variables") or ())]}
        for name in names
    ]


def _facts(figures: Mapping[str, Any], machine: Mapping[str, Any]) -> Facts:
    runs, stages = figures["runs"], figures["stages"]
    return Facts(
        processes=machine["processes"],
        topics=machine["topics"],
        outbox=machine["outbox"],
        left_behind=machine["left_behind"],
        dead_letters=machine["dead_letters_hour"],
        unknown=next(each["drafts"] for each in figures["waiting"] if each["state"] == "unknown"),
        calls=sum(row["calls"] for row in stages),
        call_errors=sum(row["errors"] for row in stages),
        runs_ended=runs["completed"] + runs["failed"],
        runs_failed=runs["failed"],
    )


add_page(router, "/", "overview.html", load, api="/api/overview")
