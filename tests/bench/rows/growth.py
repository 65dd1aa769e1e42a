"""Whether a million runs in the tables slow a worker."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Final

import asyncpg

from tests.bench.arena import Arena, arena
from tests.bench.figures import Figure
from tests.bench.messages import WORKSPACES
from tests.bench.progress import say
from tests.bench.waiting import until
from tests.db.past import ARTIFACTS, past_runs

ROW: Final = "growth"
DEFINITION: Final = "standard runs per second with {:,} runs ({:,} artifacts) in the tables / with none"
HOW: Final = "written by SQL, with leads, messages, drafts and contexts, spread over the workspaces of the bench"
AIM: Final = 0.9
_OLD: Final = "20 days"
_PART_RUNS: Final = 10_000
_S_MAX: Final = 120.0
_SENT: Final = """
SELECT count(*) FROM ai_draft
WHERE workspace_id = ANY ($1::text[]) AND created_at >= $2 AND status = 'sent'
"""


@dataclass(frozen=True)
class Size:
    past: int
    runs: int
    rounds: int


FULL: Final = Size(past=1_000_000, runs=400, rounds=4)
QUICK: Final = Size(past=5_000, runs=40, rounds=1)


async def measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    async with arena() as place:
        await place.worker()
        await rate_of(place, size.runs)
        empty = [await rate_of(place, size.runs) for _ in range(size.rounds)]
        say(f"  empty tables: {statistics.median(empty):.1f} runs/s")
        took_s = await _fill(place, size.past)
        say(f"  {size.past:,} runs written in {took_s:.0f} s")
        await rate_of(place, size.runs)
        full = [await rate_of(place, size.runs) for _ in range(size.rounds)]
        say(f"  full tables: {statistics.median(full):.1f} runs/s")
    before, after = statistics.median(empty), statistics.median(full)
    sides: dict[str, float | str] = {"runs/s with": after, "runs/s without": before, "filled in s": took_s}
    definition = DEFINITION.format(size.past, size.past * ARTIFACTS)
    return [Figure(ROW, "growth", definition, after / before, "x", AIM, False, sides, HOW)]


async def _fill(place: Arena, total: int) -> float:
    """Write the past; returns the seconds it took. Its rows are consistent, so foreign keys need no look at each."""
    began = time.monotonic()
    connection = await asyncpg.connect(place.config.database_url)
    try:
        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        of_each = total // len(WORKSPACES)
        for workspace in WORKSPACES:
            for first in range(1, of_each, _PART_RUNS):
                await past_runs(connection, first, min(first + _PART_RUNS - 1, of_each), _OLD, workspace)
            say(f"  {workspace} is full")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return time.monotonic() - began


async def rate_of(place: Arena, runs: int) -> float:
    """Standard runs a second of the workers that run, from the first record to the last send, whatever else there is."""
    since = await place.pool.fetchval("SELECT now()")
    messages = place.messages(runs)
    started = await place.produce(messages)

    async def all_sent() -> bool:
        return bool(await place.pool.fetchval(_SENT, list(WORKSPACES), since) == runs)

    await until(all_sent, _S_MAX, f"{runs} runs were not finished", poll_s=0.05)
    return runs / (time.monotonic() - started)
