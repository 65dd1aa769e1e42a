"""A write that must land: repeated in place while the database is away. Nothing irreversible happens meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
import structlog

from agents.rim import Rim

T = TypeVar("T")
log = structlog.get_logger()

_BASE_S: Final = 0.2
_CAP_S: Final = 5.0

# The server is away, going or full; a deadlock or serialization failure asks for the same again.
TRANSIENT: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectInUseError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that was demoted
)


def backoff_s(failures: int) -> float:
    """Full jitter, in seconds."""
    return random.uniform(0, min(_CAP_S, _BASE_S * 2.0 ** min(failures, 10)))  # noqa: S311 - spreads load only


async def persist(rim: Rim, write: Callable[[], Awaitable[T]]) -> T:
    """The result of `write`, tried until the database takes it; safe to repeat, since a COMMIT can be unknown."""
    failures = 0
    while True:
        try:
            return await write()
        except TRANSIENT as error:
            failures += 1
            log.warning("write_waits_for_database", error_class=type(error).__name__, attempt=failures)
            await rim.wait(backoff_s(failures))
