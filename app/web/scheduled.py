"""`POST /api/cron/JOB`: what an outside scheduler may start, with CRON_SECRET as bearer. Each job may be called often,
at the same time, from several places: what is done is not done again.

Workers send what is due and sweep by themselves; none of these calls is needed for that. `sweep` does a worker's sweep
when none lives, `scheduled-sends` tells a monitor whether what is due is sent, `prune` is retention, `drift` looks at
the last day at once. JSON in figures and codes; 503 when the answer is bad news that somebody should see.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from agents.review import expire_reviews
from app.housekeeping import SWEEP_ROWS_MAX, rewrite_lost_requests
from app.metrics.exporter import PAST_LEASE_S, look_for_drift
from app.retention import prune
from app.web.access import machine
from db import sql

if TYPE_CHECKING:
    from app.web.server import Web

log = structlog.get_logger()

OVERDUE_S_MAX: Final = 300.0
_PRUNE_S_MAX: Final = 20.0

# Whether the news are good, and what to tell.
Report = tuple[bool, dict[str, Any]]

router = APIRouter()


async def sweep(web: "Web") -> Report:
    """Lost requests are written anew, events that nobody published are published, reviews nobody answered expire."""
    return True, {
        "requests": await rewrite_lost_requests(web.pool),
        "reviews_expired": await expire_reviews(web, SWEEP_ROWS_MAX),
        "events_published": await web.relay.sweep(),
    }


async def scheduled_sends(web: "Web") -> Report:
    """How many deliveries are due, and whether somebody sends them."""
    row = await sql.metrics.sending.one(web.pool, past_lease_s=PAST_LEASE_S)
    problems = {
        "overdue": row["overdue_s"] > OVERDUE_S_MAX,
        "past_lease": row["past_lease"] > 0,
        "no_worker": row["workers"] == 0 and row["due"] > 0,
    }
    return not any(problems.values()), {**dict(row), "problems": [name for name, stands in problems.items() if stands]}


async def delete_old(web: "Web") -> Report:
    """Retention for some seconds; `complete` is false when there is more: call it again."""
    days = web.config.draft_pipeline_run_retention_days
    pruned = await prune(web.pool, days, seconds_max=_PRUNE_S_MAX)
    return True, {"days": days, **asdict(pruned)}


async def drift(web: "Web") -> Report:
    """What drifted in the last day, by workspace and monitor; `web` looks by itself as well, for its metric."""
    found = await look_for_drift(web.pool, web.metrics)
    for row in found:
        log.warning("drift_found", workspace_id=row["workspace_id"], purpose=row["monitor"])
    return not found, {"drifted": found}


JOBS: Final[dict[str, Callable[["Web"], Awaitable[Report]]]] = {
    "sweep": sweep,
    "scheduled-sends": scheduled_sends,
    "prune": delete_old,
    "drift": drift,
}


@router.post("/api/cron/{job}", dependencies=[machine("cron_secret")])
async def run_job(job: str, request: Request) -> JSONResponse:
    """Run one job to its end. 404: there is none of that name, or CRON_SECRET is not set here."""
    if job not in JOBS:
        raise HTTPException(404, f"no such job; there are {', '.join(JOBS)}")
    good, told = await JOBS[job](request.app.state.web)
    return JSONResponse({"job": job, "ok": good, **told}, status_code=200 if good else 503)
