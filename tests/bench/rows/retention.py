"""How fast retention deletes beside a working worker, and what that costs the worker."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app.retention import ROWS_PER_S, Pruned, prune
from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.processes import BenchError
from tests.bench.progress import say
from tests.bench.rows.growth import rate_of
from tests.bench.waiting import until
from tests.db.past import past_runs

ROW: Final = "retention"
RATE: Final = "rows deleted per second by `prune` while the worker makes standard runs"
SLOWDOWN: Final = "1 - standard runs per second beside `prune` / without it, rounds in turn, medians"
RATE_AIM: Final = 5_000.0
SLOWDOWN_AIM: Final = 0.10
_DAYS: Final = 30
_OLD: Final = "40 days"
_PART_RUNS: Final = 2_000
_S_MAX: Final = 120.0


@dataclass(frozen=True)
class Size:
    """`past`: runs that are to be deleted, ten rows each."""

    past: int
    runs: int
    rounds: int


FULL: Final = Size(past=40_000, runs=400, rounds=4)
QUICK: Final = Size(past=4_000, runs=40, rounds=1)


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        for first in range(1, size.past, _PART_RUNS):
            await past_runs(place.pool, first, min(first + _PART_RUNS - 1, size.past), _OLD)
        await place.worker()
        await rate_of(place, size.runs)
        without, beside, deleted = [], [], []
        for number in range(size.rounds):
            without.append(await rate_of(place, size.runs))
            rate, rows_per_s = await _beside_prune(place, size.runs)
            beside.append(rate)
            deleted.append(rows_per_s)
            say(f"  round {number + 1}: {without[-1]:.1f} runs/s, beside prune {rate:.1f}, {rows_per_s:.0f} rows/s")
    slowdown = 1 - statistics.median(beside) / statistics.median(without)
    sides: dict[str, float | str] = {
        "runs/s without": statistics.median(without),
        "runs/s beside prune": statistics.median(beside),
    }
    note = f"paced at {ROWS_PER_S:.0f} rows/s; {size.rounds} rounds of {size.runs} runs each way"
    return [
        Figure(ROW, "retention", RATE, statistics.median(deleted), "rows/s", RATE_AIM, False, {}, note),
        Figure(ROW, "retention, slowdown of the worker", SLOWDOWN, slowdown, "", SLOWDOWN_AIM, True, sides, note),
    ]


async def _beside_prune(place: Arena, runs: int) -> tuple[float, float]:
    """Runs and rows a second while both go on from beginning to end of the window."""
    seen = Pruned()

    def watch(pruned: Pruned) -> None:
        nonlocal seen
        seen = pruned

    pruning = asyncio.create_task(prune(place.pool, _DAYS, say=watch))

    async def deletes() -> bool:
        return seen.rows > 0

    await until(deletes, _S_MAX, "prune does not delete")
    began, before = time.monotonic(), seen.rows
    rate = await rate_of(place, runs)
    rows_per_s = (seen.rows - before) / (time.monotonic() - began)
    if pruning.done():
        raise BenchError("prune ended before the worker did: too few old rows")
    pruning.cancel()
    with suppress(asyncio.CancelledError):
        await pruning
    return rate, rows_per_s
