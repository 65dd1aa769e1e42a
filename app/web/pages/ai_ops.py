"""AI Ops: what did the model calls of the last three days cost, how long did they take, and what went wrong?"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from fastapi import APIRouter

from app.web.access import Here, Who, require
from app.web.charts import Mark, Series, line_chart
from app.web.marks import marks_since
from app.web.page import Page
from app.web.rendering import add_page
from db import sql
from schemas.codes import Role

PAGE: Final = Page("/ai-ops", "AI Ops", frozenset({Role.SUPER_ADMIN, Role.WORKSPACE_ADMIN, Role.OPS, Role.ANALYST}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

_HOURS: Final = 72
_ERRORS_SHOWN: Final = 25
Source = Literal["", "pipeline", "backfill", "evaluate", "replay"]


async def load(
    who: Who, web: Here, workspace: str | None = None, model: str | None = None, source: Source = ""
) -> dict[str, Any]:
    """Model calls of the last three days by feature id, errors first."""
    of, pool = who.narrow(workspace), web.pool
    chosen = {"workspace_id": of, "model": model or None, "source": source or None, "hours": _HOURS}
    without_model = {name: value for name, value in chosen.items() if name != "model"}
    features, hours, models, failures, errors, marks = await asyncio.gather(
        sql.ai_ops.features.rows(pool, **chosen),
        sql.ai_ops.features_by_hour.rows(pool, **chosen),
        sql.ai_ops.models.rows(pool, **without_model),
        sql.ai_ops.failures.rows(pool, **chosen),
        sql.ai_ops.errors_newest.rows(pool, **chosen, limit=_ERRORS_SHOWN),
        marks_since(pool, datetime.now(UTC) - timedelta(hours=_HOURS)),
    )
    rows = [dict(row) for row in features]
    return {
        "workspace": of,
        "model": model or "",
        "source": source,
        "answer": _answer(rows),
        "features": rows,
        "total": _total(rows),
        "hours": [dict(row) for row in hours],
        "chart": _chart([dict(row) for row in hours], marks),
        "marks": marks,
        "models": [dict(row) for row in models],
        "failures": [dict(row) for row in failures],
        "errors": [dict(row) for row in errors],
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("calls", "errors", "refused", "input_tokens", "output_tokens", "unpriced")
    priced = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return {**{name: sum(row[name] for row in rows) for name in names}, "cost_usd": sum(priced) if priced else None}


def _answer(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The page's first question, answered: the worst feature, or none."""
    calls, worst = sum(row["calls"] for row in rows), max(rows, key=lambda row: row["errors"], default=None)
    if not calls or worst is None:
        return {"kind": "quiet", "words": "No model was called within the last three days."}
    if not worst["errors"]:
        return {"kind": "good", "words": f"All {calls:,} calls of the last three days gave a usable answer."}
    share = worst["errors"] / worst["calls"] if worst["calls"] else 1.0
    words = f"Most errors in {worst['feature_id']}: {worst['errors']:,} of {worst['calls']:,} calls ({share:.1%})."
    return {"kind": "bad" if share > 0.1 else "warn", "words": words}


def _chart(hours: list[dict[str, Any]], marks: list[Mark]) -> Any:
    if not any(row["calls"] for row in hours):
        return line_chart([], title="")
    series = [Series(name, [(row["hour"], float(row[name])) for row in hours]) for name in ("calls", "errors")]
    return line_chart(series, title="Model calls and errors by hour, three days", unit="/h", marks=marks)


add_page(router, "/ai-ops", "ai_ops.html", load)
