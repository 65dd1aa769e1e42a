"""Quality: are its decisions good? What judgement and review add, from the views that analysts read."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from typing import Annotated, Any, Final, Literal, get_args

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from markupsafe import Markup
from pydantic import BeforeValidator, Field

from app.web import charts
from app.web.access import Who, require
from app.web.page import Page
from app.web.rendering import add_page
from db import sql
from db.pool import Pool
from schemas.codes import Channel, Role

PAGE: Final = Page("/quality", "Quality", frozenset({Role.SUPER_ADMIN, Role.WORKSPACE_ADMIN, Role.OPS, Role.ANALYST}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 400
_BUCKETS: Final = 20
# Room on both sides: a range is counted from a day, and ends with the day after.
_FIRST_DAY: Final = date(1900, 1, 1)
_LAST_DAY: Final = date(2999, 12, 31)
_BoundedDay = Annotated[date, Field(ge=_FIRST_DAY, le=_LAST_DAY)]
Day = Annotated[_BoundedDay | None, BeforeValidator(lambda value: value or None)]
Rows = list[dict[str, Any]]
Value = Callable[[Mapping[str, Any]], float | None]

# The tables of the page, each also a CSV file, by the query that gives it.
_Filtered = Literal[
    "by_day", "by_campaign", "confidences", "reliability", "reviews", "latency", "costs", "revision_outcomes"
]
_TABLES: Final = get_args(_Filtered)
Table = _Filtered | Literal["drift"]


@dataclass(frozen=True)
class Filters:
    """What the URL asks for, within what the asker may see. `until` is the last day, included."""

    workspace: str | None
    channel: str | None
    campaign: str | None
    since: date
    until: date

    @property
    def arguments(self) -> dict[str, Any]:
        """As every query takes them; days begin and end in UTC."""
        return {
            "workspace_id": self.workspace,
            "channel": self.channel,
            "campaign_id": self.campaign,
            "since": datetime.combine(self.since, time(), UTC),
            "until": datetime.combine(self.until + timedelta(days=1), time(), UTC),
        }


def filters(
    who: Who,
    workspace: str | None = None,
    channel: Channel | Literal[""] = "",
    campaign: str = "",
    since: Day = None,
    until: Day = None,
) -> Filters:
    """Raises 404 for a workspace that is not theirs, 400 for days that make no range."""
    last = until or datetime.now(UTC).date()
    first = since or last - timedelta(days=DAYS_DEFAULT - 1)
    if first > last or (last - first).days >= DAYS_MAX:
        raise HTTPException(400, f"since must not be after until, and at most {DAYS_MAX} days before it")
    return Filters(who.narrow(workspace), channel or None, campaign or None, first, last)


Chosen = Annotated[Filters, Depends(filters)]


async def load(request: Request, who: Who, chosen: Chosen) -> dict[str, Any]:
    """Confidence, revisions, reviews, latency and cost of the drafts that were begun in a range of days."""
    pool: Pool = request.app.state.web.pool
    tables = {name: await _table(pool, name, chosen) for name in _TABLES}
    figures = dict(await sql.quality.figures.one(pool, **chosen.arguments))
    drift = await _drift(pool, chosen)
    days = {"workspace_id": chosen.workspace, "first_day": chosen.since, "last_day": chosen.until}
    return {
        "chosen": chosen,
        "choices": dict(await sql.quality.choices.one(pool, workspace_id=who.workspace_id)),
        "channels": [channel.value for channel in Channel],
        "figures": figures,
        "answer": _answer(figures, tables["reliability"], drift),
        "meetings": dict(await sql.quality.meetings.one(pool, **days)),
        "context": dict(await sql.quality.context.one(pool, **days)),
        "drift": drift,
        **tables,
        "drawn": _drawings(figures, tables, (chosen.since, chosen.until)),
    }


async def _table(pool: Pool, name: str, chosen: Filters) -> Rows:
    return [dict(row) for row in await getattr(sql.quality, name).rows(pool, **chosen.arguments)]


async def _drift(pool: Pool, chosen: Filters) -> Rows:
    return [dict(row) for row in await sql.quality.drift.rows(pool, workspace_id=chosen.workspace)]


def _answer(figures: Mapping[str, Any], reliability: Rows, drift: Rows) -> tuple[str, str]:
    """The first question of the page, answered in a sentence, and how good that is."""
    if not figures["drafts"]:
        return "No drafts in this time.", "quiet"
    drifted = [row for row in drift if row["drifted"]]
    if drifted:
        names = ", ".join(
            dict.fromkeys(f"{row['monitor'].replace('_', ' ')} of {row['workspace_id']}" for row in drifted)
        )
        return f"Not as in the week before: {names}.", "warn"
    reviewed, approved = _sum(reliability, "reviewed"), _sum(reliability, "approved")
    sent = f"{figures['sent_by_itself']} of {figures['evaluated']} drafts were sent without asking"
    if not reviewed:
        return f"{sent}; nobody has reviewed any yet.", "quiet"
    return f"{sent}; people approved {approved} of the {reviewed} they decided on as they were.", "good"


def _sum(rows: Rows, name: str) -> int:
    return sum(row[name] for row in rows)


# ---- drawings


def _drawings(figures: Mapping[str, Any], tables: Mapping[str, Rows], days: tuple[date, date]) -> dict[str, Markup]:
    threshold = figures["threshold"] if figures["thresholds"] == 1 else None
    return {
        "before": _histogram(tables["confidences"], "before", "Confidence of first texts", threshold),
        "after": _histogram(tables["confidences"], "after", "Confidence that drove the decision", threshold),
        "reliability": charts.unit_square(
            [_reliable(row) for row in tables["reliability"]],
            title="Approved as they were, by confidence",
            x_name="confidence",
            y_name="approved",
        ),
        **{
            drawing.name: charts.line_chart(
                [_series(name, tables[drawing.table], value, days) for name, value in drawing.lines.items()],
                title=drawing.title,
                unit=drawing.unit,
                top=drawing.top,
                days=days,
            )
            for drawing in _BY_DAY
        },
    }


def _histogram(rows: Rows, kind: str, title: str, threshold: float | None) -> Markup:
    counted = {row["bucket"]: row[kind] for row in rows}
    bins = [charts.Bin(step / _BUCKETS, (step + 1) / _BUCKETS, counted.get(step, 0)) for step in range(_BUCKETS)]
    return charts.histogram(bins, title=title, mark=threshold)


def _reliable(row: Mapping[str, Any]) -> charts.Point:
    said = f"confidence {row['mean_confidence']:.2f}: {row['approved']} of {row['reviewed']} approved"
    return charts.Point(row["mean_confidence"], row["approved_rate"], said)


def _series(name: str, rows: Rows, value: Value, days: tuple[date, date]) -> charts.Series:
    """One point for each day of the range; a day without drafts is a gap."""
    by_day = {row["day"]: row for row in rows}
    first, last = days
    every = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return charts.Series(
        name, [(datetime.combine(day, time(), UTC), value(by_day[day]) if day in by_day else None) for day in every]
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _seconds(column: str) -> Value:
    """A column of milliseconds."""
    return lambda row: None if row[column] is None else row[column] / 1000


@dataclass(frozen=True)
class _Drawing:
    """Lines by day: the table they are drawn from, and what each line takes from a row of it."""

    name: str
    table: str
    title: str
    lines: dict[str, Value]
    unit: str = ""
    top: float | None = None


_BY_DAY: Final = (
    _Drawing(
        "rates",
        "by_day",
        "Share of drafts a person was asked about, and of revisions that were applied, by day",
        {
            "a person was asked": lambda row: _percent(row["needs_review"], row["decided"]),
            "revision applied": lambda row: _percent(row["applied"], row["attempted"]),
        },
        unit="%",
        top=100.0,
    ),
    _Drawing(
        "confidence",
        "by_day",
        "Mean confidence by day",
        {"before revision": itemgetter("confidence_before"), "after": itemgetter("confidence_after")},
        top=1.0,
    ),
    _Drawing(
        "latency",
        "latency",
        "Seconds that drafts and revisions took, by day",
        {
            "draft p50": _seconds("draft_p50_ms"),
            "draft p95": _seconds("draft_p95_ms"),
            "revision p50": _seconds("revision_p50_ms"),
            "revision p95": _seconds("revision_p95_ms"),
        },
        unit="s",
    ),
    _Drawing(
        "costs",
        "costs",
        "Cost by day",
        {"drafts": itemgetter("draft_cost_usd"), "revisions": itemgetter("revision_cost_usd")},
        unit="USD",
    ),
)


add_page(router, "/quality", "quality.html", load)


@router.get("/api/quality.csv", summary="A table of the quality page as CSV")
async def as_csv(request: Request, chosen: Chosen, table: Table) -> Response:
    """The rows that the page shows, with the same filters."""
    pool: Pool = request.app.state.web.pool
    rows = await (_drift(pool, chosen) if table == "drift" else _table(pool, table, chosen))
    name = f"{table}-{chosen.since}-{chosen.until}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(_written(rows), media_type="text/csv; charset=utf-8", headers=headers)


def _written(rows: Sequence[Mapping[str, Any]]) -> str:
    """RFC 4180; null is an empty field. A value that a spreadsheet would run as a formula is quoted for it."""
    out = io.StringIO()
    writer = csv.writer(out)
    if rows:
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
