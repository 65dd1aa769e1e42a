"""Due sends, taken by any worker with SKIP LOCKED, a bounded number at a time."""

import asyncio
import uuid
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from agents.delivering import deliver
from agents.persist import TRANSIENT
from agents.rim import Rim
from db import sql
from db.pool import Pool
from schemas.limits import DELIVERY_LEASE_S

log = structlog.get_logger()

DELIVERIES_IN_FLIGHT_MAX: Final = 64
WORKSPACE_DELIVERIES_MAX: Final = 24
_TICK_S: Final = 0.5


class Deliveries:
    """Takes due deliveries and brings each to its next status."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wake = asyncio.Event()
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    def soon(self) -> None:
        """A delivery was written: look for due ones now."""
        self._wake.set()

    async def run(self, rim: Rim) -> None:
        """Deliver until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
            self._wake.clear()
            room = DELIVERIES_IN_FLIGHT_MAX - len(self._tasks)
            if room > 0 and not self._stopping:
                await self._take(rim, room)

    async def _take(self, rim: Rim, room: int) -> None:
        try:
            due = await sql.delivery.take_due_deliveries.rows(
                self._pool,
                owner=rim.process_id,
                lease_s=DELIVERY_LEASE_S,
                limit=room,
                workspace_limit=WORKSPACE_DELIVERIES_MAX,
            )
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("deliveries_wait_for_database", error_class=type(error).__name__)
            return
        for delivery in due:
            task = asyncio.create_task(self._one(rim, delivery))
            self._tasks[delivery["id"]] = task
        if len(due) == room:
            self._wake.set()

    async def _one(self, rim: Rim, delivery: asyncpg.Record) -> None:
        try:
            await deliver(rim, delivery)
        except TRANSIENT as error:
            log.warning("delivery_waits_for_database", error_class=type(error).__name__)
        except Exception as error:
            log.error("delivery_failed", delivery_id=str(delivery["id"]), exc_info=error)
        finally:
            self._tasks.pop(delivery["id"], None)
            self._wake.set()

    async def drain(self, grace_s: float) -> None:
        """Take nothing new; let the provider calls that run finish, so that their outcome is known."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=grace_s)
