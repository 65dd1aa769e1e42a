"""A measured child process: tied to us, told by lines what to do, read from /proc what it used."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.stack.leash import __file__ as LEASH
from tests.bench.cpu import cpu_s, rss_mb

ROOT: Final = Path(__file__).resolve().parents[2]
READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 60.0
_SWITCHES: Final = ("AUTO_SEND_DISABLED", "AUTO_SEND_REVISION_DISABLED", "LEAD_CONTEXT_BUNDLE_DISABLED")


class BenchError(Exception):
    """A measurement that is worth nothing; one sentence says why."""


class Process:
    """`python -m MODULE ARGUMENTS`. It speaks in lines on stdout; its stderr goes to a file."""

    def __init__(self, child: asyncio.subprocess.Process, log: Path) -> None:
        self._child, self._log = child, log

    @classmethod
    async def start(cls, module: str, *arguments: str, env: Mapping[str, str], log: Path) -> Process:
        """Start with our environment, less its kill switches, plus `env`."""
        ours = {name: value for name, value in os.environ.items() if name not in _SWITCHES}
        leash = ["-IS", LEASH, str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
        with log.open("ab") as file:
            child = await asyncio.create_subprocess_exec(
                sys.executable, *leash, sys.executable, "-m", module, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=file,
                cwd=ROOT, env={**ours, **env},
            )  # fmt: skip
        return cls(child, log)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def line(self, seconds_max: float = READY_S_MAX) -> str:
        """Its next line. Raises BenchError when it ends or stays silent."""
        out = self._child.stdout
        try:
            raw = await asyncio.wait_for(out.readline(), seconds_max) if out is not None else b""
        except TimeoutError:
            raise BenchError(f"{self._log.stem} said nothing for {seconds_max:.0f} s{self._tail()}") from None
        if not raw:
            raise BenchError(f"{self._log.stem} ended{self._tail()}")
        return raw.decode().strip()

    async def ask(self, command: str, seconds_max: float) -> str:
        """Send one line, wait for one."""
        pipe = self._child.stdin
        if pipe is None:
            raise BenchError("no stdin")
        pipe.write(f"{command}\n".encode())
        await pipe.drain()
        return await self.line(seconds_max)

    def cpu_s(self) -> float:
        """User and system time so far, in seconds, its children's included."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory in MB, its children's included."""
        return rss_mb(self.pid)

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    async def stop(self, seconds_max: float = STOP_S_MAX) -> None:
        """SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._child.returncode is not None:
                return
            self._child.send_signal(number)
            try:
                await asyncio.wait_for(self._child.wait(), seconds_max)
            except TimeoutError:
                continue

    async def kill(self) -> None:
        """SIGKILL."""
        if self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace")[-500:].strip()
        return f"; the end of its log: {text}" if text else ""
