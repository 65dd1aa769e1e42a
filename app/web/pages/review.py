"""Review: what do I have to decide next?"""

import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request

from app.review.words import in_words
from app.web.access import Who, require
from app.web.page import Page
from app.web.rendering import add_page
from app.web.words import seconds
from db import sql
from schemas.codes import Role

if TYPE_CHECKING:
    from app.web.server import Web

PAGE: Final = Page("/review", "Review", frozenset({Role.SUPER_ADMIN, Role.WORKSPACE_ADMIN, Role.REVIEWER}))
router: Final = APIRouter(dependencies=[require(*PAGE.roles)])

ROWS_MAX: Final = 100
_LATELY_S: Final = 7 * 24 * 3600.0  # how far the lists of what is closed go back, and their counts

State = Literal["waiting", "unknown", "scheduled", "expired", "decided"]
Age = Literal["", "1h", "4h", "1d"]
Confidence = Literal["", "high", "middle", "low", "none"]

STATES: Final[dict[State, str]] = {
    "waiting": "Waiting",
    "unknown": "May have been sent",
    "scheduled": "Scheduled",
    "expired": "Expired",
    "decided": "Decided",
}
AGES: Final[dict[Age, str]] = {"": "any", "1h": "over 1 hour", "4h": "over 4 hours", "1d": "over 1 day"}
CONFIDENCES: Final[dict[Confidence, str]] = {
    "": "any",
    "high": "0.80 and more",
    "middle": "0.60 to 0.80",
    "low": "below 0.60",
    "none": "none given",
}
_AGE_S: Final[dict[Age, float]] = {"": 0.0, "1h": 3_600.0, "4h": 4 * 3_600.0, "1d": 24 * 3_600.0}
_BOUNDS: Final[dict[Confidence, tuple[float | None, float | None]]] = {
    "": (None, None),
    "high": (0.8, None),
    "middle": (0.6, 0.8),
    "low": (None, 0.6),
    "none": (None, None),
}


@dataclass(frozen=True)
class Filters:
    """What of the queue is looked at; all of it is in the address of the page."""

    state: State = "waiting"
    workspace: str = ""
    reason: str = ""
    age: Age = ""
    confidence: Confidence = ""

    def query(self, **changes: str) -> str:
        """As the address has it, what is chosen only, beginning with `?`; empty for nothing."""
        chosen = {name: value for name, value in (asdict(self) | changes).items() if value and value != "waiting"}
        return f"?{urlencode(chosen)}" if chosen else ""

    def columns(self) -> dict[str, Any]:
        """The arguments that all three queues take."""
        low, high = _BOUNDS[self.confidence]
        return {
            "reason": self.reason or None,
            "older_s": _AGE_S[self.age],
            "confidence_min": low,
            "confidence_below": high,
            "unjudged": self.confidence == "none",
        }


def filters_of(
    state: State = "waiting",
    workspace: Annotated[str, Query(max_length=200)] = "",
    reason: Annotated[str, Query(max_length=200)] = "",
    age: Age = "",
    confidence: Confidence = "",
) -> Filters:
    return Filters(state, workspace, reason, age, confidence)


Chosen = Annotated[Filters, Depends(filters_of)]


async def rows_of(
    web: "Web", filters: Filters, workspace: str | None, limit: int, after: uuid.UUID | None = None
) -> list[dict[str, Any]]:
    """The rows of the queue, those to decide next first; of a draft, those that follow it."""
    columns = {"workspace_id": workspace, "limit": limit, "after": after, **filters.columns()}
    match filters.state:
        case "waiting" | "unknown":
            rows = await sql.queue.open_queue.rows(web.pool, unknown=filters.state == "unknown", **columns)
        case "scheduled":
            rows = await sql.queue.scheduled_queue.rows(web.pool, **columns)
        case "expired" | "decided":
            rows = await sql.queue.closed_queue.rows(web.pool, status=filters.state, lately_s=_LATELY_S, **columns)
    return [dict(row) | {"words": in_words(row["reason"] or "")} for row in rows]


async def _reasons(web: "Web", state: State, workspace: str | None) -> list[tuple[str, str, int]]:
    """What the list of this state can be narrowed to: code, words and how many."""
    match state:
        case "waiting" | "unknown":
            rows = await sql.queue.open_reasons.rows(web.pool, workspace_id=workspace, unknown=state == "unknown")
        case "scheduled":
            rows = await sql.queue.scheduled_reasons.rows(web.pool, workspace_id=workspace)
        case "expired" | "decided":
            rows = await sql.queue.closed_reasons.rows(
                web.pool, workspace_id=workspace, status=state, lately_s=_LATELY_S
            )
    return [(row["reason"], in_words(row["reason"]), row["count"]) for row in rows]


async def load(request: Request, who: Who, filters: Chosen) -> dict[str, Any]:
    """Drafts that wait for a person, by state; filters in the address."""
    web: Web = request.app.state.web
    workspace = who.narrow(filters.workspace)
    rows = await rows_of(web, filters, workspace, ROWS_MAX + 1)
    counts = dict(await sql.queue.queue_counts.one(web.pool, workspace_id=workspace, lately_s=_LATELY_S))
    answer, kind = _answer(counts)
    return {
        "filters": filters,
        "answer": answer,
        "kind": kind,
        # A reason belongs to its tab: another one has others.
        "tabs": [
            (state, title, counts[state], filters.query(state=state, reason="")) for state, title in STATES.items()
        ],
        "rows": rows[:ROWS_MAX],
        "more": len(rows) > ROWS_MAX,
        "reasons": await _reasons(web, filters.state, workspace),
        "workspaces": await _workspaces(web, who),
        "ages": AGES,
        "confidences": CONFIDENCES,
        "counts": counts,
    }


async def _workspaces(web: "Web", who: Who) -> list[dict[str, Any]]:
    """Those to choose from; none for who has one only."""
    if who.workspace_id is not None:
        return []
    return [dict(row) for row in await sql.queue.open_workspaces.rows(web.pool)]


def _answer(counts: dict[str, Any]) -> tuple[str, str]:
    waiting, unknown, oldest = counts["waiting"], counts["unknown"], counts["oldest"]
    if not waiting and not unknown:
        return "Nothing waits for a decision.", "good"
    said = []
    if waiting:
        said.append(f"{waiting:,} {'draft waits' if waiting == 1 else 'drafts wait'} for a decision")
    if unknown:
        said.append(f"{unknown:,} may have been sent")
    since = (counts["now"] - oldest).total_seconds()
    return f"{', '.join(said)}; the oldest for {seconds(since)}.", "bad" if unknown else "warn"


add_page(router, "/review", "review.html", load)
