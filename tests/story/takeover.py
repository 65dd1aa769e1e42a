"""How long it takes until somebody else works on what a dead worker had in hand."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.story.harness import Pipeline
from tests.story.worker import Worker

TAKEOVER_S_MAX = 10.0
ALL_TAKEN_S_MAX = 45.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Takeover:
    """Of one dead worker: how many runs it held, and when the first and the last of them was in other hands.

    Seconds since its death; 0 when it held nothing.
    """

    worker: str
    runs: int
    first_s: float
    last_s: float

    def __str__(self) -> str:
        return f"{self.worker}: {self.runs} runs, {self.first_s:.1f} s to {self.last_s:.1f} s"


async def watch(pipeline: Pipeline, dead: Worker) -> Takeover:
    """Follow what the worker held when it ended until none of it is its own any more."""
    held = left = await _held(pipeline, dead)
    first_s = passed = 0.0
    while left:
        await asyncio.sleep(_LOOK_S)
        left = await _held(pipeline, dead)
        passed = time.monotonic() - dead.ended_at
        first_s = first_s or (passed if left < held else 0.0)
        assert passed < ALL_TAKEN_S_MAX, f"{left} of {held} runs of {dead.name} are still its own"
    return Takeover(dead.name, held, first_s, passed)


async def _held(pipeline: Pipeline, dead: Worker) -> int:
    """Runs under the worker's lease. A lease that it gave back or that ended with its phase needs no rescue."""
    async with pipeline.lock:
        count: int = await pipeline.db.fetchval(
            "SELECT count(*) FROM draft_pipeline_run WHERE lease_owner = $1 AND status = 'RUNNING'", dead.process_id
        )
    return count
