"""`produce`: JSON Lines to `inbound-message`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, Problem, emit, progress, run, say

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()

_IN_FLIGHT_MAX: Final = 2_000
_PROBLEMS_SHOWN_MAX: Final = 20


@dataclass
class Produced:
    """What came of a file. `not_valid` lines were sent as they are: the pipeline dead-letters them."""

    sent: int = 0
    failed: int = 0
    not_valid: int = 0
    without_key: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Line:
    """One record to be: the bytes, the key, and whether it keeps the contract."""

    value: bytes
    key: bytes | None
    valid: bool


@group.command(epilog="Example: draft-pipeline produce messages.jsonl --now --rate 50", rich_help_panel="Run")
def produce(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines; - reads stdin.")],
    now: Annotated[bool, typer.Option("--now", help="Replace received_at by the time of producing.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second; unpaced without.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Send nothing when a line breaks the contract.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Send every line to inbound-message, keyed by its lead_id. Lines that break the contract are sent as they are."""

    async def work(config: Config) -> int:
        lines = read_lines(file)
        if check:
            _refuse_broken(lines)
        with progress(len(lines), "producing") as advance:
            produced = await produce_lines(config, lines, now=now, rate=rate, advance=advance)
        if as_json:
            emit(asdict(produced))
        else:
            print(_summary(produced))
        return PROBLEM if produced.failed else OK

    run(env_file, "kafka", work)


def read_lines(file: Path) -> list[bytes]:
    """The lines that are not blank, as they are."""
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return [line.removesuffix(b"\r") for line in content.split(b"\n") if line.strip()]


async def produce_lines(
    config: Config,
    lines: list[bytes],
    *,
    now: bool = False,
    rate: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Produced:
    """Send `lines` with an idempotent producer; returns when the broker has answered for all."""
    from app.kafka.producer import new_producer
    from app.kafka.topics import missing_topics
    from schemas.topics import INBOUND_MESSAGE

    if await missing_topics(config, [INBOUND_MESSAGE.name]):
        raise Problem(f"topic {INBOUND_MESSAGE.name} is missing: run `draft-pipeline topics create`")
    produced, started, room = Produced(), time.monotonic(), asyncio.Semaphore(_IN_FLIGHT_MAX)
    producer = new_producer(config)
    await producer.start()

    def done(future: asyncio.Future[Any]) -> None:
        room.release()
        advance()
        if future.exception() is None:
            produced.sent += 1
        else:
            produced.failed += 1

    try:
        async for raw in _paced(lines, rate):
            line = line_of(raw, now=now)
            produced.not_valid += not line.valid
            produced.without_key += line.key is None
            await room.acquire()
            await _send(producer, INBOUND_MESSAGE.name, line, done)
    finally:
        await producer.stop()
    produced.seconds = round(time.monotonic() - started, 3)
    return produced


async def _send(producer: Any, topic: str, line: Line, done: Callable[[asyncio.Future[Any]], None]) -> None:
    from aiokafka.errors import KafkaError

    try:
        future: asyncio.Future[Any] = await producer.send(topic, line.value, key=line.key)
    except KafkaError as error:  # too large for any broker: this line fails, the others go on
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
    future.add_done_callback(done)


async def _paced(lines: list[bytes], rate: float | None) -> AsyncIterator[bytes]:
    """The lines, the n-th not before n / rate seconds have passed."""
    started = time.monotonic()
    for number, line in enumerate(lines):
        if rate is not None and (ahead := started + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        yield line


def line_of(raw: bytes, *, now: bool = False) -> Line:
    """A line with its key, and with `received_at` replaced if asked; what is no JSON object stays as it is."""
    import orjson

    from agents.reading import Unreadable, read_event
    from schemas.events import InboundMessage

    valid = not isinstance(read_event(InboundMessage, raw), Unreadable)
    try:
        parsed = orjson.loads(raw)
    except ValueError:
        return Line(raw, None, valid)
    if not isinstance(parsed, dict):
        return Line(raw, None, valid)
    lead = parsed.get("lead_id")
    key = lead.encode() if isinstance(lead, str) and lead else None
    if now and "received_at" in parsed:
        raw = orjson.dumps({**parsed, "received_at": datetime.now(UTC).isoformat()})
    return Line(raw, key, valid)


def _refuse_broken(lines: list[bytes]) -> None:
    """Raise Problem when a line breaks the contract; say which and how, never with its content."""
    from agents.reading import Unreadable, read_event
    from schemas.events import InboundMessage

    read = [(number, read_event(InboundMessage, line)) for number, line in enumerate(lines, 1)]
    broken = [(number, what) for number, what in read if isinstance(what, Unreadable)]
    for number, what in broken[:_PROBLEMS_SHOWN_MAX]:
        say(f"line {number}: {what.code}: {what.error}")
    if broken:
        raise Problem(f"{len(broken)} of {len(lines)} lines break the contract; nothing was sent")


def _summary(produced: Produced) -> str:
    pace = produced.sent / produced.seconds if produced.seconds else 0.0
    remarks = [
        f"{produced.not_valid} break the contract" if produced.not_valid else "",
        f"{produced.without_key} without key" if produced.without_key else "",
        f"{produced.failed} FAILED" if produced.failed else "",
    ]
    told = "".join(f", {remark}" for remark in remarks if remark)
    return f"sent {produced.sent} records to inbound-message in {produced.seconds:.2f} s ({pace:.0f}/s){told}"
