"""Promises of the drawings, the words of figures and the limiter."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from app.web import words
from app.web.charts import Bin, Mark, Series, histogram, line_chart, nice_ceiling, share_bar, sparkline
from app.web.limits import Limiter

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
LEFT, RIGHT = 52, 628  # of the lines of a drawing
HOSTILE = '"><script>alert(1)</script>'


def points(*values: float | None) -> list[tuple[datetime, float | None]]:
    return [(BEGIN + timedelta(hours=number), value) for number, value in enumerate(values)]


def test_a_line_breaks_where_a_value_is_missing() -> None:
    """No data is a gap, not 0; each known value has its dot and its words."""
    drawn = line_chart([Series("calls", points(1, 2, None, 4, 5))], title="t", unit="/h", marks=[Mark(BEGIN, "deploy")])
    root = ET.fromstring(drawn)
    assert len(root.findall("polyline")) == 2
    assert len(root.findall("circle")) == 4
    assert root.findtext("circle/title") == "calls: 1 /h, 2026-03-01 00:00Z"
    assert root.findtext("line[@class='mark']/title") == "deploy, 00:00Z"


def test_days_stand_where_they_lie_in_the_range_that_was_asked_for() -> None:
    """The axis is the whole range in dates; a day alone has a dot even among many, and one day stands in the middle."""
    first, last = BEGIN.date(), BEGIN.date() + timedelta(days=100)
    alone = [(BEGIN + timedelta(days=number), 1.0 if number in (50, 98, 99) else None) for number in range(101)]
    root = ET.fromstring(line_chart([Series("a", alone)], title="t", days=(first, last)))
    labels = [each.text for each in root.findall("text") if "-" in (each.text or "")]
    assert (labels[0], labels[-1]) == ("03-01", "06-09")
    middle, *pair = root.findall("circle")
    assert float(middle.get("cx", 0)) == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert ["many" in each.get("class", "") for each in (middle, *pair)] == [False, True, True]
    [one] = ET.fromstring(line_chart([Series("a", points(1))], title="t", days=(first, first))).findall("circle")
    assert float(one.get("cx", 0)) == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)


@pytest.mark.parametrize(("seconds", "last"), [(4, "00:00:04"), (290, "00:04:50"), (600, "00:10"), (86_400, "00:00")])
def test_the_labels_of_an_axis_differ(seconds: int, last: str) -> None:
    """A history of a minute is told in seconds."""
    ends = [(BEGIN, 1.0), (BEGIN + timedelta(seconds=seconds), 2.0)]
    labels = [each.text for each in ET.fromstring(line_chart([Series("a", ends)], title="t")).findall("text")[5:]]
    assert labels[-1] == last
    assert len(set(labels)) == len(labels) or seconds == 86_400


@pytest.mark.parametrize("hours", [0.01, 0.08, 1, 20, 30, 72, 100])
def test_the_labels_of_an_axis_leave_each_other_room(hours: float) -> None:
    """Also in the larger letters of a phone."""
    ends = [(BEGIN, 1.0), (BEGIN + timedelta(hours=hours), 2.0)]
    labels = ET.fromstring(line_chart([Series("a", ends)], title="t")).findall("text")[5:]
    reached = 0.0
    for each in labels:
        width = 9.3 * len(each.text or "")
        left = float(each.get("x", 0)) - width * {"start": 0, "middle": 0.5, "end": 1}[each.get("text-anchor", "")]
        assert left > reached
        reached = left + width
    assert len(labels) > 3


def test_a_histogram_has_a_bar_a_bin_as_high_as_its_count() -> None:
    """Heights are proportional; hover tells range and share."""
    root = ET.fromstring(histogram([Bin(0, 0.5, 1), Bin(0.5, 1, 3)], title="confidence", mark=0.9))
    low, high = root.findall("rect")
    assert float(high.get("height", 0)) == pytest.approx(3 * float(low.get("height", 0)), rel=0.02)
    assert high.findtext("title") == "0.5 to 1 : 3 (75.0%)"
    assert root.find("line[@class='mark']") is not None


@pytest.mark.parametrize("count", [1, 3, 7, 13, 55, 201, 999])
def test_an_axis_of_counts_has_whole_numbers(count: int) -> None:
    """Nobody counts 62.5 drafts."""
    line = line_chart([Series("a", points(0, count))], title="t")
    for drawn in (histogram([Bin(0, 1, count)], title="t"), line):
        ticks = [float((each.text or "").replace(",", "")) for each in ET.fromstring(drawn).findall("text")[:5]]
        assert [tick % 1 for tick in ticks] == [0] * 5
        assert count <= ticks[-1] <= max(2 * count, 4)


def test_nothing_to_draw_is_no_drawing() -> None:
    """An empty text, so that a page can say what to do instead."""
    assert line_chart([Series("a", points(None, None))], title="t") == ""
    assert histogram([Bin(0, 1, 0)], title="t") == ""
    assert sparkline([1, None], title="t") == ""
    assert share_bar(None, title="t") == ""


def test_names_are_escaped_and_nothing_is_styled_inline() -> None:
    """Names come from models and producers; the policy of pages allows neither script nor style."""
    bins = [Bin(0, 1, 1)]
    for drawn in (
        line_chart(
            [Series(HOSTILE, points(1, 2)), Series("b", points(2, 1))],
            title=HOSTILE,
            unit=HOSTILE,
            marks=[Mark(BEGIN, HOSTILE)],
        ),
        histogram(bins, title=HOSTILE, unit=HOSTILE),
        sparkline([1, 2, 3], title=HOSTILE),
        share_bar(0.5, title=HOSTILE),
    ):
        ET.fromstring(drawn)
        assert "<script" not in drawn
        assert " style=" not in drawn


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 1), (0.3, 0.5), (1, 1), (7, 10), (21, 25), (101, 200), (0.00012, 0.0002)]
)
def test_axes_end_at_round_numbers(value: float, ceiling: float) -> None:
    """1, 2, 2.5 or 5 times a power of ten."""
    assert nice_ceiling(value) == pytest.approx(ceiling)


def test_no_data_is_a_dash_and_not_zero() -> None:
    """In every unit."""
    for write in (
        words.count,
        words.decimal,
        words.share,
        words.usd,
        words.seconds,
        words.milliseconds,
        words.size,
        words.stamp,
        words.age,
        words.ident,
        words.word,
    ):
        assert "–" in write(None)
    assert words.count(0) == "0"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (90, "1.5 min"), (7200, "2.0 h"), (200_000, "2.3 d")],
)
def test_durations_are_said_as_people_do(value: float, said: str) -> None:
    """One unit, few digits."""
    assert words.seconds(value) == said


def test_a_time_is_utc_with_how_long_ago() -> None:
    """In whatever zone it came."""
    moment = BEGIN.astimezone()
    assert "2026-03-01 00:00:00Z" in words.stamp(moment)
    assert "1.5 min ago" in words.age(moment, BEGIN + timedelta(seconds=90))
    assert "in 1.0 h" in words.age(moment, BEGIN - timedelta(hours=1))


def test_an_id_is_copied_whole_and_escaped() -> None:
    """What is shown may be shorter."""
    shown = words.ident("abcdefgh" + HOSTILE, 8)
    assert "<script" not in shown
    assert 'data-copy="abcdefgh&#34;&gt;' in shown


def test_a_bucket_empties_and_fills_again() -> None:
    """So many at once, then one by one; each key by itself."""
    now = [0.0]
    limiter = Limiter(lambda: now[0])
    assert [limiter.take("a", 3) for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a", 3) == pytest.approx(20.0)
    assert limiter.take("b", 3) == 0
    now[0] = 20.0
    assert limiter.take("a", 3) == 0
    assert limiter.take("a", 3) > 0


def test_keys_are_bounded() -> None:
    """Whoever invents keys does not fill the memory."""
    limiter = Limiter(lambda: 0.0, keys_max=5)
    for number in range(50):
        limiter.take(str(number), 1)
    assert len(limiter._buckets) == 5
