"""`idle`: wait until nothing is left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, connection_to, emit, run, say

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config
    from app.kafka.lagging import GroupReader

group = typer.Typer()

_LOOK_S: Final = 0.25
Left = Mapping[str, int]


@group.command(epilog="Example: draft-pipeline idle --timeout 60", rich_help_panel="Look")
def idle(
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Wait until nothing waits, runs, is due or lags; exit code 1, with what is left, when time is up."""

    async def work(config: Config) -> int:
        from app.kafka.lagging import group_reader

        config.require(frozenset({"DATABASE_URL"}))
        async with connection_to(config.database_url) as connection, group_reader(config) as reader:
            left = await wait_until_idle(connection, reader, timeout, lambda now: say(f"idle: {words(now)}"))
        if as_json:
            emit({"idle": not left, "left": left})
        elif left:
            print(f"still left after {timeout:g} s: {words(left)}")
        else:
            print("idle: nothing is left to do")
        return PROBLEM if left else OK

    run(env_file, "kafka", work)


async def wait_until_idle(
    connection: asyncpg.Connection, reader: GroupReader, timeout_s: float, changed: Callable[[Left], None]
) -> Left:
    """What is left when nothing was left twice in a row (then it is empty), or when `timeout_s` is over.

    A group's lag is the last look: what it consumed meanwhile is in the rows, and the second look finds it.
    """
    give_up, before, quiet = time.monotonic() + timeout_s, None, 0
    while True:
        left = await left_to_do(connection, reader)
        if left != before:
            changed(left)
        quiet = quiet + 1 if not left else 0
        if quiet == 2 or time.monotonic() >= give_up:
            return left
        before = left
        await asyncio.sleep(_LOOK_S)


async def left_to_do(connection: asyncpg.Connection, reader: GroupReader) -> dict[str, int]:
    """Waiting rows first, then runs and due sends, then lag; only what is not zero. A broker that was just started, or
    hangs, cannot tell lag for a while: it may be anything."""
    from aiokafka.errors import KafkaError, KafkaTimeoutError

    from app.kafka.lagging import watermarks_of
    from db import sql

    rows = dict(await sql.ops.left_to_do.one(connection))
    try:
        for lag in await reader.lags(await watermarks_of(connection)):
            rows[f"lag {lag.topic}"] = rows.get(f"lag {lag.topic}", 0) + lag.lag
    except KafkaError as error:
        if not (error.retriable or isinstance(error, KafkaTimeoutError)):
            raise
        rows["lag_unknown"] = 1
    return {name: count for name, count in rows.items() if count}


def words(left: Left) -> str:
    """What is left, as a sentence part."""
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in left.items()) or "nothing left"
