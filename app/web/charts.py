"""Drawings made on the server: lines over time, histograms, sparklines, bars of a share. SVG without style or script.

Every point has its value on hover; series differ by dashes as well as by colour; what is missing is a gap, not 0. A
drawing never stands alone: its page has the same figures in a table.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 640
HEIGHT: Final = 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 22
_TICKS: Final = 4
_STYLES: Final = 5
_STEPS: Final = (1, 2, 2.5, 5, 10)
_WHOLE_STEPS: Final = (1, 2, 3, 4, 5, 6, 8, 10)
_DAY: Final = timedelta(days=1)
_LABELS: Final = 5
# How a moment is written on an axis of at most this length.
_WRITTEN: Final = (
    (timedelta(minutes=5), "%H:%M:%S"),
    (_DAY, "%H:%M"),
    (3 * _DAY, "%m-%d %H:%M"),
    (timedelta.max, "%m-%d"),
)
_CHAR, _ROW = 9.5, 19  # of a legend, wide and high enough for the larger letters of a phone
_DOTS_SHOWN: Final = 48


@dataclass(frozen=True)
class Series:
    """One line: its name, and its points in order of time. A value of None is a gap."""

    name: str
    points: Sequence[tuple[datetime, float | None]]


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram: from `low` up to `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Mark:
    """Something that happened: a deploy, a flip of a switch."""

    at: datetime
    what: str


def _number(value: float) -> str:
    return f"{value:,.6g}"


def nice_ceiling(value: float, steps: Sequence[float] = _STEPS) -> float:
    """The least of `steps` times a power of ten that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in steps if step * power >= value * (1 - 1e-9))


def _ceiling(values: Sequence[float]) -> float:
    """Where an axis ends. Of whole values, which are counts, each tick is whole: nobody has 62.5 drafts."""
    if all(float(value).is_integer() for value in values):
        return _TICKS * nice_ceiling(max(max(values) / _TICKS, 1), _WHOLE_STEPS)
    return nice_ceiling(max(values))


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    unit: str = "",
    marks: Sequence[Mark] = (),
    top: float | None = None,
    days: tuple[date, date] | None = None,
) -> Markup:
    """Lines over time, from 0 to `top` or a round number above the highest. Empty text without a single value.

    `days`: the points are days, and the axis shows this whole range of them, the last one included.
    """
    known = [(at, value) for each in series for at, value in each.points if value is not None]
    if not known:
        return Markup("")
    begin, end = min(at for at, _ in known), max(at for at, _ in known)
    if days is not None:
        begin, end = (datetime.combine(each, time(), UTC) for each in days)
    ceiling = top or _ceiling([value for _, value in known])
    span = (end - begin).total_seconds()

    def x(at: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((at - begin).total_seconds() / span if span else 0.5)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(value / ceiling, 1.0)

    parts = [*_y_axis(ceiling, unit, y), *_time_axis(_labels(begin, end, whole_days=days is not None), x)]
    # One after the last point lies in what that point stands for, as an hour that is not over.
    parts += [_mark(mark, x(min(mark.at, end))) for mark in marks if mark.at >= begin]
    for number, each in enumerate(series):
        parts += _line(each, number % _STYLES + 1, unit, x, y)
    legend, rows = _legend([each.name for each in series]) if len(series) > 1 else (Markup(""), 0)
    return _svg(title, parts, legend, rows)


def _line(
    series: Series, style: int, unit: str, x: Callable[[datetime], float], y: Callable[[float], float]
) -> list[Markup]:
    """The line, broken where a value is missing, and a dot with its value for each point."""
    runs: list[list[tuple[datetime, float]]] = [[]]
    for at, value in series.points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    many = len(series.points) > _DOTS_SHOWN  # of many, only those without a line are shown; the others on hover
    lines, dots = [], []
    for run in runs:
        places = [f"{x(at):.1f},{y(value):.1f}" for at, value in run]
        if len(run) > 1:
            lines.append(Markup('<polyline class="line s{}" points="{}"/>').format(style, " ".join(places)))
        for (at, value), place in zip(run, places, strict=True):
            said = f"{series.name}: {_number(value)} {unit}".strip()
            dots.append(
                Markup(
                    '<circle class="dot {}f{}" cx="{}" cy="{}" r="2.5"><title>{}, {:%Y-%m-%d %H:%M}Z</title></circle>'
                ).format("many " if many and len(run) > 1 else "", style, *place.split(","), said, at.astimezone(UTC))
            )
    return lines + dots


def _y_axis(ceiling: float, unit: str, y: Callable[[float], float], right: float = WIDTH - _RIGHT) -> list[Markup]:
    parts = []
    for number in range(_TICKS + 1):
        value = ceiling * number / _TICKS
        label = f"{_number(value)} {unit}".strip() if number == _TICKS else _number(value)
        parts.append(
            Markup(
                '<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(
                "grid" if number else "axis",
                _LEFT,
                right,
                y(value),
                y(value),
                _LEFT - 5,
                y(value) + 3.5,
                label,
            )
        )
    return parts


def _labels(begin: datetime, end: datetime, *, whole_days: bool) -> list[tuple[datetime, str]]:
    """The moments that the axis names, evenly from `begin` to `end`; whole days are named by their date."""
    days = (end - begin) // _DAY
    written = "%m-%d" if whole_days else next(form for longest, form in _WRITTEN if end - begin <= longest)
    most = _LABELS - 1 - (" " in written)  # long ones need more room
    steps = min(most, days) if whole_days else most if end > begin else 0
    moments = [
        begin + (_DAY * round(days * number / steps) if whole_days else (end - begin) * number / steps)
        for number in range(1, steps + 1)
    ]
    return [(at, at.astimezone(UTC).strftime(written)) for at in (begin, *moments)]


def _time_axis(labels: Sequence[tuple[datetime, str]], x: Callable[[datetime], float]) -> list[Markup]:
    parts = []
    for number, (at, label) in enumerate(labels):
        anchor = "middle" if len(labels) == 1 else {0: "start", len(labels) - 1: "end"}.get(number, "middle")
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x(at), HEIGHT - 6, anchor, label)
        )
    return parts


def _mark(mark: Mark, x: float) -> Markup:
    """A line with a flag, which is easier to hover over."""
    said = f"{mark.what}, {mark.at.astimezone(UTC):%H:%M}Z"
    return Markup(
        '<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"><title>{3}</title></line>'
        '<path class="flag" d="M{0:.1f} {1}h10l-3 4 3 4h-10z"><title>{3}</title></path>'
    ).format(x, _TOP, HEIGHT - _BOTTOM, said)


def histogram(bins: Sequence[Bin], *, title: str, unit: str = "", mark: float | None = None) -> Markup:
    """Counts by value; `mark` is a value to show, such as a threshold. Empty text when nothing was counted."""
    total = sum(each.count for each in bins)
    if not total:
        return Markup("")
    low, high = bins[0].low, bins[-1].high
    ceiling = _ceiling([each.count for each in bins])

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1.0)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / ceiling

    parts = _y_axis(ceiling, "", y)
    for each in bins:
        parts.append(
            Markup(
                '<rect class="f1" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
            ).format(
                x(each.low) + 0.5,
                y(each.count),
                max(x(each.high) - x(each.low) - 1, 1),
                y(0) - y(each.count),
                f"{_number(each.low)} to {_number(each.high)} {unit}: {each.count} ({each.count / total:.1%})",
            )
        )
    for value in sorted({low, high, *(each.low for each in bins[:: max(1, len(bins) // _LABELS)])}):
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x(value), HEIGHT - 6, _number(value)
            )
        )
    if mark is not None and low <= mark <= high:
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"><title>{3}</title></line>').format(
                x(mark), _TOP, HEIGHT - _BOTTOM, _number(mark)
            )
        )
    return _svg(title, parts)


def sparkline(values: Sequence[float | None], *, title: str) -> Markup:
    """A line without axes, for a cell of a table; empty text when fewer than two values are known."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(known), max(known)
    step = 100 / max(len(values) - 1, 1)
    points = " ".join(
        f"{number * step:.1f},{19 - 18 * (value - low) / ((high - low) or 1):.1f}"
        for number, value in enumerate(values)
        if value is not None
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label="{0}">'
        '<title>{0}</title><polyline class="line" points="{1}"/></svg>'
    ).format(title, points)


def share_bar(part: float | None, *, title: str) -> Markup:
    """A share of 0..1 as the filled part of a bar; empty text when it is not known."""
    if part is None:
        return Markup("")
    width = 100 * min(max(part, 0.0), 1.0)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{0}">'
        '<title>{0}</title><rect class="track" width="100" height="10"/>'
        '<rect class="part" width="{1:.1f}" height="10"/></svg>'
    ).format(title, width)


def _legend(names: Sequence[str]) -> tuple[Markup, int]:
    """Name and dashes of each line, above the drawing, and how many rows they take."""
    places, x, row = [], float(_LEFT), 0
    for name in names:
        width = 27 + _CHAR * len(name) + 18
        if x + width > WIDTH and x > _LEFT:
            x, row = float(_LEFT), row + 1
        places.append((name, x, row))
        x += width
    parts = [
        Markup(
            '<line class="line s{0}" x1="{1:.0f}" x2="{2:.0f}" y1="{4}" y2="{4}"/><text x="{3:.0f}" y="{5}">{6}</text>'
        ).format(number % _STYLES + 1, x, x + 22, x + 27, -8 - _ROW * (row - of), -4 - _ROW * (row - of), name)
        for number, (name, x, of) in enumerate(places)
    ]
    return Markup("").join(parts), row + 1


def _svg(
    title: str,
    parts: Iterable[Markup],
    legend: Markup | None = None,
    rows: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    kind: str = "chart",
) -> Markup:
    width, height = size
    top = -2 - _ROW * rows if rows else 0
    return Markup(
        '<svg class="{6}" viewBox="0 {0} {1} {2}" role="img" aria-label="{3}"><title>{3}</title>{4}{5}</svg>'
    ).format(top, width, height - top, escape(title), legend or "", Markup("").join(parts), kind)


@dataclass(frozen=True)
class Point:
    """A place in the unit square, and what it is."""

    x: float
    y: float
    what: str


def unit_square(points: Sequence[Point], *, title: str, x_name: str, y_name: str) -> Markup:
    """Points of 0..1 by 0..1 with the diagonal, on which they would lie if both were the same. Empty without points."""
    if not points:
        return Markup("")

    def x(value: float) -> float:
        return _LEFT + (HEIGHT * 2 - _LEFT) * value

    def y(value: float) -> float:
        return 2 * HEIGHT - _BOTTOM - (2 * HEIGHT - _TOP - _BOTTOM) * value

    parts = _y_axis(1.0, "", y, x(1.0))
    parts += [
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            x(number / _TICKS), 2 * HEIGHT - 6, _number(number / _TICKS)
        )
        for number in range(_TICKS + 1)
    ]
    parts.append(
        Markup('<line class="mark" x1="{}" y1="{}" x2="{}" y2="{}"><title>as sure as right</title></line>').format(
            x(0), y(0), x(1), y(1)
        )
    )
    ordered = sorted(points, key=lambda point: point.x)
    if len(ordered) > 1:
        line = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in ordered)
        parts.append(Markup('<polyline class="line s1" points="{}"/>').format(line))
    parts += [
        Markup('<circle class="dot f1" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>').format(
            x(point.x), y(point.y), point.what
        )
        for point in ordered
    ]
    parts.append(Markup('<text x="{:.1f}" y="{}" text-anchor="end">{} →</text>').format(x(1), y(0) - 6, x_name))
    parts.append(Markup('<text x="{:.1f}" y="{}">↑ {}</text>').format(x(0) + 6, y(1) + 15, y_name))
    return _svg(title, parts, size=(2 * HEIGHT + _RIGHT, 2 * HEIGHT), kind="chart square")
