"""Runs that a worker left behind when it died, taken over as soon as their lease has ended.

Kafka tells of a death, too, by redelivering: but only when the session of the dead member has lapsed, and the group has
rebalanced, perhaps twice, when another worker is started in its place. Whoever comes second meets the lease.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import asyncpg
import structlog

from agents.persist import TRANSIENT
from app.kafka.engine import UNKNOWN, Record
from app.kafka.pool import EventPool
from db import sql
from db.pool import Pool
from schemas.codes import Phase
from schemas.ids import EventId, event_id
from schemas.limits import LEASE_RENEWAL_S
from schemas.topics import DRAFT_EVALUATED, DRAFT_REQUESTED, REVISION_RESULT

log = structlog.get_logger()

LOOK_S: Final = 1.0
TRUST_S: Final = 3 * LEASE_RENEWAL_S
_GAP_S_MAX: Final = 3 * LOOK_S
_ROWS_MAX: Final = 200
UNOWNED_S_MAX: Final = 30.0
# Every taking moves the epoch, every hand-over, too. A run that goes from worker to worker, each of which dies of it or
# stands still, is left to the one that reads its event.
_EPOCH_MAX: Final = 30


def event_behind(run: Mapping[str, Any]) -> tuple[str, EventId]:
    """Topic and id of the event that brought a run into its phase."""
    match Phase(run["phase"]):
        case Phase.DRAFT:
            cause = [run[name] for name in ("workspace_id", "trigger_message_id", "channel", "attempt")]
            return DRAFT_REQUESTED.name, event_id("draft-requested", *cause)
        case Phase.REVISE:
            return DRAFT_EVALUATED.name, event_id("draft-evaluated", run["draft_id"])
        case _:
            return REVISION_RESULT.name, event_id("revision-result", run["draft_id"])


class Orphans:
    """Looks for runs that were left behind and gives the events behind them to the agents' pools.

    Leases end as well when the database is away, for living workers, too. So nothing is taken before it answered, as
    one that can be written to, for TRUST_S without a gap: who lives has renewed by then.
    """

    def __init__(
        self, pool: Pool, agents: Mapping[str, EventPool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool, self._agents, self._clock = pool, agents, clock
        self._answered_at = self._answers_since = float("-inf")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (*TRANSIENT, asyncpg.PostgresError) as error:
                self._answered_at = float("-inf")
                log.warning("orphans_not_looked_for", error_class=type(error).__name__)

    async def look(self) -> int:
        """Take over what was left behind; returns how many runs an agent has begun to work on."""
        began = self._clock()
        runs = await sql.run.orphaned_runs.rows(
            self._pool, unowned_s=UNOWNED_S_MAX, epoch_max=_EPOCH_MAX, limit=_ROWS_MAX
        )
        answered_at = self._clock()
        if answered_at - self._answered_at > _GAP_S_MAX:
            self._answers_since = answered_at
        self._answered_at = answered_at
        if not runs or began - self._answers_since < TRUST_S:
            return 0
        wanted = [event_behind(dict(run)) for run in runs]
        rows = await sql.outbox.events_by_id.rows(
            self._pool, topics=[topic for topic, _ in wanted], event_ids=[event for _, event in wanted]
        )
        adopted = [await self._agents[row["topic"]].adopt(row["event_id"], _record(row)) for row in rows]
        if taken := sum(adopted):
            log.info("runs_taken_over", rows=taken)
        return taken


def _record(row: asyncpg.Record) -> Record:
    headers = {name: text.encode() for name, text in row["headers"].items()}
    return Record(row["topic"], UNKNOWN, UNKNOWN, row["key"], row["value"], headers, row["created_s"])
