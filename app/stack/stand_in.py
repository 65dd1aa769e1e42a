"""Our side of a stand-in server: start it, know its port, change its behaviour, read its ledger."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.stack.ledger import read_ledger
from app.stack.process import LOOPBACK, Child, Plan, accepts, end_leftover, write_file
from app.stack.serving import port_file

READY_S_MAX = 30.0
STOP_S_MAX = 5.0


class StandIn:
    """A stand-in process of a stack folder: `model`, `mail`, `webhook` or `slack`. A restart keeps the port."""

    def __init__(self, name: str, module: str, dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.folder = dir.resolve()
        self.port = 0
        self._module = module
        self._env = {**os.environ, **env} if env else None
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The HTTP address, without a slash at the end."""
        return f"http://{self.address}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start; returns when it accepts connections."""
        command = [sys.executable, "-m", self._module, "--dir", str(self.folder), "--port", str(self.port)]
        plan = Plan(self.name, command, self.folder, env=self._env)
        await end_leftover(plan)
        port_file(self.folder, self.name).unlink(missing_ok=True)
        self._child = Child(plan)
        try:
            await self._child.wait_until(self._reported, READY_S_MAX)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self._child:
            await self._child.end(signal.SIGTERM, STOP_S_MAX)
            self._child = None

    async def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._child:
            await self._child.end(signal.SIGKILL, STOP_S_MAX)
            self._child = None

    def behave(self, behaviour: Mapping[str, Any] | None) -> None:
        """Write the behaviour file, or take it away; it holds from the next request on."""
        file = self.folder / f"{self.name}.json"
        if behaviour is None:
            file.unlink(missing_ok=True)
        else:
            write_file(file, json.dumps(behaviour))

    def ledger(self) -> list[dict[str, Any]]:
        """Every line the stand-in wrote so far."""
        return list(read_ledger(self.folder / f"{self.name}.jsonl"))

    async def _reported(self) -> bool:
        report = port_file(self.folder, self.name)
        if not report.exists():
            return False
        self.port = int(report.read_text())
        return await accepts(self.port)
