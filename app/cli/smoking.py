"""`smoke`: messages of our own through a running system, in a workspace whose channels deliver to `discard`."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.cli.applying import apply_document
from app.cli.checks import Check, ok, problem, remark
from app.cli.documents import WorkspaceDocument
from app.cli.producing import produce_lines
from app.config import Config
from app.kafka.lagging import GroupReader
from db import sql
from schemas.codes import Action, BookingStatus, Channel, DraftStatus, Gate, KillSwitch, RunStatus, Stage

if TYPE_CHECKING:
    import asyncpg

WORKSPACE: Final = "ws-smoke"
LOOK_S: Final = 0.25
_DOCUMENT: Final[dict[str, Any]] = {
    "workspace_id": WORKSPACE,
    "name": "Smoke tests; delivers to nobody",
    "default_mode": "AI_AUTO_SEND",
    "quiet_window_s": 0,
    "auto_send_revision_enabled": True,
    "channels": {channel.value: {"adapter": "discard"} for channel in Channel},
}
_TAKEN: Final = (BookingStatus.HELD, BookingStatus.CONFIRMED)
_SENDS: Final = (Action.SEND_IMMEDIATE, Action.SEND_DELAYED)
_SLOT_AHEAD: Final = timedelta(hours=26)
_SLOT_MINUTES: Final = 24 * 60
_LOG_BYTES_MAX: Final = 256 * 1024 * 1024
_METRICS_S_MAX: Final = 10.0
_OK: Final = 200


@dataclass(frozen=True)
class Probe:
    """One message, and what must be true of its draft beside what holds for all."""

    name: str
    body: str
    meeting: bool = False
    books: bool = False


def probes(mark: str, slot: str, *, full: bool) -> list[Probe]:
    """`mark` is a word that stands nowhere else: it is looked for in logs and telemetry afterwards."""
    basic = Probe("a question", f"Hello, how do I change the name that others see in my account? {mark}")
    if not full:
        return [basic]
    return [
        basic,
        Probe("pricing", f"Hello, what does the larger plan cost a month, and is there a discount? {mark}"),
        Probe("scheduling", f"Hello, could we schedule a meeting about our move? I am in Europe/Berlin. {mark}", True),
        Probe("a proposed time", f"Hello, please schedule a call with me at {slot}. {mark}", True, books=True),
    ]


class Smoke:
    """One run against a system that is up; nothing of any other workspace is touched."""

    def __init__(self, config: Config, connection: asyncpg.Connection, reader: GroupReader, timeout_s: float) -> None:
        self._config, self._connection, self._reader = config, connection, reader
        self._timeout_s, self._run = timeout_s, secrets.token_hex(4)
        self.mark = f"zq{secrets.token_hex(8)}"

    async def run(
        self, *, full: bool, stack: Path | None, logs: list[Path], metrics: Sequence[str] = ()
    ) -> AsyncIterator[Check]:
        """The checks, as they are done."""
        async for check in self._ready():
            yield check
        begin = await self._provision()
        try:
            slot = begin.isoformat().replace("+00:00", "Z")
            for number, probe in enumerate(probes(self.mark, slot, full=full)):
                async for check in self._probe(number, probe):
                    yield check
        finally:
            await sql.booking.forget_time.run(self._connection, workspace_id=WORKSPACE, starts_at=begin)
        if not full:
            return
        async for check in self._failing_overseer(stack):
            yield check
        for check in [await self._telemetry(), *[await asyncio.to_thread(scan, log, self.mark) for log in logs]]:
            yield check
        for url in metrics:
            yield await scan_metrics(url, self.mark)

    async def _ready(self) -> AsyncIterator[Check]:
        processes = await sql.ops.living_processes.rows(self._connection)
        found = [row["process_id"] for row in processes if row["role"] == "worker"]
        if found:
            yield ok("ready", f"{len(found)} worker(s) with a heart beat")
        else:
            yield problem("ready", "no worker has a heart beat", "start `draft-pipeline worker`")
        idle = sorted({lag.topic for lag in await self._reader.lags({}) if lag.member == "-"})
        if idle:
            yield problem("consumers", f"nobody consumes {', '.join(idle)}", "start `draft-pipeline worker`")
        else:
            yield ok("consumers", "every partition of every topic has one")
        rows = await sql.ops.effective_switches.rows(self._connection)
        self._off = {row["name"] for row in rows if row["disabled"] or row["off_in"]}
        yield ok("switches", f"off: {', '.join(sorted(self._off))}" if self._off else "all on")

    async def _provision(self) -> datetime:
        """The reserved workspace with a free slot, at a time of this run's own; returns it."""
        begin = (datetime.now(UTC) + _SLOT_AHEAD).replace(second=0, microsecond=0)
        begin += timedelta(minutes=secrets.randbelow(_SLOT_MINUTES))
        async with self._connection.transaction():
            document = WorkspaceDocument.model_validate(_DOCUMENT)
            await apply_document(self._connection, document, actor="smoke", reason="smoke", force=True)
            await sql.ops.add_slot.run(
                self._connection, workspace_id=WORKSPACE, starts_at=begin, ends_at=begin + timedelta(minutes=30)
            )
        return begin

    async def _send(self, number: int, body: str) -> str:
        """Send one message of a lead of its own; returns its id."""
        message = f"smoke-{self._run}-{number}"
        record = {
            "schema_version": 1,
            "message_id": message,
            "workspace_id": WORKSPACE,
            "lead_id": f"smoke-lead-{self._run}-{number}",
            "channel": Channel.CHAT,
            "received_at": datetime.now(UTC).isoformat(),
            "body": body,
        }
        await produce_lines(self._config, [json.dumps(record).encode()])
        return message

    async def _probe(self, number: int, probe: Probe, *, overseer_fails: bool = False) -> AsyncIterator[Check]:
        started = time.monotonic()
        row = await self._decided(await self._send(number, probe.body))
        if row is None:
            remedy = "see `draft-pipeline lag`, `draft-pipeline doctor` and the worker's log"
            yield problem(probe.name, f"no decision within {self._timeout_s:g} s", remedy)
            return
        found = self._judge(row, probe, overseer_fails=overseer_fails)
        seconds = time.monotonic() - started
        told = f"{row['action']} ({row['reason']}), confidence {row['after']}, {seconds:.1f} s"
        if found:
            why = f"see `draft-pipeline explain {row['draft_id']}`"
            yield problem(probe.name, f"{told}: {'; '.join(found)}", why)
        else:
            yield ok(probe.name, told)

    async def _decided(self, message: str) -> asyncpg.Record | None:
        """The message's row once its action is recorded, and its send made if there is one."""
        give_up = time.monotonic() + self._timeout_s
        while time.monotonic() < give_up:
            rows = await sql.ops.outcomes_by_workspace.rows(self._connection, workspace_ids=[WORKSPACE])
            row = next((row for row in rows if row["message_id"] == message), None)
            if row is not None and (row["disposition"] not in (Gate.RUN, Gate.WAITING) or _is_settled(row)):
                return row
            await asyncio.sleep(LOOK_S)
        return None

    def _judge(self, row: asyncpg.Record, probe: Probe, *, overseer_fails: bool) -> list[str]:
        """What is not as it must be."""
        sends = row["action"] in _SENDS
        held = KillSwitch.AUTO_SEND_DISABLED in self._off
        wrong = (
            (row["run_status"] != RunStatus.COMPLETED, f"its run is {row['run_status']}"),
            (row["after"] is None, "no confidence was recorded"),
            (row["revision_outcome"] is None, "no revision-result was recorded"),
            (sends and bool(row["hard_blocks"]), "it was sent in spite of a hard block"),
            (sends and held, "it was sent although AUTO_SEND is off"),
            (probe.meeting and row["meeting"] is None, "the overseer's word was not recorded"),
            (overseer_fails and row["meeting"] != "error", "the overseer's failure was not recorded"),
            (
                probe.meeting and not (row["meeting_outcome"] or row["booking"]),
                "what becomes of the meeting was not recorded",
            ),
            (
                probe.books and row["booking"] not in _TAKEN,
                "the free time that was accepted is neither held nor booked",
            ),
            (probe.books and sends and row["booking"] != BookingStatus.CONFIRMED, "it was sent without its booking"),
        )
        return [words for stands, words in wrong if stands]

    async def _failing_overseer(self, stack: Path | None) -> AsyncIterator[Check]:
        """A meeting whose overseer has no answer: the draft goes on without it."""
        if stack is None:
            yield remark("failing overseer", "skipped", "give --stack DIR of `draft-pipeline up` to make it fail")
            return
        body = f"Hello, could we schedule a meeting about the contract? Any appointment is fine. {self.mark}"
        with _overseer_fails(stack):
            async for check in self._probe(99, Probe("failing overseer", body, True), overseer_fails=True):
                yield check

    async def _telemetry(self) -> Check:
        """The messages' own word must be nowhere outside the tables that hold text."""
        found = await sql.ops.tables_that_hold.rows(self._connection, pattern=f"%{self.mark}%", workspace_id=WORKSPACE)
        if found:
            return problem(
                "telemetry", f"holds text: {', '.join(row['place'] for row in found)}", "this is a defect: report it"
            )
        return ok("telemetry", "no text in telemetry, events, audit and heart beats")


def _is_settled(row: asyncpg.Record) -> bool:
    if row["action"] == Action.SEND_IMMEDIATE:
        return bool(row["draft_status"] != DraftStatus.PENDING)
    return bool(row["action"])


@contextmanager
def _overseer_fails(stack: Path) -> Iterator[None]:
    """The scripted model of `stack` answers 500 for the gate, meanwhile."""
    from app.stack.process import write_file

    file = stack / "model.json"
    before = file.read_text() if file.exists() else None
    behaviour: Mapping[str, Any] = json.loads(before) if before else {}
    stages = {**behaviour.get("stages", {}), Stage.MEETING_GATE.value: {"p500": 1}}
    write_file(file, json.dumps({**behaviour, "stages": stages}))
    try:
        yield
    finally:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            write_file(file, before)


def scan(log: Path, mark: str) -> Check:
    """Whether a log file holds the messages' word."""
    with log.open("rb") as file:
        for number, line in enumerate(file, 1):
            if mark.encode() in line:
                return problem(
                    f"log {log.name}", f"line {number} holds text of a message", "this is a defect: report it"
                )
            if file.tell() > _LOG_BYTES_MAX:
                return remark(f"log {log.name}", f"only the first {_LOG_BYTES_MAX} bytes were read")
    return ok(f"log {log.name}", "no text of a message")


async def scan_metrics(url: str, mark: str) -> Check:
    """Whether what a process tells Prometheus holds the messages' word."""
    import aiohttp

    name = f"metrics {url}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_METRICS_S_MAX)) as session,
            session.get(url) as response,
        ):
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return problem(name, f"no answer ({type(error).__name__})", "correct the address")
    if response.status != _OK:
        return problem(name, f"answers {response.status}", "correct the address; web needs WEB_METRICS_PORT")
    if mark in text:
        return problem(name, "holds text of a message", "this is a defect: report it")
    return ok(name, "no text of a message")
