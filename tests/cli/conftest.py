"""The command line as people call it: a process of its own, with addresses in its environment."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import asyncpg
import pytest

from app.config import Config
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from db.pool import connect
from tests.cli.preloaded import run_command
from tests.conftest import Database

KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")
COMMAND_S_MAX = 60.0


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli(Protocol):
    async def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended: ...


# A command is a fork of a process that has imported what commands import: 20 ms, and not half a second, of CPU.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.cli.preloaded"])


@pytest.fixture
def cli(tmp_path: Path, database: Database) -> Cli:
    """Runs `draft-pipeline ARGUMENTS` in an empty folder, against this test's database unless `env` says otherwise."""

    async def call(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        addresses = {"DATABASE_URL": database.url} if env is None else env
        with TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("in", "out", "err")]
            streams[0].write_bytes(stdin)
            process = _forks.Process(
                target=run_command, args=(arguments, {**kept, **addresses}, str(tmp_path), *map(str, streams))
            )
            await asyncio.to_thread(process.start)
            await asyncio.to_thread(process.join, COMMAND_S_MAX)
            assert process.exitcode is not None, f"{arguments} still runs after {COMMAND_S_MAX:.0f} s"
            out, err = (stream.read_bytes() for stream in streams[1:])
        assert b"Traceback" not in err, err.decode()
        return Ended(process.exitcode, out.decode(), err.decode())

    return call


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """One connection to this test's database."""
    connected = await connect(database.url)
    yield connected
    await connected.close()


@pytest.fixture(scope="package")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """A broker of our own with all topics: what is produced here must meet no other test's worker."""
    async with LocalStack(tmp_path_factory.mktemp("broker"), ("kafka",)) as stack:
        await create_topics(config_of(stack.env), 1)
        yield stack


def config_of(env: Mapping[str, str]) -> Config:
    values: dict[str, Any] = {name.lower(): value for name, value in env.items()}
    return Config(_env_file=None, **values)


@pytest.fixture
def env(broker: LocalStack, database: Database) -> dict[str, str]:
    """The broker's and this test's database's addresses."""
    return {**broker.env, "DATABASE_URL": database.url}
