"""Replay and calibration: what another policy would have made of the past, and what confidences were worth."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.calibration import EDGES, Reviewed, calibrate, lower_bound, needed_for
from agents.policy import Reason
from agents.replaying import CIRCUMSTANCES, Fate, Recorded, redecide
from app.cli.shell import WrongUse
from app.cli.since import moment_of


def recorded(*confidences: float, **changes: Any) -> Recorded:
    given: dict[str, Any] = {
        "sent": False,
        "reasons": frozenset({"below_threshold"}),
        "blocked": frozenset(),
        "revision_possible": True,
    }
    return Recorded(confidences=dict(enumerate(confidences)), **(given | changes))


@pytest.mark.parametrize(
    ("record", "threshold", "fate"),
    [
        (recorded(0.85), 0.85, (Fate.SEND, 0)),
        (recorded(0.95, sent=True), 0.96, (Fate.WOULD_REVISE, 0)),
        (recorded(0.95, revision_possible=False), 0.96, (Fate.REVIEW, 0)),
        (recorded(0.7, 0.8, 0.93), 0.9, (Fate.SEND, 2)),
        (recorded(0.7, 0.8, 0.93), 0.8, (Fate.SEND, 1)),
        (recorded(0.7, 0.8, 0.93), 0.95, (Fate.REVIEW, 2)),
        (recorded(0.7, 0.93, blocked=frozenset({1})), 0.9, (Fate.REVIEW, 1)),
        (recorded(0.99, blocked=frozenset({0})), 0.5, (Fate.REVIEW, 0)),
        (recorded(), 0.0, (Fate.REVIEW, 0)),
    ],
)
def test_another_threshold_over_the_record(record: Recorded, threshold: float, fate: tuple[Fate, int]) -> None:
    """The first text that reaches it is sent; one that nobody wrote is not invented; a block stays a block."""
    assert redecide(record, threshold) == fate


@pytest.mark.parametrize("reason", sorted(CIRCUMSTANCES))
def test_a_circumstance_stands_under_every_policy(reason: Reason) -> None:
    """An attachment stays one, whatever the threshold."""
    assert redecide(recorded(0.99, reasons=frozenset({reason})), 0.0) == (Fate.REVIEW, 0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_never_sends_less(confidences: list[float], one: float, other: float) -> None:
    """What is sent at a threshold is sent at every lower one."""
    low, high = sorted((one, other))
    if redecide(recorded(*confidences), high)[0] is Fate.SEND:
        assert redecide(recorded(*confidences), low)[0] is Fate.SEND


# ---- calibration


def drafts(confidence: float, good: int, bad: int) -> list[Reviewed]:
    return [Reviewed(confidence, True)] * good + [Reviewed(confidence, False)] * bad


def test_bins_hold_everything_once() -> None:
    """Each draft is in exactly one bin, also at the edges and at 1."""
    found = calibrate([Reviewed(edge, True) for edge in EDGES], 0.9)
    assert sum(each.count for each in found.bins) == len(EDGES)
    assert found.bins[-1].count == 2


def test_the_lowest_edge_that_shows_the_precision_is_suggested() -> None:
    """Enough good drafts from 0.9 on, too many bad below: 0.9. The bound is that of Clopper and Pearson."""
    assert calibrate(drafts(0.93, 200, 2) + drafts(0.82, 40, 40), 0.95).threshold == 0.9
    assert calibrate(drafts(0.93, 400, 2) + drafts(0.86, 2, 3), 0.95).threshold == 0.9
    assert lower_bound(60, 60) == pytest.approx(0.05 ** (1 / 60))
    assert lower_bound(0, 10) == 0


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95, 0.99])
def test_too_little_data_is_told(precision: float) -> None:
    """One draft fewer than needed shows nothing, as many, all good, do."""
    needed = needed_for(precision)
    assert needed == math.ceil(math.log(0.05) / math.log(precision))
    assert calibrate(drafts(0.99, needed - 1, 0), precision).threshold is None
    assert calibrate(drafts(0.99, needed, 0), precision).threshold is not None
    assert calibrate([], precision).threshold is None


def test_a_confidence_that_keeps_its_word_has_no_gap() -> None:
    """Where 90 % of the drafts at 0.9 are good the gap is small; where half of them are it is large."""
    chance = random.Random(3)
    kept = [Reviewed(c, chance.random() < c) for c in (chance.uniform(0.5, 1) for _ in range(4_000))]
    assert (calibrate(kept, 0.9).gap or 1) < 0.04
    assert (calibrate(drafts(0.92, 50, 50), 0.9).gap or 0) > 0.4


@pytest.mark.parametrize("wrong", ["soon", "3", "30m", "2026-13-01", ""])
def test_how_far_back_is_understood_or_refused(wrong: str) -> None:
    """Hours, days or a date; anything else is wrong use that says what is right."""
    assert moment_of("2026-11-21").isoformat() == "2026-11-21T00:00:00+00:00"
    assert (moment_of("1d") - moment_of("48h")).total_seconds() == pytest.approx(86_400, abs=5)
    with pytest.raises(WrongUse, match="30d"):
        moment_of(wrong)
