"""One database for the tests of a module that clear up after themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.stack.local import LocalStack
from tests.conftest import Database, administer


@pytest.fixture(scope="module")
async def shared(stack: LocalStack, template_database: str) -> AsyncIterator[Database]:
    """A database with the schema; whoever uses it leaves it as it was."""
    name = "shared_by_module"
    await administer(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield Database(name, stack.postgres.url_of(name))
    await administer(stack, f"DROP DATABASE {name} WITH (FORCE)")
