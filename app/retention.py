"""Retention: what ended long ago goes, in small batches, at a pace that leaves the workers theirs.

Terminal runs go with their artifacts and context, and published outbox rows. Drafts, claims, deliveries, message keys,
decisions and statistics stay, so that replaying a topic makes no call and no send. Stopped anywhere, the next call goes
on; a second one finds nothing.

No table is partitioned by time, which would make deleting a drop: the unique keys that forbid a second run, artifact or
event would have to hold the time, and then forbid nothing; and a run that waits for a person stays, however old it is.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from db import sql
from db.pool import Pool

ROWS_PER_S: Final = 6_000.0
RUNS_PAGE_MAX: Final = 100
OUTBOX_PAGE_MAX: Final = 500


@dataclass
class Pruned:
    """Rows that went. `complete` is False when the time was over before all was seen."""

    runs: int = 0
    artifacts: int = 0
    contexts: int = 0
    outbox_rows: int = 0
    processes: int = 0
    seconds: float = 0.0
    complete: bool = False

    @property
    def rows(self) -> int:
        return self.runs + self.artifacts + self.contexts + self.outbox_rows + self.processes


class _Pace:
    """Sleeps so that no more than so many rows a second go, and knows when the time is over."""

    def __init__(
        self, pruned: Pruned, rows_per_s: float, seconds_max: float | None, say: Callable[[Pruned], None]
    ) -> None:
        self._pruned, self._rows_per_s, self._say = pruned, rows_per_s, say
        self._started = time.monotonic()
        self._seconds_max = seconds_max

    async def keep(self) -> bool:
        """After each page; False when the time is over."""
        self._say(self._pruned)
        ahead_s = self._started + self._pruned.rows / self._rows_per_s - time.monotonic()
        await asyncio.sleep(max(ahead_s, 0.0))
        self._pruned.seconds = time.monotonic() - self._started
        return self._seconds_max is None or self._pruned.seconds < self._seconds_max


async def prune(
    pool: Pool,
    days: int,
    *,
    rows_per_s: float = ROWS_PER_S,
    seconds_max: float | None = None,
    say: Callable[[Pruned], None] = lambda pruned: None,
) -> Pruned:
    """Delete what ended more than `days` days ago, at most `rows_per_s` rows a second.

    `seconds_max` bounds the call, for those who are called again (the cron endpoint). Raises what the database does.
    """
    pruned = Pruned()
    before: datetime = await sql.housekeeping.retention_start.value(pool, days=days)
    pace = _Pace(pruned, rows_per_s, seconds_max, say)
    for workspace in await sql.housekeeping.workspaces.rows(pool):
        if not await _prune_runs(pool, workspace["id"], before, pruned, pace):
            return pruned
    if not await _prune_outbox(pool, before, pruned, pace):
        return pruned
    pruned.processes = await sql.housekeeping.prune_heartbeats.run(pool, before=before)
    await pace.keep()
    pruned.complete = True
    return pruned


async def _prune_runs(pool: Pool, workspace_id: str, before: datetime, pruned: Pruned, pace: _Pace) -> bool:
    """A workspace's old runs, oldest first; what may not go yet is passed by."""
    at, last = datetime.fromtimestamp(0, UTC), UUID(int=0)
    while True:
        page = await sql.housekeeping.prune_runs.one(
            pool, workspace_id=workspace_id, before=before, after_at=at, after_id=last, limit=RUNS_PAGE_MAX
        )
        pruned.runs += page["runs"]
        pruned.artifacts += page["artifacts"]
        pruned.contexts += page["contexts"]
        if not page["seen"]:
            return True
        at, last = page["after_at"], page["after_id"]
        if not await pace.keep():
            return False


async def _prune_outbox(pool: Pool, before: datetime, pruned: Pruned, pace: _Pace) -> bool:
    last = 0
    while True:
        page = await sql.housekeeping.prune_outbox.one(pool, before=before, after_id=last, limit=OUTBOX_PAGE_MAX)
        pruned.outbox_rows += page["rows"]
        if not page["more"]:
            return True
        last = page["after_id"]
        if not await pace.keep():
            return False
