"""The worker: one Faust app per agent, ingest in a process of its own, and what keeps them honest."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from agents.dead_letters import Incoming, add_dead_letters
from agents.giving_up import give_up
from agents.persist import TRANSIENT, backoff_s, persist
from agents.reading import Unreadable, read_event
from agents.rim import Rim
from app import __version__
from app.config import Config
from app.crash_points import crash_point
from app.deliveries import Deliveries
from app.delivery import adapters
from app.delivery.timed import timed
from app.groups import GROUPS
from app.health import Health, serve_health
from app.housekeeping import beat_forever, sweep_forever
from app.ingest_child import IngestChild
from app.kafka.engine import Engine, Record
from app.kafka.fence import InboundFence
from app.kafka.pool import EventPool
from app.kafka.producer import RowProducer
from app.kafka.topics import missing_topics
from app.leases import LeaseKeeper
from app.libraries import quiet_libraries
from app.metrics.catalogue import WorkerMetrics
from app.metrics.counting import Counting
from app.metrics.watching import tell
from app.model.client import ModelClient
from app.orphans import Orphans
from app.relay import Relay
from app.slack.posting import SlackPosting
from app.tracing import tracing_for
from app.wiring import AGENTS, durable_or_refuse, handler, process_id, sleep, switched_off
from db import migrate, sql
from db.pool import Pool, create_pool, transaction
from schemas.codes import DeadLetterReason
from schemas.events import Event
from schemas.limits import HEARTBEAT_S, STOP_GRACE_S
from schemas.topics import TOPICS
from schemas.traces import read_traceparent

log = structlog.get_logger()

_CONNECTIONS: Final = 24
_SUPERVISE_S: Final = 1.0
_RESTART_S: Final = 1.0
_HOLDER_DEAD_S: Final = 5 * HEARTBEAT_S


class StartError(Exception):
    """The worker cannot start. One line: what is missing and what to do."""


class Worker:
    """Everything one worker process runs. `start`, then `stop`."""

    def __init__(self, config: Config, pool: Pool) -> None:
        self.config, self.pool = config, pool
        crash = crash_point(os.environ.get("DRAFT_PIPELINE_CRASH_AT"))
        self.metrics, self.tracing = WorkerMetrics(), tracing_for(config, "worker")
        counting = Counting(self.metrics)
        self.model = ModelClient(config, metrics=self.metrics, tracing=self.tracing)
        self.lease_pool = Pool(config.database_url or "", 2, "draft-pipeline leases")
        self.keeper = LeaseKeeper(pool, self.lease_pool)
        self.producer = RowProducer(config)
        self.relay = Relay(pool, self.producer, self.metrics, counting.rows)
        self.fence = InboundFence(config, pool)
        self.deliveries = Deliveries(pool)
        self.rim = Rim(
            pool=pool,
            model=self.model,
            leases=self.keeper,
            publisher=self.relay,
            fence=self.fence,
            adapter=timed(adapters(config), self.metrics, self.tracing),
            process_id=process_id(config),
            switched_off=switched_off(config),
            crash_point=crash,
            deliver_soon=self.deliveries.soon,
            run_ended=self.relay.admit_soon,
            wait=sleep,
            context_built=counting.context_built,
        )
        self.ingest = IngestChild(config, self.relay.admit_soon)
        self.pools = {
            name: EventPool(name, handler(spec, self.rim, self.tracing), self._dead_letter, metrics=self.metrics)
            for name, spec in AGENTS.items()
        }
        self.engines = {
            name: Engine(config, topic=name, group=GROUPS[name], consume=each.consume)
            for name, each in self.pools.items()
        }
        self.health = Health(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def _dead_letter(self, record: Record, code: str, error: str, attempts: int) -> None:
        """Durable before the ack."""
        trace = read_traceparent(record.headers.get("traceparent"))
        place = (record.topic, record.partition, record.offset, record.timestamp_s)
        incoming = Incoming(*place, record.key, record.value, trace)
        why = Unreadable(DeadLetterReason(code), error)

        async def write() -> list[Any]:
            async with transaction(self.pool) as connection:
                return await add_dead_letters(connection, [(incoming, why)], attempts)

        self.relay.publish(await persist(self.rim, write))
        event = read_event(AGENTS[record.topic].event, record.value)
        if not isinstance(event, Unreadable):
            await self._give_up(event)
        log.warning("dead_letter", topic=record.topic, code=code, partition=record.partition, offset=record.offset)

    async def _give_up(self, event: Event) -> None:
        """The letter is durable, so its record is acknowledged whatever becomes of this."""
        try:
            await persist(self.rim, lambda: give_up(event, self.rim))
        except Exception as error:
            log.error("give_up_failed", topic=event.topic, exc_info=error)

    async def start(self) -> None:
        """Start everything; returns when all agents consume."""
        self._forever("relay", self.relay.run)
        self._forever("leases", self.keeper.run)
        self._forever("ingest", self.ingest.run)
        self._forever("deliveries", lambda: self.deliveries.run(self.rim))
        self._forever("heartbeat", lambda: beat_forever(self.rim, "worker", self.figures))
        self._forever("slack", SlackPosting(self.config, self.pool).run)
        self._forever("sweep", lambda: sweep_forever(self.rim))
        self._forever("orphans", Orphans(self.lease_pool, self.pools).run)
        await asyncio.gather(self.ingest.wait_consuming(), *(engine.start() for engine in self.engines.values()))
        for engine in self.engines.values():
            self._forever(f"engine-{engine.topic}", lambda engine=engine: self._supervise(engine))  # type: ignore[misc]

    def _forever(self, name: str, work: Callable[[], Coroutine[Any, Any, None] | Awaitable[None]]) -> None:
        async def run() -> None:
            failures = 0
            while not self._stopping:
                try:
                    await work()
                    return
                except Exception as error:
                    failures += 1
                    log.error("task_failed", agent=name, exc_info=error)
                    await asyncio.sleep(backoff_s(failures))

        self._tasks.append(asyncio.create_task(run(), name=name))

    async def _supervise(self, engine: Engine) -> None:
        """A Faust app that crashed (broker lost, failed rebalance) is built anew; its tasks and leases live on."""
        while True:
            await asyncio.sleep(_SUPERVISE_S)
            if engine.crashed and not self._stopping:
                log.warning("engine_restarts", topic=engine.topic)
                await engine.stop()
                await asyncio.sleep(_RESTART_S)
                await engine.start()

    def figures(self) -> dict[str, Any]:
        """What the heartbeat tells beside the switches."""
        return {
            "in_flight": {name: each.in_flight for name, each in self.pools.items()},
            "ingest": self.ingest.figures,
            "leases": self.keeper.held,
            "deliveries": self.deliveries.in_flight,
            "breakers": {model: state.value for model, state in self.model.breaker.states().items()},
            "paused": [name for name, each in self.pools.items() if each.paused],
            "rebalances": sum(engine.rebalances for engine in self.engines.values()),
            "variables": list(self.config.set_variables()),
        }

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Take nothing new; finish or hand over what runs; commit what is done; leave the groups."""
        began = time.monotonic()
        self.relay.admits = False
        self.keeper.drain()
        await asyncio.gather(
            self.ingest.stop(),
            self.deliveries.drain(grace_s),
            *(each.drain(grace_s) for each in self.pools.values()),
        )
        self._stopping = True
        await asyncio.gather(*(engine.stop() for engine in self.engines.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(*TRANSIENT, asyncpg.PostgresError):
            await sql.run.forget_process.run(self.pool, process_id=self.rim.process_id)
        await asyncio.gather(self.producer.stop(), self.fence.stop(), self.model.close(), self.lease_pool.close())
        await asyncio.to_thread(self.tracing.close)
        log.info("worker_stopped", duration_s=round(time.monotonic() - began, 2))


async def check_start(config: Config, pool: Pool) -> None:
    """Raise StartError when schema or topics are not what this version needs."""
    try:
        await durable_or_refuse(pool)
    except RuntimeError as error:
        raise StartError(str(error)) from None
    async with pool.acquire() as connection:
        if (why := await migrate.too_old(connection)) is not None:
            raise StartError(why)
    missing = await missing_topics(config, list(TOPICS))
    if missing:
        raise StartError(f"topics are missing: {', '.join(missing)}; run topics create")


async def _alone(pool: Pool, worker_id: str) -> bool:
    """Two members with one static id would fence each other for ever."""
    claimed = await sql.run.claim_worker_id.value(
        pool, process_id=worker_id, role="worker", version=__version__, dead_after_s=_HOLDER_DEAD_S
    )
    return claimed is not None


async def run_worker(config: Config) -> int:
    """Run until SIGTERM or SIGINT. Prints one line when it is consuming. Raises StartError, OSError, KafkaError."""
    quiet_libraries()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    try:
        pool = await create_pool(config.database_url or "", size=_CONNECTIONS, application="draft-pipeline worker")
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        raise StartError(f"DATABASE_URL: no connection ({type(error).__name__})") from None
    await check_start(config, pool)
    worker = Worker(config, pool)
    if config.worker_id and not await _alone(pool, config.worker_id):
        raise StartError(f"WORKER_ID: another live worker holds {config.worker_id}; give each worker its own")
    port = config.worker_http_port
    site = await serve_health(worker.health, lambda: tell(worker), port) if port is not None else None
    starting = asyncio.create_task(worker.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    await asyncio.gather(starting, return_exceptions=stop.is_set())
    if not stop.is_set():
        print(f"worker {worker.rim.process_id} is consuming", flush=True)  # noqa: T201 - the line that scripts wait for
    await stopping
    await worker.stop()
    if site is not None:
        await site.cleanup()
    await pool.close()
    return 0
