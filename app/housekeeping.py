"""What each process does besides: heartbeat, sweeps for lost requests and expired reviews."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import structlog

from agents.ingest import conversation_key, request_of
from agents.persist import TRANSIENT
from agents.review import expire_reviews
from agents.rim import Rim, headers_of
from app import __version__
from db import sql
from schemas.codes import Channel
from schemas.events import InboundMessage
from schemas.limits import HEARTBEAT_S, SWEEP_S

log = structlog.get_logger()

_LOST_AFTER_S: Final = 30.0
_SWEEP_ROWS_MAX: Final = 200


async def beat_forever(rim: Rim, role: str, figures: Callable[[], dict[str, Any]]) -> None:
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
        try:
            await rewrite_lost_requests(rim)
            await expire_reviews(rim, _SWEEP_ROWS_MAX)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("sweep_failed", error_class=type(error).__name__)


async def rewrite_lost_requests(rim: Rim) -> int:
    """A message that waits although no request exists for it gets one; returns how many did."""
    rows = await sql.outbox.requests_lost.rows(rim.pool, age_s=_LOST_AFTER_S, limit=_SWEEP_ROWS_MAX)
    for row in rows:
        message = InboundMessage(
            schema_version=1,
            message_id=row["message_id"],
            workspace_id=row["workspace_id"],
            lead_id=row["lead_id"],
            channel=Channel(row["channel"]),
            received_at=datetime.now(UTC),
            body="",
        )
        request = request_of(message)
        conversation = (row["workspace_id"], row["lead_id"], row["channel"], row["thread_id"])
        await sql.ingest.replace_waiting_requests.run(
            rim.pool,
            event_ids=[request.event_id],
            keys=[request.key],
            values=[request.value()],
            headers=[headers_of(request, request.event_id, row["traceparent"])],
            workspace_ids=[row["workspace_id"]],
            conversations=[conversation_key(conversation)],
            message_ids=[row["message_id"]],
            quiet_windows_s=[0.0],
        )
    return len(rows)
