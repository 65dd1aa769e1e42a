"""The connection pool. Prepared statements stay (a transaction pooler must support them); no session state is used.

asyncpg's own pool makes a task and a shield for every release, so that a cancelled holder can be waited for: a third of
what a small statement costs. Ours gives a connection back in one step; one whose use was cut short is closed instead.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

Connection = asyncpg.Connection
Row = asyncpg.Record

POOL_SIZE_DEFAULT = 16
COMMAND_S_MAX = 30.0
CONNECT_S_MAX = 10.0


def _encode_json(value: Any) -> str:
    """Postgres' json text. orjson writes NaN as null, so only values built by us come here."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _decode_json(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:  # numbers beyond 64 bits, which jsonb keeps
        return json.loads(value)


async def connect(url: str, *, application: str = "draft-pipeline") -> asyncpg.Connection:
    """One connection, with jsonb as Python values. Raises OSError or asyncpg.PostgresError when the server is away."""
    connection = await asyncpg.connect(
        url, timeout=CONNECT_S_MAX, command_timeout=COMMAND_S_MAX, server_settings={"application_name": application}
    )
    await connection.set_type_codec("jsonb", encoder=_encode_json, decoder=_decode_json, schema="pg_catalog")
    return connection


class Pool:
    """At most `size` connections, opened when needed, handed out in turn. Statements commit each by itself."""

    def __init__(self, url: str, size: int, application: str) -> None:
        self._url, self._application = url, application
        self._idle: list[asyncpg.Connection] = []
        self._free = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def _take(self) -> asyncpg.Connection:
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            await self._turn()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await connect(self._url, application=self._application)
        except BaseException:
            self._pass_on()
            raise

    async def _turn(self) -> None:
        """First come, first served: whoever gives a place up passes it to the one who waits longest."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _give(self, connection: asyncpg.Connection, *, whole: bool) -> None:
        """`whole`: the last statement ended. Else the connection may still be busy, and is closed."""
        if whole and not self._closed and not connection.is_closed():
            self._idle.append(connection)
        else:
            connection.terminate()
        self._pass_on()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._take()
        whole = False
        try:
            yield connection
            whole = True
        except asyncpg.PostgresError as error:
            whole = not connection.is_closed() and not connection.is_in_transaction() and _statement_ended(type(error))
            raise
        finally:
            self._give(connection, whole=whole)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        async with _Use(self) as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        async with _Use(self) as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        async with _Use(self) as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        async with _Use(self) as connection:
            return await connection.execute(query, *args)

    async def close(self) -> None:
        """Close idle connections now and the others when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle), return_exceptions=True)


def _statement_ended(kind: type[BaseException]) -> bool:
    """Whether the server answered and may be asked again. A demoted primary answers, but is the wrong one."""
    return issubclass(kind, asyncpg.PostgresError) and not issubclass(kind, asyncpg.ReadOnlySQLTransactionError)


class _Use:
    """One statement on one connection."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await self._pool._take()
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._pool._give(self._connection, whole=kind is None or _statement_ended(kind))


Executor = Connection | Pool  # whatever runs one statement


async def create_pool(url: str, *, size: int = POOL_SIZE_DEFAULT, application: str = "draft-pipeline") -> Pool:
    """A pool of at most `size` connections. Raises OSError or asyncpg.PostgresError when the server is away."""
    pool = Pool(url, size, application)
    await pool.fetchval("SELECT 1")
    return pool


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction: committed at the end, rolled back on an exception."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection
