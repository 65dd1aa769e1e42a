"""The worker's view of an ingest process that says what nobody expects."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from app.config import Config
from app.ingest_child import IngestChild

SPEAKS = """#!{python}
import time
print("x" * 3_000_000)
print("[1]")
print("[" * 100_000)
print('{{"consuming": true}}', flush=True)
time.sleep(600)
"""


@pytest.fixture
def speaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the ingest process one that writes a line that is too long, and JSON that is no object."""
    script = tmp_path / "ingest"
    script.write_text(SPEAKS.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


async def test_what_it_says_beside_its_figures_is_passed_over(speaking: None) -> None:
    """The line after is heard, of the same process."""
    child = IngestChild(Config(_env_file=None), lambda: None)
    running = asyncio.create_task(child.run())
    try:
        await asyncio.wait_for(child.wait_consuming(), 20)
        assert (child.starts, running.done()) == (1, False)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_process_that_nobody_listens_to_any_more_is_ended(speaking: None) -> None:
    """Whatever ends the listening: its partitions are for the next one."""

    def fail() -> None:
        raise ZeroDivisionError

    child = IngestChild(Config(_env_file=None), fail)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(child.run(), 20)
    assert child._process is not None
    assert child._process.returncode is not None
    assert child.figures == {}
