"""What was told, as a recount needs it: the result topics by draft, and small arithmetic without SQL."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.story.evidence import Evidence, TextRow

# A row has the time of its transaction, an event the time at which it was made.
CLOCK_SLACK = timedelta(seconds=10)
PERSON = ("approved", "edited", "rejected")
Event = Mapping[str, Any]
Rows = list[dict[str, Any]]
Differences = list[str]


class Told:
    """The result topics, each event once, by draft; `tables` for what no topic tells."""

    def __init__(self, evidence: Evidence) -> None:
        self.tables: dict[str, list[TextRow]] = evidence.tables
        self.evaluated = {event["draft_id"]: event for event in evidence.events("draft-evaluated")}
        self.results = {event["draft_id"]: event for event in evidence.events("revision-result")}
        self.outcomes: dict[str, list[Event]] = defaultdict(list)
        for event in sorted(evidence.events("draft-outcome"), key=lambda event: event["sequence"]):
            self.outcomes[event["draft_id"]].append(event)
        self.requests = {str(row["draft_id"]): row for row in evidence.tables["review_request"]}
        self.actions: dict[str, list[TextRow]] = defaultdict(list)
        for row in evidence.tables["review_action"]:
            self.actions[str(row["draft_id"])].append(row)

    @property
    def drafts(self) -> set[str]:
        return self.evaluated.keys() | self.outcomes.keys()

    def last(self, draft: str) -> Event:
        """The newest outcome."""
        return self.outcomes[draft][-1]

    def first(self, draft: str, **wanted: str) -> Event | None:
        """The first outcome of the draft that had these values."""
        return next((event for event in self.outcomes.get(draft, ()) if wanted.items() <= event.items()), None)

    def was(self, draft: str, **wanted: str) -> bool:
        """Whether some outcome of the draft had these values."""
        return self.first(draft, **wanted) is not None

    def decided(self, draft: str) -> Event | None:
        """A person's last decision on the draft."""
        by_people = [event for event in self.outcomes.get(draft, ()) if event["decided_by"] == "reviewer"]
        return next((event for event in reversed(by_people) if event["status"] in PERSON), None)

    @property
    def asked(self) -> dict[str, Event]:
        """The question that was put to a person, by draft."""
        first = {draft: self.first(draft, action="needs_review") for draft in self.outcomes}
        return {draft: event for draft, event in first.items() if event is not None}

    def clicked(self, draft: str) -> tuple[datetime, float] | None:
        """When a person decided, and seconds after the question: their click is on no topic that is kept for analysts."""
        done = [row for row in self.actions.get(draft, ()) if row["result"] in PERSON]
        if not done:
            return None
        at: datetime = max(done, key=lambda row: row["done_at"])["created_at"]
        return at, (at - self.requests[draft]["created_at"]).total_seconds()

    def begun(self, draft: str) -> date:
        """The day on which the draft was begun: its judgement tells how long it took; without one, its first outcome."""
        evaluated = self.evaluated.get(draft)
        if evaluated is None:
            return day_of(self.outcomes[draft][0])
        return (moment(evaluated) - timedelta(milliseconds=evaluated["latency_ms"])).date()


def moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"]).astimezone(UTC)


def day_of(event: Event) -> date:
    return moment(event).date()


def day(at: datetime) -> date:
    """The day of a row's time."""
    return at.astimezone(UTC).date()


def close(one: Any, other: Any) -> bool:
    """Equal; numbers to within rounding, moments to within CLOCK_SLACK."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs(one - other) <= CLOCK_SLACK
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def differing(what: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> Differences:
    """One line for each key that only one side has, or whose values differ."""
    return [
        f"{what} {key}: the view says {found.get(key)}, the recount {wanted.get(key)}"
        for key in sorted(found.keys() | wanted.keys(), key=str)
        if not close(found.get(key), wanted.get(key))
    ]


def share(part: float, whole: float) -> float | None:
    """None when there is no whole."""
    return part / whole if whole else None


def percentile(values: Iterable[float], part: float) -> float | None:
    """Linear interpolation between the closest ranks, as `percentile_cont`; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = part * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def keyed(rows: Rows, keys: tuple[str, ...], values: tuple[str, ...]) -> dict[Any, Any]:
    """Some columns of each row, by others that name it; a row that comes twice is a difference."""
    found: dict[Any, Any] = {}
    for row in rows:
        key = tuple(str(row[name]) if name == "draft_id" else row[name] for name in keys)
        found[key] = "twice" if key in found else tuple(row[name] for name in values)
    return found
