"""An append-only JSON Lines file that is on disk before the caller goes on; waiting lines share one fsync."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson


class Ledger:
    """One writer per file. After a crash a torn last line is closed, never merged with the next."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")
        sync_folder(path.parent)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, line: Mapping[str, Any]) -> None:
        """Write one line; returns when it is synced."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE), done))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        # A client that goes away cancels its handler; the line is written all the same.
        await asyncio.shield(done)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(None, self._write, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            for _, done in batch:
                if not done.done():
                    done.set_result(None)
        self._flusher = None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)


def read_ledger(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of a ledger; a line that a crash tore is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line)
            except ValueError:
                continue


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def now() -> str:
    """The wall clock, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
