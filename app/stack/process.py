"""A child process of the local stack: started tied to us, watched until ready, ended with a bound on the wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
POLL_S = 0.02
LOG_TAIL_CHARS = 1500
LEFTOVER_S_MAX = 10.0
LOOPBACK = "127.0.0.1"


class StackError(RuntimeError):
    """A part of the local stack did not start, or died; the message holds the end of its log."""


class PortTaken(StackError):
    """Somebody else took the port between the choice and the bind."""


@dataclass(frozen=True)
class Plan:
    """What to start: `death_signal` is what the kernel sends it when we die, `user` is (uid, gid) to run as."""

    name: str
    command: list[str]
    folder: Path
    death_signal: signal.Signals = signal.SIGKILL
    user: tuple[int, int] | None = None
    env: Mapping[str, str] | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "log" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Names the process, so that a later start can end what a killed parent left behind."""
        return self.folder / "run" / f"{self.name}.pid"


class Child:
    """One running process. Its log starts anew with each start."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        plan.log.parent.mkdir(parents=True, exist_ok=True)
        plan.pid_file.parent.mkdir(parents=True, exist_ok=True)
        uid, gid = plan.user or (-1, -1)
        leash = [sys.executable, "-IS", str(LEASH), str(os.getpid()), str(int(plan.death_signal)), str(uid), str(gid)]
        with plan.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*leash, *plan.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(plan.env) if plan.env is not None else None,
                start_new_session=True,
            )
        plan.pid_file.write_text(str(self.process.pid))

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], seconds_max: float) -> None:
        """Poll a condition; raises `StackError` when the process ends first or time is up."""
        deadline = time.monotonic() + seconds_max
        while not await ready():
            if not self.alive:
                raise self.error(f"ended with code {self.process.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self.error(f"was not ready within {seconds_max:.0f} s")
            await asyncio.sleep(POLL_S)

    async def ended(self, seconds_max: float) -> int:
        """Wait until it ends by itself; its exit code. Raises `StackError` when time is up."""
        deadline = time.monotonic() + seconds_max
        while self.alive:
            if time.monotonic() > deadline:
                raise self.error(f"did not end within {seconds_max:.0f} s")
            await asyncio.sleep(POLL_S)
        return self.process.returncode

    def error(self, what: str) -> StackError:
        """An error that shows the end of the log; `PortTaken` when the log says so."""
        tail = self.plan.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
        kind = PortTaken if "address already in use" in tail.lower() else StackError
        return kind(f"{self.plan.name} {what}; the end of {self.plan.log}:\n{tail}")

    async def end(self, first: signal.Signals, seconds_max: float, last: signal.Signals = signal.SIGKILL) -> None:
        """Send `first`, wait, send `last` when that was not enough, wait for the end."""
        for number, bound in ((first, seconds_max), (last, LEFTOVER_S_MAX)):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            deadline = time.monotonic() + bound
            while self.alive and time.monotonic() < deadline:  # noqa: ASYNC110  (a process is no event)
                await asyncio.sleep(POLL_S)
            if not self.alive:
                self.plan.pid_file.unlink(missing_ok=True)
                return
        raise StackError(f"{self.plan.name} (process {self.pid}) does not end")


async def end_leftover(plan: Plan, number: signal.Signals = signal.SIGKILL) -> None:
    """End what a killed parent may have left running in this folder; other processes are never touched."""
    try:
        pid = int(plan.pid_file.read_text())
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + LEFTOVER_S_MAX
    while _runs_in(pid, plan.folder):
        if time.monotonic() > deadline:
            raise StackError(f"{plan.name}: process {pid} from an earlier start does not end")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        await asyncio.sleep(POLL_S)
    plan.pid_file.unlink(missing_ok=True)


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether the process lives and names the folder in its arguments (a pid alone may have been given away again)."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def free_port() -> int:
    """A loopback port that is free now; the caller is ready to choose again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


async def accepts(port: int) -> bool:
    """Whether something answers a TCP connect."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old text or the new, never a half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
