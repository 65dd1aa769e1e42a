"""The timeline of a run: one row a stage, one bar a call, all on one scale."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from app.web.charts import WIDTH, Series, line_chart
from app.web.run_story import happenings, sums_of, trace_of
from app.web.timeline import timeline

BEGIN = datetime(2026, 11, 2, 8, tzinfo=UTC)
_BAR = re.compile(r'<rect class="(\w+)" x="([\d.]+)" y="3" width="([\d.]+)"')


def call(at_s: float, ms: int | None, status: str = "answered", attempt: int = 1) -> dict[str, Any]:
    return {
        "started_at": BEGIN + timedelta(seconds=at_s), "latency_ms": ms, "status": status, "attempt": attempt, "failure": None,
        "input_tokens": 10, "output_tokens": None, "cost_usd": None,
    }  # fmt: skip


def stage(name: str, *calls: dict[str, Any], recorded_at: datetime | None = None) -> dict[str, Any]:
    return {"stage": name, "iteration": 0, "status": "answered", "calls": list(calls), "recorded_at": recorded_at}


def test_bars_stand_where_and_as_long_as_their_calls() -> None:
    """10 s from end to end: a call from 2 s to 4 s fills the third and fourth tenth."""
    told = timeline([stage("a", call(2, 2000)), stage("b", call(4, 6000))], BEGIN, BEGIN + timedelta(seconds=10))
    assert told["whole_s"] == 10
    assert [_BAR.findall(row.drawing) for row in told["rows"]] == [
        [("done", "200.0", "200.0")],
        [("done", "400.0", "600.0")],
    ]
    assert [(row.at_ms, row.ms) for row in told["rows"]] == [(2000, 2000), (4000, 6000)]


def test_attempts_share_a_row_and_differ_by_shape() -> None:
    """A failed one, then an answered one; what is under way ends now."""
    row = timeline(
        [stage("a", call(0, 1000, "failed"), call(5, 5000, attempt=2))], BEGIN, BEGIN + timedelta(seconds=10)
    )["rows"][0]
    assert [kind for kind, _, _ in _BAR.findall(row.drawing)] == ["failed", "done"]
    running = timeline([stage("a", call(0, None, "started"))], BEGIN, BEGIN + timedelta(seconds=4))["rows"][0]
    assert _BAR.findall(running.drawing) == [("open", "0.0", "1000.0")]


def test_what_took_no_time_can_still_be_seen() -> None:
    """A call of a millisecond among minutes, and an artifact without a call."""
    end = BEGIN + timedelta(minutes=5)
    rows = timeline([stage("a", call(299.999, 1)), stage("final_draft", recorded_at=end)], BEGIN, end)["rows"]
    _, x, width = _BAR.findall(rows[0].drawing)[0]
    assert float(x) + float(width) <= 1000
    assert float(width) >= 4
    assert 'class="point"' in rows[1].drawing


def test_no_data_is_not_zero() -> None:
    """Sums of what nobody told are None."""
    sums = sums_of([stage("a", call(0, 1), call(0, 1, "refused"))])
    assert sums == {"calls": 1, "input_tokens": 20, "output_tokens": None, "latency_ms": 2, "cost_usd": None}


def test_happenings_are_in_order_and_leave_out_what_did_not_happen() -> None:
    """From the message to the send; a run that was never superseded says nothing of it."""
    run = {"created_at": BEGIN, "superseded_at": None, "finished_at": BEGIN + timedelta(seconds=9), "status": "COMPLETED",
           "attempt": 1, "reason": "confident"}  # fmt: skip
    draft = {
        "received_at": BEGIN - timedelta(seconds=6),
        "ingested_at": BEGIN - timedelta(seconds=5),
        "channel": "email",
    }
    told = happenings({"draft": draft, "claims": [], "deliveries": [], "reviews": []}, run)
    assert [each["what"] for each in told] == ["message received", "message recorded", "run started", "run completed"]


def test_a_trace_id_is_read_from_a_traceparent() -> None:
    """What is none gives none."""
    assert trace_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_of(None) is None
    assert trace_of("garbage") is None


def test_names_of_many_lines_stay_inside_the_drawing() -> None:
    """A legend that is too long for one row takes more, and the drawing grows upwards by them."""
    names = [f"a-topic-with-a-long-name-{number}" for number in range(5)]
    drawn = line_chart([Series(name, [(BEGIN, 1.0), (BEGIN + timedelta(minutes=1), 2.0)]) for name in names], title="t")
    top = int(re.findall(r'viewBox="0 (-?\d+)', drawn)[0])
    places = [(int(x), int(y)) for x, y in re.findall(r'<text x="(\d+)" y="(-\d+)">', drawn)]
    assert len(places) == 5
    assert len({y for _, y in places}) > 1
    assert all(x + 6.5 * len(names[0]) <= WIDTH and top < y for x, y in places)
