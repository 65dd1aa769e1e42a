"""Lag in seconds: how old is the first record that a group has not done? Brokers do not say; end offsets tell.

Each reading notes where a partition's end was. The record at an offset was produced between the last reading that saw
the end at or before it and the first that saw it behind; in between it is interpolated. What is older than the oldest
reading is at least that old. Readings get rarer with their age, so that a few hundred tell of minutes and of days.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

POINTS_MAX: Final = 240


class LagClock:
    """Remembers the ends of partitions. Times are seconds on one clock."""

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        self._points_max = points_max
        self._ends: dict[Hashable, list[tuple[float, int]]] = {}

    def note(self, partition: Hashable, end: int, now: float) -> None:
        """The partition ends at `end` now. While it does not move only the newest reading moves on."""
        points = self._ends.setdefault(partition, [])
        if points and end < points[-1][1]:
            points.clear()  # the topic was made anew
        if len(points) > 1 and points[-1][1] == points[-2][1] == end:
            points.pop()
        points.append((now, end))
        if len(points) > self._points_max:
            del points[_least_telling(points)]

    def age_s(self, partition: Hashable, done: int, now: float) -> float:
        """Seconds since the record at offset `done` was produced, 0 when there is none yet."""
        points = self._ends.get(partition)
        if not points or done >= points[-1][1]:
            return 0.0
        if done < points[0][1]:
            return now - points[0][0]
        for (before_s, before), (after_s, after) in pairwise(points):
            if before <= done < after:
                return now - (before_s + (after_s - before_s) * (done - before) / (after - before))
        return 0.0


def _least_telling(points: Sequence[tuple[float, int]]) -> int:
    """Which reading, neither the first nor the last, leaves the smallest gap for its age when it goes."""
    now = points[-1][0]

    def gap(index: int) -> float:
        before_s, after_s = points[index - 1][0], points[index + 1][0]
        return (after_s - before_s) / (now - before_s)

    return min(range(1, len(points) - 1), key=gap)
