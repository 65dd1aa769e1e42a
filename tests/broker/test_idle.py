"""`idle` and a broker that goes away."""

from __future__ import annotations

from app.cli.idle import left_to_do
from app.kafka.lagging import group_reader
from app.stack.local import LocalStack
from db.pool import connect
from tests.broker.test_engine_facts import until
from tests.conftest import Database
from tests.story.harness import config_of


async def test_while_the_broker_is_away_the_lag_may_be_anything(stack: LocalStack, database: Database) -> None:
    """So nothing is called idle, and no error ends the waiting; when it is back the lag is known again."""
    connection = await connect(database.url)
    async with group_reader(config_of(stack)) as reader:
        await stack.kafka.kill()
        try:
            assert await left_to_do(connection, reader) == {"lag_unknown": 1}
        finally:
            await stack.kafka.start()

        async def known() -> bool:
            return "lag_unknown" not in await left_to_do(connection, reader)

        await until(known, "the lag is known again")
    await connection.close()
