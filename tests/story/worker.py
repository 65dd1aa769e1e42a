"""A real worker process: `draft-pipeline worker` in a folder of its own, its output in a file."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from app.stack.process import Child, Plan

START_S_MAX = 40.0
POLL_S = 0.05
STOP_S_MAX = 40.0
# Faust keeps a folder beside itself, so each worker gets a working directory of its own.
COMMAND = "import os, sys; os.chdir(sys.argv.pop(1)); from app.cli import main; main()"
_CONSUMING = re.compile(rb"^worker (\S+) is consuming$", re.MULTILINE)
_KEPT = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")


class Worker:
    """One worker. Start it, wait until it consumes, end it gently or not."""

    def __init__(self, folder: Path, name: str, env: Mapping[str, str]) -> None:
        self.name = name
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        command = [sys.executable, "-c", COMMAND, str(home), "worker"]
        self._plan = Plan(name, command, folder, env={**kept, **env})
        self._child: Child | None = None
        self.process_id = ""
        self.ended_at = 0.0

    @property
    def log(self) -> Path:
        """Everything it printed, both streams."""
        return self._plan.log

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        """The process's own number."""
        assert self._child is not None
        return self._child.process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; a negative signal number when a signal did it."""
        return self._child.process.poll() if self._child else None

    def start(self) -> None:
        """Start it; it is not consuming yet."""
        self._child = Child(self._plan)

    async def consuming(self) -> None:
        """Wait until it said that it consumes."""
        assert self._child is not None

        async def said() -> bool:
            found = _CONSUMING.search(self.log.read_bytes())
            self.process_id = found[1].decode() if found else ""
            return found is not None

        await self._child.wait_until(said, START_S_MAX)

    async def gone(self, timeout_s: float) -> None:
        """Wait until the process ended by itself."""
        give_up = time.monotonic() + timeout_s
        while self.alive:
            assert time.monotonic() < give_up, f"{self.name} still runs after {timeout_s:.0f} s"
            await asyncio.sleep(POLL_S)
        self.ended_at = time.monotonic()

    async def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            await self._child.end(signal.SIGKILL, STOP_S_MAX)
            self.ended_at = time.monotonic()

    async def terminate(self, seconds_max: float = STOP_S_MAX) -> int:
        """SIGTERM; the exit code. It is killed, and that shows in the code, when it takes longer."""
        assert self._child is not None
        await self._child.end(signal.SIGTERM, seconds_max)
        self.ended_at = time.monotonic()
        return self._child.process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Any other signal: SIGSTOP and SIGCONT make a zombie and wake it."""
        assert self._child is not None
        self._child.process.send_signal(number)
