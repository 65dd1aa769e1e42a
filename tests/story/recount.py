"""What the views must say, counted anew from the topics; and from the tables where no topic tells it.

Each check is a small function that gives the differences between a view and its recount, in words.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from db.pool import Executor
from tests.story.evidence import Evidence

STATUS_OF = {
    "awaiting_review": "pending",
    "refused": "pending",
    "not_sent": "pending",
    "approved": "scheduled",
    "edited": "scheduled",
}
Event = Mapping[str, Any]
Rows = list[dict[str, Any]]
Differences = list[str]


class Topics:
    """The result topics, each event once, by draft."""

    def __init__(self, evidence: Evidence) -> None:
        self.evaluated = {event["draft_id"]: event for event in evidence.events("draft-evaluated")}
        self.results = {event["draft_id"]: event for event in evidence.events("revision-result")}
        self.outcomes: dict[str, list[Event]] = defaultdict(list)
        for event in sorted(evidence.events("draft-outcome"), key=lambda event: event["sequence"]):
            self.outcomes[event["draft_id"]].append(event)

    @property
    def drafts(self) -> set[str]:
        return self.evaluated.keys() | self.outcomes.keys()

    def last(self, draft: str) -> Event | None:
        """The newest outcome."""
        return self.outcomes[draft][-1] if self.outcomes.get(draft) else None

    def was(self, draft: str, **wanted: str) -> bool:
        """Whether some outcome of the draft had these values."""
        return any(
            all(event[name] == value for name, value in wanted.items()) for event in self.outcomes.get(draft, ())
        )


def day_of(event: Event) -> date:
    return datetime.fromisoformat(event["occurred_at"]).astimezone(UTC).date()


def close(one: Any, other: Any) -> bool:
    """Equal, numbers to within rounding."""
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


def percentile(values: Iterable[float], share: float) -> float:
    """Linear interpolation between the closest ranks, as `percentile_cont`."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


# ---- one row per draft


def drafts(topics: Topics, rows: Rows) -> Differences:
    found: dict[Any, Any] = {}
    wanted: dict[Any, Any] = {}
    by_id = {str(row["draft_id"]): row for row in rows}
    for draft in topics.drafts | by_id.keys():
        for name, value in _expected_draft(topics, draft).items():
            wanted[draft, name] = value
            found[draft, name] = by_id.get(draft, {}).get(name, "no such row")
    return differing("drafts", found, wanted)


def _expected_draft(topics: Topics, draft: str) -> dict[str, Any]:
    evaluated, result, last = topics.evaluated.get(draft), topics.results.get(draft), topics.last(draft)
    told: dict[str, Any] = {
        "needs_review": topics.was(draft, action="needs_review"),
        "revision_attempted": bool(result and result["attempted"]),
        "revision_outcome": result["outcome"] if result else None,
        "revision_applied": bool(result and result["applied"]),
        "revision_iterations": result["iterations"] if result else 0,
        "original_confidence": evaluated["confidence"] if evaluated else None,
        "confidence": result["confidence"] if result else None,
        "revision_confidence": result["revision_confidence"] if result else None,
        "outcomes": last["sequence"] if last else 0,
    }
    if evaluated:
        names = ("workspace_id", "campaign_id", "channel", "mode", "language", "latency_ms")
        told |= {name: evaluated[name] for name in names}
    if last:
        told |= {name: last[name] for name in ("action", "reason", "threshold", "policy_revision")}
        told["status"] = STATUS_OF.get(last["status"], last["status"])
        told["sent_by_itself"] = last["decided_by"] == "policy" if last["status"] == "sent" else None
    return told


def revisions(topics: Topics, rows: Rows) -> Differences:
    told = ("outcome", "applied", "iterations", "original_confidence", "revision_confidence", "latency_ms")
    wanted = {draft: tuple(each[name] for name in told) for draft, each in topics.results.items() if each["attempted"]}
    return differing("revisions", {str(row["draft_id"]): tuple(row[name] for name in told) for row in rows}, wanted)


# ---- counts per day


def decisions(topics: Topics, rows: Rows) -> Differences:
    wanted: Counter[Any] = Counter()
    for draft in topics.outcomes:
        last = topics.last(draft)
        assert last is not None
        key = tuple(last[name] for name in ("workspace_id", "campaign_id", "channel", "mode", "action"))
        wanted[*key, "drafts"] += 1
        wanted[*key, "sent"] += topics.was(draft, status="sent")
        wanted[*key, "sent_by_itself"] += topics.was(draft, status="sent", decided_by="policy")
        wanted[*key, "needs_review"] += topics.was(draft, action="needs_review")
    found: Counter[Any] = Counter()
    for row in rows:
        key = tuple(row[name] for name in ("workspace_id", "campaign_id", "channel", "mode", "action"))
        for name in ("drafts", "sent", "sent_by_itself", "needs_review"):
            found[*key, name] += row[name]
    return differing("decisions", +found, +wanted)


def needs_review_rate(topics: Topics, rows: Rows) -> Differences:
    decided: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for draft in topics.outcomes:
        last, was_asked = topics.last(draft), topics.was(draft, action="needs_review")
        assert last is not None
        if last["mode"] == "AI_AUTO_SEND" and (last["action"] != "none" or was_asked):
            decided[last["workspace_id"]] += 1
            asked[last["workspace_id"]] += was_asked
    found = _summed(rows, ("workspace_id",), ("decided", "needs_review"))
    wanted = {(workspace,): (count, asked[workspace]) for workspace, count in decided.items()}
    wrong = [f"rate of {row}" for row in rows if not close(row["rate"], row["needs_review"] / row["decided"])]
    return differing("needs_review_rate", found, wanted) + wrong


def _summed(rows: Rows, keys: tuple[str, ...], values: tuple[str, ...]) -> dict[Any, Any]:
    """Sums over the days."""
    sums: dict[Any, list[Any]] = defaultdict(lambda: [0] * len(values))
    for row in rows:
        key = tuple(row[name] for name in keys)
        sums[key] = [before + row[name] for before, name in zip(sums[key], values, strict=True)]
    return {key: tuple(total) for key, total in sums.items()}


def applied_rate(topics: Topics, rows: Rows) -> Differences:
    wanted: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for draft, evaluated in topics.evaluated.items():
        result = topics.results[draft]
        counts = wanted[day_of(evaluated), evaluated["workspace_id"], evaluated["campaign_id"], evaluated["channel"]]
        counts[0] += 1
        counts[1] += result["attempted"]
        counts[2] += result["applied"]
        counts[3] += result["applied"] and topics.was(draft, status="sent")
    keys, values = (
        ("day", "workspace_id", "campaign_id", "channel"),
        ("evaluated", "attempted", "applied", "revised_then_sent"),
    )
    found = _summed(rows, keys, values)
    return differing("applied_rate", found, {key: tuple(counts) for key, counts in wanted.items()})


def revision_outcomes(topics: Topics, rows: Rows) -> Differences:
    wanted = Counter((each["workspace_id"], each["outcome"]) for each in topics.results.values())
    found = {key: total[0] for key, total in _summed(rows, ("workspace_id", "outcome"), ("drafts",)).items()}
    return differing("revision_outcomes", found, wanted)


def latency(topics: Topics, rows: Rows) -> Differences:
    steps: dict[Any, list[float]] = defaultdict(list)
    for draft, evaluated in topics.evaluated.items():
        key = (day_of(evaluated), evaluated["workspace_id"])
        steps[*key, "draft"].append(evaluated["latency_ms"])
        if topics.results[draft]["attempted"]:
            steps[*key, "revision"].append(topics.results[draft]["latency_ms"])
    found = {
        (row["day"], row["workspace_id"], row["step"], name): row[name]
        for row in rows
        for name in ("drafts", "p50_ms", "p95_ms")
    }
    wanted: dict[Any, Any] = {}
    for key, values in steps.items():
        wanted[*key, "drafts"] = len(values)
        wanted[*key, "p50_ms"], wanted[*key, "p95_ms"] = percentile(values, 0.5), percentile(values, 0.95)
    return differing("latency", found, wanted)


def confidence_distribution(topics: Topics, rows: Rows) -> Differences:
    wanted: Counter[Any] = Counter()
    for draft, evaluated in topics.evaluated.items():
        result = topics.results[draft]
        for kind, confidence in (("before", evaluated["confidence"]), ("after", result["confidence"])):
            if confidence is not None:
                wanted[evaluated["workspace_id"], kind, min(math.floor(confidence * 20), 19)] += 1
    found = _summed(rows, ("workspace_id", "kind", "bucket"), ("drafts",))
    return differing("confidence_distribution", {key: total[0] for key, total in found.items()}, wanted)


def review_outcomes(topics: Topics, rows: Rows) -> Differences:
    wanted: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for draft, events in topics.outcomes.items():
        if not topics.was(draft, action="needs_review"):
            continue
        counts = wanted[events[0]["workspace_id"], events[0]["channel"]]
        counts[0] += 1
        for place, status in enumerate(("approved", "edited", "rejected"), 1):
            counts[place] += topics.was(draft, status=status, decided_by="reviewer")
    found = _summed(rows, ("workspace_id", "channel"), ("asked", "approved", "edited", "rejected"))
    return differing("review_outcomes", found, {key: tuple(counts) for key, counts in wanted.items()})


def reviews(topics: Topics, rows: Rows) -> Differences:
    wanted = {}
    for draft in topics.outcomes:
        if topics.was(draft, action="needs_review"):
            people = [event["status"] for event in topics.outcomes[draft] if event["decided_by"] == "reviewer"]
            decided = [status for status in people if status in ("approved", "edited", "rejected")]
            wanted[draft] = decided[-1] if decided else None
    return differing("reviews", {str(row["draft_id"]): row["result"] for row in rows}, wanted)


def reliability(topics: Topics, rows: Rows) -> Differences:
    wanted: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for events in topics.outcomes.values():
        decided = [event for event in events if event["status"] in ("approved", "edited", "rejected")]
        if decided and decided[-1]["confidence"] is not None:
            last = decided[-1]
            counts = wanted[last["workspace_id"], min(math.floor(last["confidence"] * 10), 9)]
            counts[0] += 1
            counts[1] += last["status"] == "approved"
    found = _summed(rows, ("workspace_id", "bucket"), ("reviewed", "approved"))
    return differing("reliability", found, {key: tuple(counts) for key, counts in wanted.items()})


def draft_costs(topics: Topics, rows: Rows) -> Differences:
    """Of drafts that were judged: what the events say the draft and its revision used."""
    found: dict[Any, Any] = {}
    wanted: dict[Any, Any] = {}
    by_id = {str(row["draft_id"]): row for row in rows}
    for draft, evaluated in topics.evaluated.items():
        result, row = topics.results[draft], by_id[draft]
        for name in ("input_tokens", "output_tokens", "cost_usd"):
            found[draft, name], wanted[draft, name] = row[f"draft_{name}"], evaluated[name]
            found[draft, "revision", name] = float(row[f"revision_{name}"])
            wanted[draft, "revision", name] = float(result[name] if result["attempted"] else 0)
    return differing("draft_costs", found, wanted)


FROM_TOPICS: dict[str, Callable[[Topics, Rows], Differences]] = {
    check.__name__: check
    for check in (
        drafts,
        revisions,
        decisions,
        needs_review_rate,
        applied_rate,
        revision_outcomes,
        latency,
        confidence_distribution,
        reviews,
        review_outcomes,
        reliability,
        draft_costs,
    )
}


# ---- what no topic tells: from the tables, without SQL


def model_costs(evidence: Evidence, rows: Rows) -> Differences:
    wanted: dict[Any, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, 0.0])
    for call in evidence.tables["model_call"]:
        counts = wanted[call["workspace_id"], call["stage"], call["iteration"] > 0, call["model"]]
        counts[0] += 1
        counts[1] += call["status"] == "answered"
        counts[2] += call["input_tokens"] or 0
        counts[3] += call["output_tokens"] or 0
        counts[4] += float(call["cost_usd"] or 0)
    keys = ("workspace_id", "stage", "revision", "model")
    found = _summed(rows, keys, ("calls", "answered", "input_tokens", "output_tokens", "cost_usd"))
    exact = differing("model_costs", {key: total[:4] for key, total in found.items()},
                      {key: tuple(counts[:4]) for key, counts in wanted.items()})  # fmt: skip
    money = differing("model_costs usd", {key: total[4] for key, total in found.items()},
                      {key: counts[4] for key, counts in wanted.items()})  # fmt: skip
    return exact + money


def message_dispositions(evidence: Evidence, rows: Rows) -> Differences:
    keys = ("workspace_id", "channel", "direction", "disposition")
    wanted = Counter(tuple(row[name] for name in keys) for row in evidence.tables["message"])
    return differing("message_dispositions", {key: total[0] for key, total in _summed(rows, keys, ("messages",)).items()},
                     wanted)  # fmt: skip


def overseer_rates(evidence: Evidence, rows: Rows) -> Differences:
    workspaces = {row["id"]: row["workspace_id"] for row in evidence.tables["ai_draft"]}
    wanted: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for each in evidence.tables["meeting_overseer_decision"]:
        counts = wanted[(workspaces[each["draft_id"]],)]
        counts[0] += 1
        counts[("approve", "revise", "error").index(each["decision"]) + 1] += 1
    found = _summed(rows, ("workspace_id",), ("decisions", "approve", "revise", "error"))
    return differing("overseer_rates", found, {key: tuple(counts) for key, counts in wanted.items()})


def booking_outcomes(evidence: Evidence, rows: Rows) -> Differences:
    wanted = Counter((row["workspace_id"], row["outcome"]) for row in evidence.tables["followup_task"])
    found = _summed(rows, ("workspace_id", "outcome"), ("followups",))
    return differing("booking_outcomes", {key: total[0] for key, total in found.items()}, wanted)


def bookings(evidence: Evidence, rows: Rows) -> Differences:
    wanted = Counter((row["workspace_id"], row["source"], row["status"]) for row in evidence.tables["booking"])
    found = _summed(rows, ("workspace_id", "source", "status"), ("slots",))
    return differing("bookings", {key: total[0] for key, total in found.items()}, wanted)


def context_truncation(evidence: Evidence, rows: Rows) -> Differences:
    wanted: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in evidence.tables["ai_interaction"]:
        counts, told = wanted[each["workspace_id"], each["feature_id"]], each["metadata"]
        counts[0] += 1
        counts[1] += told.get("bundle_enabled") is True
        counts[2] += told.get("bundle_enabled") is True and bool(told.get("bundle_truncated"))
    found = _summed(rows, ("workspace_id", "feature_id"), ("calls", "bundle_calls", "truncated_calls"))
    return differing("context_truncation", found, {key: tuple(counts) for key, counts in wanted.items()})


FROM_TABLES: dict[str, Callable[[Evidence, Rows], Differences]] = {
    check.__name__: check
    for check in (model_costs, message_dispositions, overseer_rates, booking_outcomes, bookings, context_truncation)
}
NOT_RECOUNTED = frozenset({"drift"})  # about the last eight days; tests/db/test_analytics.py makes such days


async def view_rows(connection: Executor, view: str) -> Rows:
    return [dict(row) for row in await connection.fetch(f"SELECT * FROM analytics.{view}")]


async def recount(connection: Executor, evidence: Evidence) -> Differences:
    """Every difference between a view and its recount."""
    topics, lines = Topics(evidence), []
    for view, check in FROM_TOPICS.items():
        lines += check(topics, await view_rows(connection, view))
    for view, against in FROM_TABLES.items():
        lines += against(evidence, await view_rows(connection, view))
    return lines
