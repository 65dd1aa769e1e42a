"""One desk for all tests of reviewing; each begins with empty tables."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.stack.local import LocalStack
from tests.conftest import Database, administer
from tests.review.desk import Desk, desk_at


@pytest.fixture(scope="package")
async def running_desk(stack: LocalStack, template_database: str) -> AsyncIterator[Desk]:
    """The web process over a database of its own."""
    await administer(stack, f"CREATE DATABASE desk TEMPLATE {template_database}")
    async with desk_at(stack, Database("desk", stack.postgres.url_of("desk"))) as ready:
        yield ready
    await administer(stack, "DROP DATABASE desk WITH (FORCE)")


@pytest.fixture
async def desk(running_desk: Desk) -> AsyncIterator[Desk]:
    """An empty desk; Slack behaves again afterwards."""
    await running_desk.clear()
    yield running_desk
    running_desk.stack.slack.behave(None)
