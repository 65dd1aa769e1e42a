"""Which agent consumes which topic: the one table, and the real things behind `agents.rim.Rim`."""

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from agents import dispatch, draft, review, revise
from agents.fates import Dead, Fate
from agents.reading import Unreadable, read_event
from agents.rim import Rim
from app.config import Config
from app.groups import GROUPS
from app.kafka.engine import Record
from app.tracing import Tracing
from db.pool import Pool
from schemas.codes import KillSwitch
from schemas.events import DraftEvaluated, DraftRequested, Event, ReviewCommand, RevisionResult
from schemas.topics import DRAFT_EVALUATED, DRAFT_REQUESTED, REVIEW_COMMAND, REVISION_RESULT


@dataclass(frozen=True)
class AgentSpec:
    """One agent: the event it reads and what it does with it."""

    event: type[Event]
    handle: Callable[[Any, Rim], Awaitable[Fate]]


AGENTS: Final[dict[str, AgentSpec]] = {
    DRAFT_REQUESTED.name: AgentSpec(DraftRequested, draft.handle),
    DRAFT_EVALUATED.name: AgentSpec(DraftEvaluated, revise.handle),
    REVISION_RESULT.name: AgentSpec(RevisionResult, dispatch.handle),
    REVIEW_COMMAND.name: AgentSpec(ReviewCommand, review.handle),
}


def handler(spec: AgentSpec, rim: Rim, tracing: Tracing) -> Callable[[Record], Awaitable[Fate]]:
    """Bytes in, fate out: an event that cannot be read is a dead letter."""

    async def handle(record: Record) -> Fate:
        with tracing.event(record, GROUPS[record.topic]) as span:
            event = read_event(spec.event, record.value)
            if isinstance(event, Unreadable):
                return Dead(event.code, event.error)
            fate = await spec.handle(event, rim)
            span.set(fate=type(fate).__name__.lower())
            return fate

    return handle


def process_id(config: Config) -> str:
    """Who this process is, in leases and heartbeats."""
    return config.worker_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def switched_off(config: Config) -> frozenset[KillSwitch]:
    return frozenset(switch for switch, off in config.switches().items() if off)


async def durable_or_refuse(pool: Pool) -> None:
    """Raises RuntimeError when Postgres may forget what it committed, unless a test says so explicitly."""
    if os.environ.get("DRAFT_PIPELINE_ALLOW_UNSAFE_POSTGRES") == "1":
        return
    for name in ("fsync", "synchronous_commit"):
        if await pool.fetchval("SELECT current_setting($1)", name) == "off":
            raise RuntimeError(f"Postgres runs with {name}=off: a crash would forget claims; turn it on")


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
