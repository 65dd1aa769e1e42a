"""The connection pool. Prepared statements stay (a transaction pooler must support them); no session state is used."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Executor = Connection | asyncpg.Pool  # whatever runs one statement; a pool commits each by itself
Row = asyncpg.Record

POOL_SIZE_DEFAULT = 16
COMMAND_S_MAX = 30.0
CONNECT_S_MAX = 10.0


def _encode_json(value: Any) -> str:
    """Postgres' json text. orjson refuses NaN silently as null, so only values built by us come here."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _decode_json(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:  # numbers beyond 64 bits, which jsonb keeps
        return json.loads(value)


async def prepare(connection: Connection) -> None:
    """Teach a connection to carry jsonb as Python values."""
    await connection.set_type_codec("jsonb", encoder=_encode_json, decoder=_decode_json, schema="pg_catalog")


async def connect(url: str, *, application: str = "draft-pipeline") -> asyncpg.Connection:
    """One connection outside any pool."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S_MAX, server_settings={"application_name": application})
    await prepare(connection)
    return connection


async def create_pool(url: str, *, size: int = POOL_SIZE_DEFAULT, application: str = "draft-pipeline") -> asyncpg.Pool:
    """A pool of at most `size` connections. Raises OSError or asyncpg.PostgresError when the server is away."""
    pool: asyncpg.Pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        init=prepare,
        reset=_no_reset,
        command_timeout=COMMAND_S_MAX,
        timeout=CONNECT_S_MAX,
        server_settings={"application_name": application},
    )
    return pool


async def _no_reset(connection: Connection) -> None:
    """No session state is ever set, so the reset query, a round trip per use, is not needed."""


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction: committed at the end, rolled back on an exception."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection
