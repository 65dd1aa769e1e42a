"""One database for the tests of a module that clear up after themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.stack.local import LocalStack
from tests.conftest import Database, administer
from tests.db.sending import Sending, sending


@pytest.fixture(scope="module")
async def shared(stack: LocalStack, template_database: str) -> AsyncIterator[Database]:
    """A database with the schema; whoever uses it leaves it as it was."""
    name = "shared_by_module"
    await administer(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield Database(name, stack.postgres.url_of(name))
    await administer(stack, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def one(shared: Database) -> AsyncIterator[Sending]:
    """One draft with an automatic send that is due."""
    async with sending(shared, 1) as made:
        yield made


@pytest.fixture
async def asked(shared: Database) -> AsyncIterator[Sending]:
    """One draft that waits for a person."""
    async with sending(shared, 1, scheduled=False) as made:
        yield made
