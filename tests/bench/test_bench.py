"""The bench itself: it measures work that was done, and says what it found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.bench.__main__ import measure
from tests.bench.figures import Failure, Figure, table, write_json
from tests.bench.rows.overhead import QUICK
from tests.bench.watching import percentile

RUNS_MIN = QUICK.warm_up + QUICK.rounds * QUICK.runs


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_the_overhead_row_measures_runs_that_were_finished(tmp_path: Path) -> None:
    """A quick look gives finite figures of both sides, from at least so many standard runs, and writes them down."""
    results = await measure("overhead", quick=True)
    (figure,) = results
    assert isinstance(figure, Figure), figure
    assert figure.sides["finished runs"] >= RUNS_MIN  # type: ignore[operator]
    numbers = [value for value in (figure.value, *figure.sides.values()) if isinstance(value, float)]
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert figure.sides["worker ms CPU a run"] > 0  # type: ignore[operator]
    assert figure.sides["bare loop ms CPU a run"] > 0  # type: ignore[operator]
    write_json(tmp_path / "results.json", results, quick=True)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["figures"][0]["value"] == figure.value
    assert written["figures"][0]["met"] in (True, False)


async def test_a_row_that_fails_says_why_and_the_others_go_on() -> None:
    """A broken row becomes a line of the table."""
    (failure,) = await measure("no_such_row", quick=True)
    assert isinstance(failure, Failure)
    met = Figure("row", "a figure", "what it is", 1.5, "x", 1.6, True, {"ours": 3.0, "theirs": 2.0})
    text = table([failure, met])
    assert "no_such_row" in text
    assert "failed" in text
    assert "met" in text


@pytest.mark.parametrize(("value", "at_most", "met"), [(1.6, True, True), (1.7, True, False), (1.6, False, True)])
def test_an_aim_that_is_just_reached_is_met(value: float, at_most: bool, met: bool) -> None:
    """Equal passes, on both sides of an aim."""
    assert Figure("row", "name", "definition", value, "x", 1.6, at_most).met is met


def test_a_figure_that_is_no_number_is_missed() -> None:
    """Nothing was measured, so nothing was met."""
    assert Figure("row", "name", "definition", math.nan, "x", 1.6, True).met is False


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank: 99 of 100 values do not exceed the p99."""
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 0.99) == 7.0
