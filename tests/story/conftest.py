"""Stories share the pipelines of their module; each story has workspaces and leads of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.story.desk import Desk, opened
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Workspace


@pytest.fixture(scope="module")
async def flow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Two workers, nothing provisioned but the workspace of the shared file."""
    insurance = Workspace("ws-insurance", settings={"quiet_window_s": 2.0})
    async with pipeline(tmp_path_factory.mktemp("flow"), workers=2, workspaces=[insurance]) as running:
        yield running


@pytest.fixture
async def well_behaved(flow: Pipeline) -> AsyncIterator[Pipeline]:
    """The shared pipeline; its stand-ins behave again after the story."""
    yield flow
    for part in (flow.stack.model, flow.stack.mail, flow.stack.webhook):
        part.behave(None)


@pytest.fixture(scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A pipeline with web pages and a past, where commands and snippets are typed."""
    async with opened(tmp_path_factory.mktemp("typed"), tmp_path_factory.mktemp("stack")) as found:
        yield found
