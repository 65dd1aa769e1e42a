"""Resident memory of a worker with 1,000 runs in flight."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import NEVER, SCHEDULING
from tests.bench.processes import BenchError, Process
from tests.bench.progress import say

ROW: Final = "memory"
DEFINITION: Final = "resident MB of a worker with {} runs in flight"
AIM_MB: Final = 300.0
HOW: Final = (
    "no limit raised: half of the runs wait for the model in the draft agent, half in the revise agent (500 events each"
    " may be in flight), spread over 5 workspaces of 200 running runs"
)
_WAITS: Final = {"phang": 1.0}
_BEHAVIOUR: Final = {"stages": {"meeting_overseer_extract": _WAITS, "auto_send_revision_selector": _WAITS}}
_SAMPLE_S: Final = 0.5
_LEASED: Final = """
SELECT count(*) AS runs, count(*) FILTER (WHERE phase = 'draft') AS draft FROM draft_pipeline_run
WHERE status = 'RUNNING' AND lease_until > now()
"""


@dataclass(frozen=True)
class Size:
    runs: int
    seconds_max: float


FULL: Final = Size(runs=1_000, seconds_max=120.0)
QUICK: Final = Size(runs=40, seconds_max=45.0)


@dataclass(frozen=True)
class Peak:
    """The most runs that were leased at once, how many of them by the draft agent, and the worker's memory then."""

    runs: int = 0
    draft: int = 0
    rss_mb: float = 0.0


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        await place.set_all(auto_send_revision_enabled=True)
        worker = await place.worker()
        idle = worker.rss_mb()
        place.stack.model.behave(_BEHAVIOUR)
        await place.produce(place.messages(size.runs // 2, SCHEDULING))
        await place.produce(place.messages(size.runs // 2, NEVER))
        peak = await _peak(place, worker, size)
        await worker.kill()
    if peak.runs < size.runs * 0.9:
        raise BenchError(f"only {peak.runs} of {size.runs} runs were in flight at once ({peak.rss_mb:.0f} MB)")
    return [_figure(peak, idle)]


async def _peak(place: Arena, worker: Process, size: Size) -> Peak:
    """Look until all runs wait for the model, or time is up."""
    peak, give_up = Peak(), time.monotonic() + size.seconds_max
    while peak.runs < size.runs and time.monotonic() < give_up:
        leased = (await place.pool.fetch(_LEASED))[0]
        if leased["runs"] >= peak.runs:
            peak = Peak(leased["runs"], leased["draft"], worker.rss_mb())
        await asyncio.sleep(_SAMPLE_S)
    say(f"  {peak.runs} runs in flight: {peak.rss_mb:.0f} MB")
    return peak


def _figure(peak: Peak, idle: float) -> Figure:
    return Figure(
        row=ROW,
        name="memory",
        definition=DEFINITION.format(f"{peak.runs:,}"),
        value=peak.rss_mb,
        unit="MB",
        aim=AIM_MB,
        at_most=True,
        sides={
            "MB when it began to consume": idle,
            "KB a run in flight": (peak.rss_mb - idle) * 1024 / peak.runs,
            "runs in the draft agent": float(peak.draft),
            "runs in the revise agent": float(peak.runs - peak.draft),
        },
        note=HOW,
    )
