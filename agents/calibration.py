"""How well confidences are kept: of the drafts people looked at, which were sent as they were. Pure.

Bounds are one-sided and exact (Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 1934).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

EDGES: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
SURE: Final = 0.95


@dataclass(frozen=True)
class Reviewed:
    """A draft with a confidence that a person decided on. `good`: sent as it was."""

    confidence: float
    good: bool


@dataclass(frozen=True)
class Bin:
    """Drafts from `low` up to below `high` (the last one up to it). `mean` is their mean confidence, `share` of them
    was good, with 95 % certainty at least `share_min`."""

    low: float
    high: float
    count: int
    good: int
    mean: float | None
    share: float | None
    share_min: float


@dataclass(frozen=True)
class Calibration:
    """`threshold` is the lowest edge above which at least `precision` is good with 95 % certainty, and whose own bin is
    no worse (many good drafts above must not hide a bad one); None when no edge has that. `gap` is how far confidence
    and share are apart, averaged over the drafts. `needed` are the drafts, all good, that it would take at least."""

    bins: list[Bin]
    count: int
    precision: float
    threshold: float | None
    needed: int
    gap: float | None


def lower_bound(good: int, count: int) -> float:
    """The share that is exceeded with `SURE` certainty."""
    from scipy.stats import beta  # takes a second to load: only who asks pays

    return 0.0 if good == 0 else float(beta.ppf(1 - SURE, good, count - good + 1))


def needed_for(precision: float) -> int:
    """The fewest drafts, all of them good, that show `precision` with `SURE` certainty."""
    count = 1
    while (1 - SURE) ** (1 / count) < precision:
        count += 1
    return count


def calibrate(reviewed: Sequence[Reviewed], precision: float) -> Calibration:
    """Reliability by bin, and the threshold that `precision` (below 1) asks for."""
    bins = [_bin(reviewed, low, high) for low, high in pairwise(EDGES)]
    enough = [each.low for each in bins if each.share is not None and each.share >= precision
              and _bound_from(reviewed, each.low) >= precision]  # fmt: skip
    full = [
        (each.count, abs(each.share - each.mean)) for each in bins if each.share is not None and each.mean is not None
    ]
    gap = sum(count * apart for count, apart in full) / len(reviewed) if reviewed else None
    return Calibration(bins, len(reviewed), precision, min(enough, default=None), needed_for(precision), gap)


def _bound_from(reviewed: Sequence[Reviewed], edge: float) -> float:
    above = [each.good for each in reviewed if each.confidence >= edge]
    return lower_bound(sum(above), len(above))


def _bin(reviewed: Sequence[Reviewed], low: float, high: float) -> Bin:
    own = [each for each in reviewed if low <= each.confidence < high or (each.confidence == high == EDGES[-1])]
    good = sum(each.good for each in own)
    if not own:
        return Bin(low, high, 0, 0, None, None, 0.0)
    mean = sum(each.confidence for each in own) / len(own)
    return Bin(low, high, len(own), good, mean, good / len(own), lower_bound(good, len(own)))
