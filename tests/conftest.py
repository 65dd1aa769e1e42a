"""One local stack per session, one fresh database per test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from app.stack.local import LocalStack
from db import migrate

TEMPLATE = "template_pipeline"
_numbers = itertools.count(1)


TEMPORARY_ROOT = "PYTEST_DEBUG_TEMPROOT"
if TEMPORARY_ROOT not in os.environ:
    # A root of this run's own: a pytest that starts closes the shared one of its user to everybody else, also to the
    # Postgres of another run, which runs as a user of its own. The processes of one run inherit it.
    os.environ[TEMPORARY_ROOT] = tempfile.mkdtemp(prefix="draft-pipeline-tests-")
    Path(os.environ[TEMPORARY_ROOT]).chmod(0o711)
    _exit_codes: list[int] = []
else:
    _exit_codes = [1]  # somebody else's root is not ours to remove


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts a run in the background has it ignored, and every process that a test starts inherits that:
    # those that are to be interrupted would go on.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(exitstatus: int) -> None:
    _exit_codes.append(int(exitstatus))


def pytest_unconfigure() -> None:
    """What a run that failed has written is kept."""
    if not any(_exit_codes):
        shutil.rmtree(os.environ[TEMPORARY_ROOT], ignore_errors=True)


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    name: str
    url: str


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Every part of the local stack; a test that stops a part starts it again."""
    async with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
async def template_database(stack: LocalStack) -> str:
    """The schema, applied once; tests get copies."""
    await administer(stack, f"CREATE DATABASE {TEMPLATE}")
    await apply_schema(stack.postgres.url_of(TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def database(stack: LocalStack, template_database: str) -> AsyncIterator[Database]:
    """A fresh database with the schema, gone after the test."""
    name = f"test_{next(_numbers)}"
    await administer(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield Database(name, stack.postgres.url_of(name))
    await administer(stack, f"DROP DATABASE {name} WITH (FORCE)")


async def apply_schema(url: str) -> None:
    """Bring a database to the schema of this checkout."""
    await migrate.apply(url)


async def administer(stack: LocalStack, statement: str) -> None:
    """Run one statement as the superuser, outside of any test's database."""
    connection = await asyncpg.connect(stack.postgres.url_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
