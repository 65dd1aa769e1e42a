"""What each process does besides: heartbeat, sweeps for lost requests and expired reviews."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import asyncpg
import structlog

from agents.persist import TRANSIENT
from agents.requesting import Request, write_requests
from agents.review import expire_reviews
from agents.rim import Rim
from app import __version__
from db import sql
from db.pool import Pool
from schemas.codes import KillSwitch
from schemas.limits import HEARTBEAT_S, SWEEP_S

log = structlog.get_logger()

_LOST_AFTER_S: Final = 30.0
SWEEP_ROWS_MAX: Final = 200
_CONVERSATION: Final = ("workspace_id", "lead_id", "channel", "thread_id")


class Living(Protocol):
    """A process that beats: a worker's `Rim`, or the web process."""

    @property
    def pool(self) -> Pool: ...
    @property
    def process_id(self) -> str: ...
    @property
    def switched_off(self) -> frozenset[KillSwitch]: ...


async def beat_forever(rim: Living, role: str, figures: Callable[[], dict[str, Any]]) -> None:
    """Tell every HEARTBEAT_S that this process lives, its version and which switches its environment sets."""
    while True:
        try:
            await sql.run.beat.run(
                rim.pool,
                process_id=rim.process_id,
                role=role,
                version=__version__,
                switches={switch.value: True for switch in rim.switched_off},
                figures=figures(),
            )
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("heartbeat_failed", error_class=type(error).__name__)
        await asyncio.sleep(HEARTBEAT_S)


async def sweep_forever(rim: Rim) -> None:
    """Find what nobody would come back for."""
    while True:
        await asyncio.sleep(SWEEP_S)
        for sweep in (
            lambda: rewrite_lost_requests(rim.pool),
            lambda: join_lost_messages(rim.pool),
            lambda: expire_reviews(rim, SWEEP_ROWS_MAX),
            lambda: settle_stale_reservations(rim),
        ):
            try:
                await sweep()
            except (*TRANSIENT, asyncpg.PostgresError) as error:
                log.warning("sweep_failed", error_class=type(error).__name__)


async def settle_stale_reservations(rim: Rim) -> int:
    """Money that a run which ended still holds is settled; returns for how many runs. A worker died in between."""
    rows = await sql.model_call.runs_with_stale_reservations.rows(rim.pool, limit=SWEEP_ROWS_MAX)
    for row in rows:
        await sql.model_call.settle_reservations.run(rim.pool, run_id=row["run_id"], stage=None, iteration=0)
    return len(rows)


async def rewrite_lost_requests(pool: Pool) -> int:
    """A message that waits although no request exists for it gets one; returns how many did."""
    rows = await sql.outbox.requests_lost.rows(pool, age_s=_LOST_AFTER_S, limit=SWEEP_ROWS_MAX)
    requests = [
        Request(tuple(row[name] for name in _CONVERSATION), row["message_id"], row["traceparent"]) for row in rows
    ]
    await write_requests(pool, requests)
    return len(rows)


async def join_lost_messages(pool: Pool) -> None:
    """Lost ones that a newer message of their conversation has overtaken wait no more."""
    await sql.outbox.join_lost_messages.run(pool, age_s=_LOST_AFTER_S, limit=SWEEP_ROWS_MAX)
