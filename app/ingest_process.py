"""The ingest agent in a process of its own, started and watched by the worker.

A Faust app passes each record through several turns of its event loop. In the worker's loop, busy with hundreds of
drafts, that was 130 records a second; here it is thousands, whatever the drafts do.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

import structlog

from app.config import Config, load_config
from app.crash_points import crash_point
from app.groups import GROUPS
from app.ingesting import Ingesting
from app.kafka.engine import Engine
from app.kafka.producer import RowProducer
from app.libraries import quiet_libraries
from app.logging import allow_list, configure_logging
from app.metrics.catalogue import WorkerMetrics
from app.metrics.counting import Counting
from app.metrics.passing_on import Passed, samples_of
from app.relay import Relay
from app.tracing import tracing_for
from db.pool import create_pool
from schemas.limits import HEARTBEAT_S, INGEST_GRACE_S
from schemas.topics import INBOUND_MESSAGE

log = structlog.get_logger()

_CONNECTIONS = 4
_SUPERVISE_S = 1.0


class IngestProcess:
    """Engine, batches and the publishing of what they bring about."""

    def __init__(self, config: Config, pool: Any) -> None:
        self.producer = RowProducer(config)
        self.metrics, self.tracing = WorkerMetrics(), tracing_for(config, "ingest")
        self.relay = Relay(pool, self.producer, self.metrics, Counting(self.metrics).rows)
        own = frozenset({config.smtp_from.lower()} if config.smtp_from else ())
        self.ingesting = Ingesting(pool, self.relay.publish, own, self.metrics, self.tracing)
        self.ingesting.crash_point = crash_point(os.environ.get("DRAFT_PIPELINE_CRASH_AT"))
        self.engine = Engine(
            config, topic=INBOUND_MESSAGE.name, group=GROUPS[INBOUND_MESSAGE.name], consume=self.ingesting.consume
        )
        self.ingesting.engine = self.engine

    async def run(self, stop: asyncio.Event) -> None:
        """Ingest until `stop`, then finish what was taken and commit it."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.relay.publish_forever()),
                group.create_task(self.ingesting.run()),
                group.create_task(self._supervise()),
                group.create_task(self._report()),
            ]
            await stop.wait()
            await self.ingesting.drain(INGEST_GRACE_S)
            for task in tasks:
                task.cancel()
        await self.engine.stop()
        await self.producer.stop()
        await asyncio.to_thread(self.tracing.close)

    async def _supervise(self) -> None:
        """Start the engine; build it anew when it crashed (broker lost, failed rebalance)."""
        while True:
            if self.engine.crashed:
                await self.engine.stop()
                try:
                    await self.engine.start()
                except Exception as error:
                    log.warning("engine_start_failed", topic=self.engine.topic, exc_info=error)
            await asyncio.sleep(_SUPERVISE_S)

    def _samples(self) -> list[Passed]:
        metrics, topic = self.metrics, self.engine.topic
        metrics.log_fields_dropped.set(allow_list.dropped_total)
        metrics.rebalances.set(self.engine.rebalances, topic)
        metrics.consumer_restarts.set(self.engine.restarts, topic)
        return samples_of(metrics.book.registry)

    async def _report(self) -> None:
        """A line of figures for the worker now and then, and after each batch: it then looks for due requests. Every
        HEARTBEAT_S one with what the metrics counted."""
        passed_on_at = 0.0
        while True:
            figures = {
                "consuming": not self.engine.crashed,
                "in_flight": self.ingesting.in_flight,
                "fetch_age_s": round(self.engine.stalled_s, 1),
                "broker_silent_s": round(self.engine.silence.seconds, 1),
                "paused": self.ingesting.paused,
                **self.ingesting.counts,
            }
            if time.monotonic() - passed_on_at >= HEARTBEAT_S:
                passed_on_at = time.monotonic()
                print(json.dumps({"samples": self._samples()}), flush=True)  # noqa: T201 - the worker reads it
            print(json.dumps(figures), flush=True)  # noqa: T201 - the worker reads it
            self.ingesting.batched.clear()
            with suppress(TimeoutError):
                pause_s = HEARTBEAT_S if figures["consuming"] else _SUPERVISE_S / 5
                await asyncio.wait_for(self.ingesting.batched.wait(), pause_s)


async def watch_parent(stop: asyncio.Event) -> None:
    """The worker holds the other end of our standard input: its end is our end, however it came."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1):
        pass
    stop.set()


async def main() -> None:
    config = load_config()
    configure_logging(config.log_level)
    quiet_libraries()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    pool = await create_pool(config.database_url or "", size=_CONNECTIONS, application="draft-pipeline ingest")
    parent = asyncio.create_task(watch_parent(stop))
    try:
        await IngestProcess(config, pool).run(stop)
    except BaseException as error:
        log.error("ingest_process_failed", exc_info=error)
        os._exit(1)  # Faust's consumer thread would keep a half-dead process alive; the worker starts a new one
    parent.cancel()
    await pool.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
