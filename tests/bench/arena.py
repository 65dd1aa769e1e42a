"""Where a row is measured: a local stack of its own, the schema, workspaces whose runs are standard, and workers."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from app.config import Config
from app.kafka.producer import new_producer
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from db import migrate
from db.pool import Pool, create_pool
from schemas.topics import INBOUND_MESSAGE
from tests.bench.messages import CONFIDENT, WORKSPACES, Message
from tests.bench.processes import BenchError, Process
from tests.bench.progress import say

PARTS: Final = ("kafka", "postgres", "model")
POLL_S: Final = 0.1
_POOL_SIZE: Final = 4
_KNOWLEDGE: Final = (
    ("Opening hours", "Our team answers on working days. Outside of them a message is answered the next working day."),
    ("Returns", "An unused product may be sent back in its original packaging. The label is in the parcel."),
    ("Accounts", "A forgotten password is reset on the sign-in page. An account may be shared within a household."),
)
_INSTRUCTIONS: Final = "Answer in the name of the support team. Be brief. Ask for the order when it is not named."
_SETTINGS: Final = """
INSERT INTO workspace_settings (workspace_id, quiet_window_s, instructions, channels) VALUES ($1, 0, $2, $3)
"""
_FINISHED: Final = """
SELECT (SELECT count(*) FROM draft_pipeline_run WHERE status <> 'RUNNING')
       + (SELECT count(*) FROM ai_draft WHERE status = 'sent')
       - (SELECT count(*) FROM outbox WHERE published_at IS NULL)
"""
_STANDING: Final = """
SELECT (SELECT count(*) FROM message WHERE direction = 'inbound') AS messages,
       (SELECT count(*) FROM draft_pipeline_run) AS runs,
       (SELECT count(*) FROM draft_pipeline_run WHERE status = 'RUNNING') AS running,
       (SELECT count(*) FROM ai_draft WHERE status = 'sent') AS sent,
       (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS unpublished,
       (SELECT count(*) FROM model_call WHERE status = 'answered') AS calls
"""

_FATES: Final = """
SELECT concat_ws(' ', status, auto_send_action, auto_send_reason) AS fate, count(*) AS drafts FROM ai_draft
GROUP BY 1 ORDER BY 2 DESC
"""


@dataclass
class Arena:
    """One row's world. `seed` numbers messages, so that every lead is unique; `runs` counts those that were started."""

    stack: LocalStack
    config: Config
    pool: Pool
    producer: AIOKafkaProducer
    children: AsyncExitStack
    seed: int = 0
    runs: int = 0
    logs: list[Path] = field(default_factory=list)

    async def process(self, module: str, *arguments: str, name: str = "") -> Process:
        """A child that ends with the arena."""
        log = self.stack.dir / "log" / f"{name or module.rpartition('.')[2]}.{len(self.logs)}.log"
        self.logs.append(log)
        child = await Process.start(module, *arguments, env=self.stack.env, log=log)
        self.children.push_async_callback(child.stop)
        return child

    async def worker(self, *arguments: str) -> Process:
        """A worker that is consuming."""
        child = await self.process("tests.bench.worker_main", *arguments, name="worker")
        await child.line()
        return child

    def messages(self, count: int, text: str = CONFIDENT) -> list[Message]:
        """Messages of leads that nobody else has, spread over the workspaces."""
        first, self.seed = self.seed, self.seed + count
        return [Message(number, text) for number in range(first, first + count)]

    async def produce(self, messages: list[Message], topic: str = INBOUND_MESSAGE.name) -> float:
        """Send all at once; returns the monotonic time just before the first."""
        started = time.monotonic()
        futures = [await self.send(message, topic) for message in messages]
        await asyncio.gather(*futures)
        return started

    async def send(self, message: Message, topic: str = INBOUND_MESSAGE.name) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self.producer.send(topic, message.value(), key=message.key)
        return future

    async def sent(self, total: int, seconds_max: float) -> float:
        """Wait until `total` standard runs went all the way; returns the monotonic time. Raises BenchError."""
        give_up = time.monotonic() + seconds_max
        while True:
            done = await self.pool.fetchval(_FINISHED)
            now = time.monotonic()
            if done >= 2 * total:
                return now
            if now > give_up:
                raise BenchError(f"after {seconds_max:.0f} s only {await self.standing()}, {await self.fates()}")
            await asyncio.sleep(POLL_S)

    async def standing(self) -> dict[str, int]:
        """What the tables hold."""
        found = await self.pool.fetch(_STANDING)
        return dict(found[0])

    async def fates(self) -> dict[str, int]:
        """How many drafts by what was decided and why."""
        rows = await self.pool.fetch(_FATES)
        return {row["fate"]: row["drafts"] for row in rows}

    async def check_standard(self, runs: int) -> None:
        """Every run was standard: four calls, five artifacts, sent. Raises BenchError."""
        found = await self.standing()
        artifacts = await self.pool.fetchval("SELECT count(*) FROM draft_pipeline_artifact")
        wanted = {"runs": runs, "sent": runs, "calls": 4 * runs}
        if {name: found[name] for name in wanted} != wanted or artifacts != 5 * runs:
            raise BenchError(f"not all runs were standard: {found}, {artifacts} artifacts")

    async def set_all(self, **settings: Any) -> None:
        """Change settings of every workspace."""
        for column, value in settings.items():
            await self.pool.execute(f"UPDATE workspace_settings SET {column} = $1", value)


@asynccontextmanager
async def arena() -> AsyncIterator[Arena]:
    """A stack in a temporary folder, its schema, its topics and the workspaces; everything ends with it."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="draft-bench-", ignore_cleanup_errors=True))
        )
        local = await stack.enter_async_context(LocalStack(folder, PARTS))
        config = Config.model_validate({name.lower(): value for name, value in local.env.items()})
        await migrate.apply(config.migration_url or "")
        await create_topics(config, 1)
        pool = await create_pool(config.database_url or "", size=_POOL_SIZE, application="bench")
        stack.push_async_callback(pool.close)
        producer = new_producer(config)
        await producer.start()
        stack.push_async_callback(producer.stop)
        children = await stack.enter_async_context(AsyncExitStack())
        await _make_workspaces(pool)
        say("  the local stack is ready")
        yield Arena(local, config, pool, producer, children)


async def _make_workspaces(pool: Pool) -> None:
    for workspace in WORKSPACES:
        await pool.execute(
            "INSERT INTO workspace (id, name, default_mode) VALUES ($1, 'Bench', 'AI_AUTO_SEND')", workspace
        )
        await pool.execute(_SETTINGS, workspace, _INSTRUCTIONS, {"chat": {"adapter": "discard"}})
        for title, text in _KNOWLEDGE:
            await pool.execute(
                "INSERT INTO knowledge_entry (workspace_id, title, text, verified) VALUES ($1, $2, $3, true)",
                workspace,
                title,
                text,
            )
