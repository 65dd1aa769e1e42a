"""What the views must say, counted anew from the topics; `recount_tables.py` does so where no topic tells it.

Each check is a small function that gives the differences between a view and its recount, in words. It looks at every
column but those of NOT_TOLD: a test changes one value after the other and wants it noticed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from db.pool import Executor
from tests.story.evidence import Evidence
from tests.story.recount_tables import FROM_TABLES
from tests.story.told import (
    PERSON,
    Differences,
    Event,
    Rows,
    Told,
    day_of,
    differing,
    keyed,
    moment,
    percentile,
    share,
)

STATUS_OF = {
    "awaiting_review": "pending",
    "refused": "pending",
    "not_sent": "pending",
    "approved": "scheduled",
    "edited": "scheduled",
}
# Columns that neither a topic nor another table tells.
NOT_TOLD = {
    "drafts": {"created_at"},
    "revisions": {"claimed_at"},
}
NOT_RECOUNTED = frozenset({"drift"})  # about the last eight days; tests/db/test_analytics.py makes such days


def counted(cases: Iterable[tuple[Any, tuple[bool, ...]]]) -> dict[Any, list[int]]:
    """How often each key came, and how often with each of its flags."""
    sums: dict[Any, list[int]] = {}
    for key, flags in cases:
        before = sums.get(key, [0] * (len(flags) + 1))
        sums[key] = [count + flag for count, flag in zip(before, (True, *flags), strict=True)]
    return sums


# ---- one row per draft


def drafts(told: Told, rows: Rows) -> Differences:
    by_id = {str(row["draft_id"]): row for row in rows}
    found: dict[Any, Any] = {}
    wanted: dict[Any, Any] = {}
    for draft in told.drafts | by_id.keys():
        for name, value in (_expected_draft(told, draft) if draft in told.drafts else {"": None}).items():
            wanted[draft, name] = value
            found[draft, name] = by_id.get(draft, {}).get(name, "no such row")
    return differing("drafts", found, wanted)


def _expected_draft(told: Told, draft: str) -> dict[str, Any]:
    evaluated, result = told.evaluated.get(draft), told.results.get(draft)
    last = told.last(draft) if told.outcomes.get(draft) else None
    sent, edited = told.first(draft, status="sent"), told.was(draft, status="edited")
    return {
        "day": told.begun(draft),
        "backfilled": False,
        "needs_review": told.was(draft, action="needs_review"),
        "outcomes": last["sequence"] if last else 0,
        "sent_at": moment(sent) if sent else None,
        "sent_by_itself": sent["decided_by"] == "policy" if sent else None,
        "sent_edited": sent is not None and edited,
        **_judged(evaluated, result),
        **_decided(last or evaluated),
        **({"hard_blocks": sorted(set(result["hard_blocks"]))} if result and not edited else {}),  # of the present text
        **({"status": STATUS_OF.get(last["status"], last["status"])} if last else {}),
        **({name: last[name] for name in ("action", "reason")} if last else {}),
    }


def _judged(evaluated: Event | None, result: Event | None) -> dict[str, Any]:
    """What judgement and revision say."""
    if evaluated is None:
        return {"original_confidence": None, "evaluated_at": None, "revision_outcome": None, "latency_ms": None}
    assert result is not None
    original, revised = evaluated["confidence"], result["revision_confidence"]
    return {
        "original_confidence": original,
        "evaluated_at": moment(evaluated),
        "latency_ms": evaluated["latency_ms"],
        "language": evaluated["language"],
        "confidence": result["confidence"],
        "revision_confidence": revised,
        "confidence_delta": revised - original if revised is not None else None,
        "revision_outcome": result["outcome"],
        "revision_attempted": result["attempted"],
        "revision_applied": result["applied"],
        "revision_iterations": result["iterations"],
    }


def _decided(event: Event | None) -> dict[str, Any]:
    """Whose draft it is, and by which policy it was decided."""
    names = ("workspace_id", "campaign_id", "channel", "mode", "threshold", "policy_revision")
    return {name: event[name] for name in names} if event else {}


def revisions(told: Told, rows: Rows) -> Differences:
    wanted = {}
    same = (
        *("workspace_id", "campaign_id", "channel", "outcome", "applied", "iterations", "original_confidence"),
        *("revision_confidence", "threshold", "latency_ms"),
    )
    for draft, result in told.results.items():
        if result["attempted"]:
            original, revised, asked = result["original_confidence"], result["revision_confidence"], result["threshold"]
            wanted[(draft,)] = (
                *(result[name] for name in same),
                day_of(told.evaluated[draft]),
                revised - original if revised is not None else None,
                revised >= asked if revised is not None else None,
                moment(result),
                result["applied"] and told.was(draft, status="sent"),
            )
    rest = ("day", "confidence_delta", "reached_threshold", "settled_at", "revised_then_sent")
    return differing("revisions", keyed(rows, ("draft_id",), (*same, *rest)), wanted)


def reviews(told: Told, rows: Rows) -> Differences:
    wanted = {}
    same = ("workspace_id", "campaign_id", "channel", "reason", "threshold")
    for draft, asked in told.asked.items():
        decided, clicked = told.decided(draft), told.clicked(draft)
        wanted[(draft,)] = (
            *(asked[name] for name in same),
            (decided or asked)["confidence"],
            day_of(asked),
            moment(asked),
            decided["status"] if decided else None,
            _standing(told, draft),
            *(clicked or (None, None)),
        )
    columns = (*same, "confidence", "day", "asked_at", "result", "status", "decided_at", "decision_s")
    return differing("reviews", keyed(rows, ("draft_id",), columns), wanted)


def _standing(told: Told, draft: str) -> str:
    """What became of the question."""
    if told.decided(draft):
        return "decided"
    return next((fate for fate in ("expired", "superseded") if told.was(draft, status=fate)), "open")


# ---- counts per day


def decisions(told: Told, rows: Rows) -> Differences:
    names = ("workspace_id", "campaign_id", "channel", "mode", "action")
    wanted = counted(
        (
            (told.begun(draft), *(told.last(draft)[name] for name in names)),
            (
                told.was(draft, status="sent"),
                told.was(draft, status="sent", decided_by="policy"),
                told.was(draft, action="needs_review"),
            ),
        )
        for draft in told.outcomes
    )
    found = keyed(rows, ("day", *names), ("drafts", "sent", "sent_by_itself", "needs_review"))
    return differing("decisions", found, wanted)


def needs_review_rate(told: Told, rows: Rows) -> Differences:
    wanted = counted(
        ((told.begun(draft), told.last(draft)["workspace_id"]), (told.was(draft, action="needs_review"),))
        for draft in told.outcomes
        if told.last(draft)["mode"] == "AI_AUTO_SEND"
        and (told.last(draft)["action"] != "none" or told.was(draft, action="needs_review"))
    )
    rated = {key: (decided, asked, share(asked, decided)) for key, (decided, asked) in wanted.items()}
    return differing(
        "needs_review_rate", keyed(rows, ("day", "workspace_id"), ("decided", "needs_review", "rate")), rated
    )


def applied_rate(told: Told, rows: Rows) -> Differences:
    names = ("workspace_id", "campaign_id", "channel")
    wanted = counted(
        (
            (day_of(evaluated), *(evaluated[name] for name in names)),
            (
                told.results[draft]["attempted"],
                told.results[draft]["applied"],
                told.results[draft]["applied"] and told.was(draft, status="sent"),
            ),
        )
        for draft, evaluated in told.evaluated.items()
    )
    rated = {key: (*counts, share(counts[2], counts[1])) for key, counts in wanted.items()}
    values = ("evaluated", "attempted", "applied", "revised_then_sent", "rate")
    return differing("applied_rate", keyed(rows, ("day", *names), values), rated)


def revision_outcomes(told: Told, rows: Rows) -> Differences:
    wanted = counted(
        ((day_of(told.evaluated[draft]), result["workspace_id"], result["outcome"]), ())
        for draft, result in told.results.items()
    )
    return differing("revision_outcomes", keyed(rows, ("day", "workspace_id", "outcome"), ("drafts",)), wanted)


def latency(told: Told, rows: Rows) -> Differences:
    steps: dict[Any, list[float]] = defaultdict(list)
    for draft, evaluated in told.evaluated.items():
        key = (day_of(evaluated), evaluated["workspace_id"])
        steps[*key, "draft"].append(evaluated["latency_ms"])
        if told.results[draft]["attempted"]:
            steps[*key, "revision"].append(told.results[draft]["latency_ms"])
    wanted = {key: (len(ms), percentile(ms, 0.5), percentile(ms, 0.95)) for key, ms in steps.items()}
    return differing("latency", keyed(rows, ("day", "workspace_id", "step"), ("drafts", "p50_ms", "p95_ms")), wanted)


def confidence_distribution(told: Told, rows: Rows) -> Differences:
    wanted = counted(
        ((day_of(evaluated), evaluated["workspace_id"], kind, min(math.floor(confidence * 20), 19)), ())
        for draft, evaluated in told.evaluated.items()
        for kind, confidence in (("before", evaluated["confidence"]), ("after", told.results[draft]["confidence"]))
        if confidence is not None
    )
    stepped = {key: (*counts, key[3] / 20) for key, counts in wanted.items()}
    found = keyed(rows, ("day", "workspace_id", "kind", "bucket"), ("drafts", "confidence_from"))
    return differing("confidence_distribution", found, stepped)


def review_outcomes(told: Told, rows: Rows) -> Differences:
    fates = ("open", "expired", "superseded")
    took_s: dict[Any, list[float]] = defaultdict(list)
    cases = []
    for draft, asked in told.asked.items():
        key, decided = (day_of(asked), asked["workspace_id"], asked["channel"]), told.decided(draft)
        flags = [decided is not None and decided["status"] == status for status in PERSON]
        cases.append((key, (*flags, *(_standing(told, draft) == fate for fate in fates))))
        if clicked := told.clicked(draft):
            took_s[key].append(clicked[1])
    wanted = {key: (*counts, percentile(took_s[key], 0.5)) for key, counts in counted(cases).items()}
    found = keyed(rows, ("day", "workspace_id", "channel"), ("asked", *PERSON, *fates, "p50_s"))
    return differing("review_outcomes", found, wanted)


def reliability(told: Told, rows: Rows) -> Differences:
    sums: dict[Any, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for decided in filter(None, map(told.decided, told.outcomes)):
        if decided["confidence"] is not None:
            bucket = min(math.floor(decided["confidence"] * 10), 9)
            of_bucket = sums[day_of(decided), decided["workspace_id"], bucket]
            of_bucket[0] += 1
            of_bucket[1] += decided["status"] == "approved"
            of_bucket[2] += decided["confidence"]
    wanted = {key: (*sums, share(sums[2], sums[0]), share(sums[1], sums[0])) for key, sums in sums.items()}
    values = ("reviewed", "approved", "confidence_sum", "mean_confidence", "approved_rate")
    return differing("reliability", keyed(rows, ("day", "workspace_id", "bucket"), values), wanted)


FROM_TOPICS: Mapping[str, Callable[[Told, Rows], Differences]] = {
    check.__name__: check
    for check in (
        drafts,
        revisions,
        reviews,
        decisions,
        needs_review_rate,
        applied_rate,
        revision_outcomes,
        latency,
        confidence_distribution,
        review_outcomes,
        reliability,
    )
}
RECOUNTS = {**FROM_TOPICS, **FROM_TABLES}


async def view_rows(connection: Executor, view: str) -> Rows:
    return [dict(row) for row in await connection.fetch(f"SELECT * FROM analytics.{view}")]


async def recount(connection: Executor, evidence: Evidence) -> Differences:
    """Every difference between a view and its recount."""
    told = Told(evidence)
    return [line for view, check in RECOUNTS.items() for line in check(told, await view_rows(connection, view))]
