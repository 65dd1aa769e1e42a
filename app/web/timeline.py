"""The timeline of a run: one row for each stage and iteration, one bar for each call, on one scale. SVG without text.

The rows are HTML, so that names stay readable on a phone; each has a drawing that is as wide as there is room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

_WIDTH: Final = 1000.0
_HEIGHT: Final = 16
_LEAST: Final = 4.0
_GRID: Final = 4
_KINDS: Final = {"answered": "done", "started": "open", "refused": "refused"}


@dataclass(frozen=True)
class Row:
    """One line: `at_ms` and `ms` since the beginning of the run, `drawing` for the page."""

    stage: str
    iteration: int
    at_ms: float | None
    ms: float | None
    status: str
    drawing: Markup


def timeline(told: Sequence[Mapping[str, Any]], begin: datetime, end: datetime | None) -> dict[str, Any]:
    """Rows in the order of the flow, and the length of the whole in seconds. Without calls and artifacts: no rows."""
    now = end or datetime.now(UTC)
    ends = [_end(call, now) for stage in told for call in stage["calls"]]
    ends += [stage["recorded_at"] for stage in told if stage["recorded_at"] is not None]
    whole = max([(each - begin).total_seconds() for each in (*ends, now)], default=0.0) or 1.0
    ticks = [whole * number / _GRID for number in range(_GRID + 1)]
    return {"rows": [_row(stage, begin, now, whole) for stage in told], "whole_s": whole, "ticks_s": ticks}


def _end(call: Mapping[str, Any], now: datetime) -> datetime:
    started: datetime = call["started_at"]
    return now if call["latency_ms"] is None else started + timedelta(milliseconds=call["latency_ms"])


def _row(stage: Mapping[str, Any], begin: datetime, now: datetime, whole: float) -> Row:
    def x(at: datetime) -> float:
        return min(max((at - begin).total_seconds() / whole, 0.0), 1.0) * _WIDTH

    parts = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(_WIDTH * number / _GRID, _HEIGHT)
        for number in range(_GRID + 1)
    ]
    for call in stage["calls"]:
        from_, to = x(call["started_at"]), x(_end(call, now))
        took = "under way" if call["latency_ms"] is None else f"{call['latency_ms']} ms"
        said = f"attempt {call['attempt']}: {call['status']}{' ' + call['failure'] if call['failure'] else ''}, {took}"
        parts.append(
            Markup('<rect class="{}" x="{:.1f}" y="3" width="{:.1f}" height="10"><title>{}</title></rect>').format(
                _KINDS.get(call["status"], "failed"), min(from_, _WIDTH - _LEAST), max(to - from_, _LEAST), said
            )
        )
    if not stage["calls"] and stage["recorded_at"] is not None:
        at = min(x(stage["recorded_at"]), _WIDTH - _LEAST)
        parts.append(
            Markup('<rect class="point" x="{:.1f}" y="0" width="4" height="16"><title>recorded</title></rect>').format(
                at
            )
        )
    first = min([call["started_at"] for call in stage["calls"]], default=stage["recorded_at"])
    last = max([_end(call, now) for call in stage["calls"]], default=now)
    at_ms = None if first is None else (first - begin).total_seconds() * 1000
    ms = None if first is None or not stage["calls"] else (last - first).total_seconds() * 1000
    drawing = Markup(
        '<svg class="span" viewBox="0 0 {0} {1}" preserveAspectRatio="none" role="img" aria-label="{2}">{3}</svg>'
    ).format(int(_WIDTH), _HEIGHT, f"{stage['stage']}: {stage['status']}", Markup("").join(parts))
    return Row(stage["stage"], stage["iteration"], at_ms, ms, stage["status"], drawing)
