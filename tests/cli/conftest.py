"""The command line as people call it: a process of its own, with addresses in its environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from app.config import Config
from app.kafka.topics import create_topics
from app.stack.local import LocalStack
from db.pool import connect
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


@pytest.fixture
def cli(tmp_path: Path, database: Database) -> Cli:
    """Runs `draft-pipeline ARGUMENTS` in an empty folder, against this test's database unless `env` says otherwise."""

    async def call(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        addresses = {"DATABASE_URL": database.url} if env is None else env
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**kept, **addresses},
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), COMMAND_S_MAX)
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Ended(process.returncode, out.decode(), err.decode())

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
