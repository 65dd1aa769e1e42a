"""What an evaluation found: labels against what happened, reasons, cost, time, and whether it is good enough. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from app.cli.cases import Case
from app.cli.demo_view import percentile
from schemas.codes import Action, DraftStatus, Gate

LABELS: Final = ("send", "review", "never")
OUTCOMES: Final = ("sent", "review", "nothing", "undecided")
# What a label allows; a message that should be looked at and is dropped is as wrong as one that is sent.
RIGHT: Final[Mapping[str, tuple[str, ...]]] = {
    "send": ("sent",),
    "review": ("review",),
    "never": ("review", "nothing"),
}
_SENDS: Final = (Action.SEND_IMMEDIATE, Action.SEND_DELAYED)


@dataclass(frozen=True)
class Bounds:
    """Shares of the cases with that label. A `never` that is sent is never good enough."""

    min_sent: float
    max_review_sent: float


@dataclass(frozen=True)
class Verdict:
    """One case and what became of it."""

    id: str
    group: str
    label: str
    outcome: str
    decided_by: str | None
    codes: tuple[str, ...]
    missing: tuple[str, ...]
    confidence: float | None
    cost_usd: float
    latency_s: float | None
    draft_id: str | None

    @property
    def right(self) -> bool:
        return self.outcome in RIGHT[self.label] and not self.missing


def is_settled(row: Mapping[str, Any]) -> bool:
    """Whether nothing more will happen to a message by itself."""
    if row["disposition"] not in (Gate.RUN, Gate.WAITING):
        return True
    if row["action"] in _SENDS:
        return bool(row["draft_status"] != DraftStatus.PENDING)
    return row["action"] is not None


def outcome_of(row: Mapping[str, Any] | None) -> str:
    if row is None or not is_settled(row):
        return "undecided"
    if row["disposition"] != Gate.RUN:
        return "nothing"
    if row["draft_status"] in (DraftStatus.SENT, DraftStatus.SCHEDULED, DraftStatus.UNKNOWN):
        return "sent"
    return "review" if row["action"] == Action.NEEDS_REVIEW else "nothing"


def verdict(case: Case, row: Mapping[str, Any] | None) -> Verdict:
    codes: tuple[str, ...] = ()
    if row is not None:
        given = (
            row["disposition"],
            row["run_reason"],
            row["reason"],
            row["revision_outcome"],
            *row["reasons"],
            *row["blocks"],
        )
        codes = tuple(dict.fromkeys(code for code in given if code))
    return Verdict(
        id=case.id,
        group=case.group,
        label=case.label,
        outcome=outcome_of(row),
        decided_by=(row["run_reason"] or row["disposition"]) if row is not None else None,
        codes=codes,
        missing=tuple(code for code in case.expect if code not in codes),
        confidence=row["confidence"] if row is not None else None,
        cost_usd=(row["cost_usd"] or 0.0) if row is not None else 0.0,
        latency_s=row["latency_s"] if row is not None else None,
        draft_id=str(row["draft_id"]) if row is not None and row["draft_id"] else None,
    )


@dataclass(frozen=True)
class Report:
    """Everything that `evaluate` prints; `failures` are the bounds that do not hold, in words."""

    confusion: dict[str, dict[str, int]]
    groups: dict[str, dict[str, int]]
    reasons: dict[str, int]
    cost_usd: float
    latency_s: dict[str, float | None]
    wrong: list[Verdict]
    skipped: list[str]
    failures: list[str]

    @property
    def ok(self) -> bool:
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def report(verdicts: Sequence[Verdict], skipped: Sequence[str], bounds: Bounds) -> Report:
    confusion = {
        label: {name: sum((v.label, v.outcome) == (label, name) for v in verdicts) for name in OUTCOMES}
        for label in LABELS
    }
    groups: dict[str, dict[str, int]] = {}
    for each in verdicts:
        group = groups.setdefault(each.group, {"cases": 0, "right": 0, "sent": 0})
        group["cases"] += 1
        group["right"] += each.right
        group["sent"] += each.outcome == "sent"
    latencies = sorted(each.latency_s for each in verdicts if each.latency_s is not None)
    return Report(
        confusion=confusion,
        groups=groups,
        reasons=dict(Counter(each.decided_by or "undecided" for each in verdicts).most_common()),
        cost_usd=round(sum(each.cost_usd for each in verdicts), 6),
        latency_s={"median": percentile(latencies, 0.5), "p95": percentile(latencies, 0.95)},
        wrong=[each for each in verdicts if not each.right],
        skipped=list(skipped),
        failures=failures(verdicts, confusion, bounds),
    )


def failures(verdicts: Sequence[Verdict], confusion: Mapping[str, Mapping[str, int]], bounds: Bounds) -> list[str]:
    """The bounds that do not hold."""
    sent, asked, never = (confusion[label]["sent"] for label in LABELS)
    sendable, reviewable = sum(confusion["send"].values()), sum(confusion["review"].values())
    undecided = sum(confusion[label]["undecided"] for label in LABELS)
    unexpected = [each.id for each in verdicts if each.missing]
    found = (
        (never > 0, f"{never} case(s) that must never be answered by themselves were sent"),
        (asked > bounds.max_review_sent * reviewable, f"{asked} of {reviewable} review cases were sent"),
        (sent < bounds.min_sent * sendable, f"{sent} of {sendable} send cases were sent"),
        (undecided > 0, f"{undecided} case(s) were not decided in time"),
        (bool(unexpected), f"{len(unexpected)} case(s) without an expected code: {', '.join(unexpected[:5])}"),
    )
    return [words for holds, words in found if holds]
