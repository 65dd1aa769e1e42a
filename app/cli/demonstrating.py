"""What `demo` does, from the first process to the last."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.live import Live

from app.cli.applying import apply_document
from app.cli.demo_messages import KNOWLEDGE, LEGACY, SOFTWARE, TRAVEL, documents, samples
from app.cli.demo_view import IN_WORK, Picture, live_table, outcome_of, summary
from app.cli.documents import WorkspaceDocument
from app.cli.idle import wait_until_idle, words
from app.cli.shell import OK, PROBLEM, connection_to, console, say
from app.cli.token import make_token
from app.config import Config
from app.kafka.lagging import GroupReader, group_reader
from app.kafka.producer import new_producer
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from app.stack.process import LOOPBACK, Child, Plan, free_port
from app.stack.up import write_env
from app.web.identity import sign_in_link
from db import migrate, sql
from schemas.codes import KillSwitch, Role
from schemas.limits import SIGN_IN_LINK_S_MAX
from schemas.topics import DEAD_LETTER, INBOUND_MESSAGE

if TYPE_CHECKING:
    import asyncpg

WORKSPACES: Final = (SOFTWARE, TRAVEL, LEGACY)
WORKERS: Final = 2
WORKER_READY_S_MAX: Final = 60.0
WORKER_STOP_S_MAX: Final = 20.0
IDLE_S_MAX: Final = 60.0
LOOK_S: Final = 0.4
LINE_S: Final = 3.0
MODEL_BEHAVIOUR: Final = {"default": {"latency_ms": 60, "latency_ms_max": 260}}
_CONSUMING: Final = "is consuming"
_SLOT_HOURS: Final = (26, 27, 50)


async def demonstrate(directory: Path, keep: bool) -> int:
    """Run the demo in `directory`; ends cleanly on SIGTERM and SIGINT, whatever it was doing."""
    logging.getLogger().addHandler(logging.NullHandler())
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = time.monotonic()
    say(f"demo: starting broker, database, scripted model, mailbox, webhook receiver and Slack stand-in in {directory}")
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(LocalStack(directory))
        config, env_file = config_of(local.env), directory / "env"
        write_env(env_file, local.env)
        local.model.behave(MODEL_BEHAVIOUR)
        await migrate.apply(local.postgres.url)
        await create_topics(config, 1)
        connection = await stack.enter_async_context(connection_to(local.postgres.url))
        slot = await provision(connection, local)
        pages = await stack.enter_async_context(web_pages(local))
        await stack.enter_async_context(workers(local))
        say(f"demo: {WORKERS} workers are consuming after {time.monotonic() - started:.0f} s")
        say(f"demo: web pages at {await sign_in_at(connection, pages)}")
        reader = await stack.enter_async_context(group_reader(config))
        code = await Demo(config, connection, reader, slot).run()
        await next_steps(connection, directory, env_file, pages, keep)
        if keep:
            say("demo: everything stays up until Ctrl-C")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        say("demo: stopping")
    return code


def config_of(env: Mapping[str, str]) -> Config:
    """The configuration that a process with exactly these variables would have."""
    values: dict[str, Any] = {name.lower(): value for name, value in env.items()}
    return Config(_env_file=None, **values)


@asynccontextmanager
async def workers(local: LocalStack, count: int = WORKERS) -> AsyncIterator[None]:
    """Worker processes, tied to this one; no kill switch of the environment reaches them."""
    hidden = {
        "WORKER_ID": "",
        "WORKER_HTTP_PORT": "",
        "LOG_LEVEL": "INFO",
        **{switch.value: "0" for switch in KillSwitch},
    }
    env = {**os.environ, **local.env, **hidden}
    command = [sys.executable, "-m", "app.cli", "worker"]
    children = [Child(Plan(f"worker-{number + 1}", command, local.dir, env=env)) for number in range(count)]
    try:
        ready = (child.wait_until(partial(_consumes, child), WORKER_READY_S_MAX) for child in children)
        await asyncio.gather(*ready)
        yield
    finally:
        await asyncio.gather(*(child.end(signal.SIGTERM, WORKER_STOP_S_MAX) for child in children))


@asynccontextmanager
async def web_pages(local: LocalStack) -> AsyncIterator[str]:
    """The web process; yields the address of its pages as soon as it is started."""
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    env = {**os.environ, **local.env, "PUBLIC_URL": address, "LOG_LEVEL": "INFO"}
    command = [sys.executable, "-m", "app.cli", "web", "--port", str(port)]
    child = Child(Plan("web", command, local.dir, env=env))
    try:
        yield address
    finally:
        await child.end(signal.SIGTERM, WORKER_STOP_S_MAX)


async def sign_in_at(connection: asyncpg.Connection, pages: str) -> str:
    """A link that signs one browser in as a super-admin."""
    expires = datetime.now(UTC) + timedelta(seconds=SIGN_IN_LINK_S_MAX)
    token = await make_token(connection, "demo", Role.SUPER_ADMIN, None, expires, one_time=True, by="demo")
    return sign_in_link(pages, token)


async def _consumes(child: Child) -> bool:
    return _CONSUMING in child.plan.log.read_text(errors="replace")


async def provision(connection: asyncpg.Connection, local: LocalStack) -> str:
    """Workspaces, knowledge and free slots; returns the time of a slot, RFC 3339."""
    sink = local.env["WEBHOOK_SINK_URL"]
    async with connection.transaction():
        for document in documents(sink, secrets.token_urlsafe(16)):
            read = WorkspaceDocument.model_validate(document)
            await apply_document(connection, read, actor="demo", reason="demo", force=True)
        for workspace, title, text in KNOWLEDGE:
            await sql.ops.add_knowledge.run(connection, workspace_id=workspace, title=title, text=text, verified=True)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for workspace in (SOFTWARE, TRAVEL):
            for hours in _SLOT_HOURS:
                begin = hour + timedelta(hours=hours)
                end = begin + timedelta(minutes=30)
                await sql.ops.add_slot.run(connection, workspace_id=workspace, starts_at=begin, ends_at=end)
    return (hour + timedelta(hours=_SLOT_HOURS[0])).isoformat().replace("+00:00", "Z")


class Demo:
    """One run: what was sent, and how it looks."""

    def __init__(self, config: Config, connection: asyncpg.Connection, reader: GroupReader, slot: str) -> None:
        self._config, self._connection, self._reader, self._slot = config, connection, reader, slot
        self._samples, self._sent, self._run = samples(), 0, secrets.token_hex(3)

    async def run(self) -> int:
        """Send, show, wait, sum up."""
        began = time.monotonic()
        sending = asyncio.create_task(self._send())
        try:
            await self._show_until(sending)
            left = await self._settled()
        finally:
            sending.cancel()
        picture, seconds = await self._picture(), time.monotonic() - began
        spent = await sql.ops.spent_by_workspace.rows(self._connection, workspace_ids=list(WORKSPACES))
        lag = sum(count for name, count in left.items() if name.startswith("lag"))
        console().print()
        summary(picture, WORKSPACES, spent, lag, seconds)
        if left:
            say(f"demo: not everything was done within {IDLE_S_MAX:.0f} s: {words(left)}")
        return PROBLEM if left else OK

    async def _send(self) -> None:
        producer = new_producer(self._config)
        await producer.start()
        try:
            for number, sample in enumerate(self._samples):
                await asyncio.sleep(sample.pause_s)
                value = sample.record(number, self._run, self._slot, datetime.now(UTC))
                key = f"{sample.lead}-{self._run}".encode() if sample.lead else None
                await producer.send_and_wait(INBOUND_MESSAGE.name, value, key=key)
                self._sent += 1
        finally:
            await producer.stop()

    async def _picture(self) -> Picture:
        rows = await sql.ops.outcomes_by_workspace.rows(self._connection, workspace_ids=list(WORKSPACES))
        dead = await sql.ops.events_on.value(self._connection, topic=DEAD_LETTER.name)
        return Picture([dict(row) for row in rows], dead)

    async def _show_until(self, sending: asyncio.Task[None]) -> None:
        """Redraw until everything is sent and nothing is in work; plain lines where no table can move."""
        give_up = time.monotonic() + IDLE_S_MAX
        with Live(console=console(), transient=True, auto_refresh=False, screen=False) as live:
            shown, shown_at = "", 0.0
            while time.monotonic() < give_up:
                picture = await self._picture()
                if live.console.is_terminal:
                    live.update(live_table(picture, WORKSPACES, self._sent, len(self._samples)), refresh=True)
                elif picture.line != shown and time.monotonic() - shown_at >= LINE_S:
                    shown, shown_at = picture.line, time.monotonic()
                    say(f"demo: {self._sent} of {len(self._samples)} sent: {shown}")
                if sending.done():
                    await sending
                    if all(outcome_of(row) != IN_WORK for row in picture.rows) and self._all_seen(picture):
                        return
                await asyncio.sleep(LOOK_S)

    def _all_seen(self, picture: Picture) -> bool:
        return len(picture.rows) + picture.dead_letters >= len(self._samples)

    async def _settled(self) -> Mapping[str, int]:
        return await wait_until_idle(self._connection, self._reader, IDLE_S_MAX, lambda left: None)


async def next_steps(connection: asyncpg.Connection, directory: Path, env_file: Path, pages: str, keep: bool) -> None:
    """What to look at now."""
    rows = await sql.ops.outcomes_by_workspace.rows(connection, workspace_ids=list(WORKSPACES))
    chosen = next((row["draft_id"] for row in rows if row["revised"]), None)
    mails = len(list((directory / "mailbox").glob("*.eml")))
    print(f"\n{mails} mails were accepted by the local mailbox; what each stage was asked is in model.jsonl.")
    if not keep:
        print("Look around with: draft-pipeline demo --keep --dir .demo")
        return
    print(f"Look around: {await sign_in_at(connection, pages)}")
    print("This link signs one browser in. In another terminal:")
    another = "token create --name you --role super_admin"
    for command in (f"explain {chosen}", "lag", "runs list", "dead-letters list", "switch list", another):
        print(f"  draft-pipeline {command} --env-file {env_file}")
    print(f"  mails: {directory / 'mailbox'}, calls of the model: {directory / 'model.jsonl'}")
