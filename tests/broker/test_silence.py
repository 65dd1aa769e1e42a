"""A broker that hangs: the fetch loop turns on, and only its silence tells."""

from __future__ import annotations

import time

from agents.fates import DONE, Fate
from app.kafka.engine import Record
from app.stack.local import LocalStack
from tests.broker.test_engine_facts import place, until
from tests.story.harness import config_of, frozen

SILENT_S = 2.0


async def test_a_broker_that_hangs_is_noticed_although_the_fetch_loop_turns(stack: LocalStack) -> None:
    """While it hangs the silence grows and the loop still runs; when it answers again the silence is over."""

    async def handler(record: Record) -> Fate:
        return DONE

    async with place(config_of(stack)) as here:
        await here.send(b"a")
        pool = here.pool(handler)
        async with here.engine(pool.consume) as engine:
            await until(lambda: pool.counts["done"] == 1, "it consumes")
            await until(lambda: engine.silence.seconds < SILENT_S / 2, "the broker answers")
            with frozen(stack):
                await until(lambda: engine.silence.seconds > SILENT_S, "its silence is noticed")
                assert time.monotonic() - engine.fetched_at < SILENT_S
                assert not engine.crashed
            await until(lambda: engine.silence.seconds < SILENT_S / 2, "it answers again")
            await here.send(b"b")
            await until(lambda: pool.counts["done"] == 2, "it consumes on")
