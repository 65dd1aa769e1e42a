"""The leases of a worker: all renewed in one statement every LEASE_RENEWAL_S, which also tells who was superseded."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import structlog

from agents.persist import TRANSIENT
from agents.rim import Interrupted
from db import sql
from db.pool import Pool
from schemas.limits import LEASE_RENEWAL_S, LEASE_S

T = TypeVar("T")
log = structlog.get_logger()

DRAINING = "handed_over"
_AGAIN_S = 0.2


class RunLease:
    """One task's right to work on one run."""

    def __init__(self, run_id: uuid.UUID, epoch: int) -> None:
        self.run_id, self.epoch = run_id, epoch
        self.token: uuid.UUID | None = None
        self.draining = False
        self.is_given_back = False
        self._interrupted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def interrupt(self, reason: str) -> None:
        if not self._interrupted.done():
            self._interrupted.set_result(reason)

    def check(self) -> None:
        if self._interrupted.done():
            raise Interrupted(self._interrupted.result())
        if self.draining:
            raise Interrupted(DRAINING)

    def given_back(self) -> None:
        self.is_given_back = True

    def renew_claim(self, token: uuid.UUID) -> None:
        self.token = token

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        if self._interrupted.done():
            work.close()
            raise Interrupted(self._interrupted.result())
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._interrupted), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            raise Interrupted(self._interrupted.result() if self._interrupted.done() else "cancelled")
        result: T = task.result()
        return result


class LeaseKeeper:
    """Keeps the leases of one process alive; a lease that is lost interrupts its task.

    It renews over `own`, a pool that nobody else uses: behind everybody's statements it would come too late when the
    database is slow, and living workers would lose their runs.
    """

    def __init__(self, pool: Pool, own: Pool) -> None:
        self._pool, self._own = pool, own
        self._held: dict[uuid.UUID, RunLease] = {}
        self._draining = False
        self.looked_at = time.monotonic()

    @property
    def held(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def holding(self, run_id: uuid.UUID, epoch: int) -> AsyncIterator[RunLease]:
        """Renew the lease while inside; give it back on the way out, so that nobody waits for its end."""
        lease = self._held[run_id] = RunLease(run_id, epoch)
        lease.draining = self._draining
        try:
            yield lease
        finally:
            if self._held.get(run_id) is lease:
                del self._held[run_id]  # first: no renewal may extend a lease that is being given back
            if not lease.is_given_back:
                await self._release(lease)

    async def _release(self, lease: RunLease) -> None:
        try:
            await asyncio.shield(sql.run.release_lease.run(self._pool, run_id=lease.run_id, epoch=lease.epoch))
        except (*TRANSIENT, asyncpg.PostgresError, asyncio.CancelledError):
            return

    def drain(self) -> None:
        """From now on every run is handed over at its next step."""
        self._draining = True
        for lease in self._held.values():
            lease.draining = True

    async def run(self) -> None:
        """Renew until cancelled."""
        pause_s = LEASE_RENEWAL_S
        while True:
            await asyncio.sleep(pause_s)
            self.looked_at = time.monotonic()
            pause_s = LEASE_RENEWAL_S if await self.renew() else _AGAIN_S

    async def renew(self) -> bool:
        """Renew all leases once; returns whether the database answered in time. What hangs is given up, so that another
        try, on a connection of its own, still comes before the leases end."""
        held = dict(self._held)
        if not held:
            return True
        try:
            async with asyncio.timeout(LEASE_RENEWAL_S):
                rows = await sql.run.renew_leases.rows(
                    self._own,
                    run_ids=list(held),
                    epochs=[lease.epoch for lease in held.values()],
                    lease_s=LEASE_S,
                    tokens=[lease.token for lease in held.values() if lease.token is not None],
                )
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("lease_renewal_failed", error_class=type(error).__name__, rows=len(held))
            return False
        superseded = {row["id"]: row["superseded"] for row in rows}
        for run_id, lease in held.items():
            if run_id not in superseded:
                lease.interrupt("lease_lost")
            elif superseded[run_id]:
                lease.interrupt("superseded")
        return True
