"""A small `make chaos`, so that every run of `make prove` has one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.killing import rows_of, run_chaos
from tests.chaos.sends import run_sends

pytestmark = pytest.mark.long


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


@pytest.mark.timeout(300)
async def test_providers_that_fail_and_workers_that_die_never_make_two_of_one(tmp_path: Path) -> None:
    """Sixty sends, each kind of fault in one of twenty, two kills amid calls: one message a draft at most by the
    receivers' own ledgers, and every unknown is settled or shown to a person."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    sends = await run_sends(tmp_path, 60, kills=2, seed=seed, hurry=True)
    assert sends.violations == [], f"seed {seed}"
    assert sends.finished["accepted"] >= 50, sends.table()
    assert sends.killed_amid >= 1, sends.table()
