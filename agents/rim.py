"""What agents act through: database, model, leases, publisher, fence, channels. One per worker."""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from agents.ports import ChannelAdapter, ModelPort
from db.pool import Pool
from schemas.codes import KillSwitch
from schemas.context import DraftRunContextPack
from schemas.events import Event
from schemas.traces import new_traceparent

T = TypeVar("T")


class Interrupted(Exception):
    """The run must stop here: `superseded`, `lease_lost`, or a reason of the revision."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Lease(Protocol):
    """The right to work on a run, as long as the epoch is the newest."""

    run_id: uuid.UUID
    epoch: int

    def check(self) -> None:
        """Raise Interrupted when the lease is lost or the run superseded."""
        ...

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, cancelled with Interrupted as soon as the lease is lost or the run superseded."""
        ...

    def given_back(self) -> None:
        """A statement handed the run over or ended it: nothing is left to release."""
        ...

    def renew_claim(self, token: uuid.UUID) -> None:
        """Renew the claim of this token together with the lease."""
        ...


class Leases(Protocol):
    def holding(self, run_id: uuid.UUID, epoch: int) -> AbstractAsyncContextManager[Lease]: ...


@dataclass(frozen=True)
class OutboxRow:
    """An event in the outbox, as the relay sends it."""

    id: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]


class Publisher(Protocol):
    def publish(self, rows: Sequence[OutboxRow]) -> None:
        """Send rows that are committed; returns at once. What fails stays in the outbox for the sweep."""
        ...


class Writer(Protocol):
    """As much of a rim as writing and publishing needs: `web` has it, too."""

    @property
    def pool(self) -> Pool: ...
    @property
    def publisher(self) -> Publisher: ...


class Fence(Protocol):
    async def passed(self, timeout_s: float) -> bool:
        """Whether ingest has everything that was committed to `inbound-message` before this call."""
        ...


@dataclass(frozen=True)
class Rim:
    pool: Pool
    model: ModelPort
    leases: Leases
    publisher: Publisher
    fence: Fence
    adapter: Callable[[str, dict[str, Any]], ChannelAdapter | None]
    process_id: str
    switched_off: frozenset[KillSwitch]
    crash_point: Callable[[str], None]
    deliver_soon: Callable[[], None]
    run_ended: Callable[[], None]
    wait: Callable[[float], Awaitable[None]]
    context_built: Callable[[DraftRunContextPack], None] = lambda pack: None

    def is_off(self, switch: KillSwitch) -> bool:
        """Whether the environment of this process switched it off; the row in Postgres is asked in each statement."""
        return switch in self.switched_off


def headers_of(event: Event, event_id: uuid.UUID, traceparent: str | None) -> dict[str, str]:
    """CloudEvents 1.0 headers in Kafka binary mode, and W3C trace context."""
    headers = {
        "ce_id": str(event_id),
        "ce_type": f"draft-pipeline.{event.topic}.v{event.schema_version}",
        "ce_source": "/draft-pipeline",
        "ce_specversion": "1.0",
        "ce_time": occurred_at.isoformat() if (occurred_at := getattr(event, "occurred_at", None)) else "",
        "content-type": "application/json",
        "traceparent": traceparent or new_traceparent(event_id),
    }
    return {name: value for name, value in headers.items() if value}
