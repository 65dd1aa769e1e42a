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
    """Follow what the worker held when it ended until none of it is its own any more. It may have died before it said
    by which name it owns leases; the name holds its pid."""
    own = f"%-{dead.pid}-%"
    runs = await pipeline.db.fetch(
        "SELECT id FROM draft_pipeline_run WHERE lease_owner LIKE $1 AND status = 'RUNNING' AND lease_until > now()",
        own,
    )
    ids = [run["id"] for run in runs]
    left, first_s, passed = len(ids), 0.0, 0.0
    while left:
        await asyncio.sleep(_LOOK_S)
        left = await pipeline.db.fetchval(
            "SELECT count(*) FROM draft_pipeline_run WHERE id = ANY ($1) AND lease_owner LIKE $2 AND status = 'RUNNING'",
            ids,
            own,
        )
        passed = time.monotonic() - dead.ended_at
        first_s = first_s or (passed if left < len(ids) else 0.0)
        assert passed < ALL_TAKEN_S_MAX, f"{left} of {len(ids)} runs of {dead.name} are still its own"
    return Takeover(dead.name, len(ids), first_s, passed)
