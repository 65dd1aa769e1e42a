"""A small `make chaos`, so that every run of the tests has one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.killing import rows_of, run_chaos


@pytest.mark.timeout(300)
async def test_workers_killed_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    """Six kills amid three hundred real messages: every guarantee holds, and most of the work was done."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chaos = await run_chaos(tmp_path, rows_of("insurance", 300), kills=6, seed=seed, workers=2)
    assert chaos.violations == [], f"seed {seed}"
    assert len(chaos.takeovers) == 6
    assert chaos.finished["accepted"] >= 15, chaos.table()
    assert chaos.finished["action:needs_review"] >= 3, chaos.table()
