"""Quality: are its decisions good? What judgement and review add, from the views that analysts read."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from markupsafe import Markup
from pydantic import BeforeValidator

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
Day = Annotated[date | None, BeforeValidator(lambda value: value or None)]
Rows = list[dict[str, Any]]

# The tables of the page, each also a CSV file, by the query that gives it.
_TABLES: Final = (
    "by_day",
    "by_campaign",
    "confidences",
    "reliability",
    "reviews",
    "latency",
    "costs",
    "revision_outcomes",
)
Table = Literal[
    "by_day",
    "by_campaign",
    "confidences",
    "reliability",
    "reviews",
    "latency",
    "costs",
    "revision_outcomes",
    "drift",
]


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
    meetings = await sql.quality.meetings.one(
        pool, workspace_id=chosen.workspace, first_day=chosen.since, last_day=chosen.until
    )
    return {
        "chosen": chosen,
        "choices": dict(await sql.quality.choices.one(pool, workspace_id=who.workspace_id)),
        "channels": [channel.value for channel in Channel],
        "figures": figures,
        "answer": _answer(figures, tables["reliability"], drift),
        "meetings": dict(meetings),
        "drift": drift,
        **tables,
        "drawn": _drawings(figures, tables),
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


def _drawings(figures: Mapping[str, Any], tables: Mapping[str, Rows]) -> dict[str, Markup]:
    threshold = figures["threshold"] if figures["thresholds"] == 1 else None
    days, latency, costs = tables["by_day"], tables["latency"], tables["costs"]
    return {
        "before": _histogram(tables["confidences"], "before", "Confidence of first texts", threshold),
        "after": _histogram(tables["confidences"], "after", "Confidence that drove the decision", threshold),
        "reliability": charts.unit_square(
            [_reliable(row) for row in tables["reliability"]],
            title="Approved as they were, by confidence",
            x_name="confidence",
            y_name="approved",
        ),
        "rates": charts.line_chart(
            [
                _series("a person was asked", days, lambda row: _percent(row["needs_review"], row["decided"])),
                _series("revision applied", days, lambda row: _percent(row["applied"], row["attempted"])),
            ],
            title="Share of drafts a person was asked about, and of revisions that were applied, by day",
            unit="%",
            top=100.0,
        ),
        "confidence": charts.line_chart(
            [
                _series("before revision", days, lambda row: row["confidence_before"]),
                _series("after", days, lambda row: row["confidence_after"]),
            ],
            title="Mean confidence by day",
            top=1.0,
        ),
        "latency": charts.line_chart(
            [
                _series(name, latency, lambda row, column=column: _in_seconds(row[column]))
                for name, column in (
                    ("draft p50", "draft_p50_ms"),
                    ("draft p95", "draft_p95_ms"),
                    ("revision p50", "revision_p50_ms"),
                    ("revision p95", "revision_p95_ms"),
                )
            ],
            title="Seconds that drafts and revisions took, by day",
            unit="s",
        ),
        "costs": charts.line_chart(
            [
                _series("drafts", costs, lambda row: row["draft_cost_usd"]),
                _series("revisions", costs, lambda row: row["revision_cost_usd"]),
            ],
            title="Cost by day",
            unit="USD",
        ),
    }


def _histogram(rows: Rows, kind: str, title: str, threshold: float | None) -> Markup:
    counted = {row["bucket"]: row[kind] for row in rows}
    bins = [charts.Bin(step / _BUCKETS, (step + 1) / _BUCKETS, counted.get(step, 0)) for step in range(_BUCKETS)]
    return charts.histogram(bins, title=title, mark=threshold)


def _reliable(row: Mapping[str, Any]) -> charts.Point:
    said = f"confidence {row['mean_confidence']:.2f}: {row['approved']} of {row['reviewed']} approved"
    return charts.Point(row["mean_confidence"], row["approved_rate"], said)


def _series(name: str, rows: Rows, value: Any) -> charts.Series:
    return charts.Series(name, [(datetime.combine(row["day"], time(), UTC), value(row)) for row in rows])


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _in_seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


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
