"""The worker's view of its ingest process: started, listened to, started again when it dies, ended with the worker."""

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from app.config import Config
from app.metrics.passing_on import ChildSamples
from schemas.limits import INGEST_GRACE_S

log = structlog.get_logger()

_RESTART_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
_LINE_BYTES_MAX: Final = 1024 * 1024
_CRASH_VARIABLE: Final = "DRAFT_PIPELINE_CRASH_AT"


def _die_with_parent() -> None:
    """On Linux the kernel ends the child when its parent is killed; elsewhere the closed pipe does, a little later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _line_of(stream: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end; an empty one in place of a line that is too long."""
    try:
        return await stream.readline()
    except ValueError:
        return b"\n"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it unless it has ended: one that nobody listens to blocks on its pipe and keeps its partitions."""
    if process.returncode is None:
        process.kill()
        await process.wait()


class IngestChild:
    """One ingest process at a time. `figures` is what it last told; `told` is called whenever it tells something."""

    def __init__(self, config: Config, told: Callable[[], None]) -> None:
        self._told = told
        self._environment = {**os.environ, **config.environment()}
        self._process: asyncio.subprocess.Process | None = None
        self._consuming = asyncio.Event()
        self._told_at = time.monotonic()
        self._stopping = False
        self.figures: dict[str, Any] = {}
        self.samples = ChildSamples()
        self.starts = 0

    @property
    def silent_s(self) -> float:
        """Seconds since it last told anything, or since its fetch loop last ran, whichever is longer."""
        return max(time.monotonic() - self._told_at, float(self.figures.get("fetch_age_s", 0.0)))

    @property
    def broker_silent_s(self) -> float:
        """How long its oldest request to the broker has been waiting for an answer."""
        return float(self.figures.get("broker_silent_s", 0.0))

    @property
    def consuming(self) -> bool:
        return bool(self.figures.get("consuming"))

    async def run(self) -> None:
        """Keep one running until cancelled or stopped."""
        while not self._stopping:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.ingest_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                limit=_LINE_BYTES_MAX,
                preexec_fn=_die_with_parent,
            )
            self.starts += 1
            try:
                await self._listen(process)
                code = await process.wait()
            finally:
                await _end(process)
                self.figures = {}
                self.samples.ended()
            if not self._stopping:
                log.error("ingest_process_died", code=str(code))
                self._environment.pop(_CRASH_VARIABLE, None)
                await asyncio.sleep(_RESTART_S)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout is not None and (line := await _line_of(process.stdout)):
            try:
                told = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(told, dict):
                continue
            if "samples" in told:
                self.samples.told(told["samples"])
                continue
            self.figures = told
            self._told_at = time.monotonic()
            self._told()
            if self.consuming:
                self._consuming.set()

    async def wait_consuming(self) -> None:
        """Return when it consumes for the first time."""
        await self._consuming.wait()

    async def stop(self) -> None:
        """Let it finish what it took; end it when it does not."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), INGEST_GRACE_S * 2)
        except TimeoutError:
            process.kill()
            await process.wait()
