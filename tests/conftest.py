"""One local stack per session, one fresh database per test."""

from __future__ import annotations

import hashlib
import itertools
import os
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


def temporary_root() -> Path:
    """A root of this checkout's own: a pytest that starts closes the shared one of its user to everybody else, also to
    the Postgres of another copy's tests, which runs as a user of its own."""
    checkout = hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()[:8]
    root = Path(tempfile.gettempdir()) / f"draft-pipeline-tests-{checkout}"
    root.mkdir(mode=0o711, exist_ok=True)
    return root


os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(temporary_root()))


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
