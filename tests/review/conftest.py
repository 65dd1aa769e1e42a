"""A desk of one's own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.stack.local import LocalStack
from tests.conftest import Database
from tests.review.desk import Desk, desk_at


@pytest.fixture
async def desk(stack: LocalStack, database: Database) -> AsyncIterator[Desk]:
    """The web process over a fresh database; Slack behaves again afterwards."""
    async with desk_at(stack, database) as ready:
        yield ready
    stack.slack.behave(None)
