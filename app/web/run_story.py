"""A run told in order: its stages with sums, and what happened to its draft. Pure: from what `explain` gives."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from schemas.codes import FINAL_DRAFT, LOOP_ERROR, DraftStatus, RunStatus, Stage

_SUMMED: Final = ("input_tokens", "output_tokens", "latency_ms", "cost_usd")
_KINDS: Final = {
    DraftStatus.SENT: "good",
    DraftStatus.UNKNOWN: "bad",
    DraftStatus.PENDING: "warn",
    DraftStatus.SCHEDULED: "quiet",
}


def _sum(values: Sequence[Any]) -> Any:
    """None when nothing is known: no data is not 0."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def told_stages(explained: Mapping[str, Any], run_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Every stage and iteration with the calls of this run, their sums, and what was decided there."""
    threshold = _threshold(explained)
    told = []
    for stage in explained["stages"]:
        calls = [call for call in stage["calls"] if run_id is None or call["run_id"] == run_id]
        if not calls and not stage["answered"]:
            continue  # asked by another attempt only
        status = "recorded" if not calls else "answered" if stage["answered"] else calls[-1]["status"]
        sums = {name: _sum([call[name] for call in calls]) for name in _SUMMED}
        confidence = stage["figures"].get("confidence") if stage["stage"] == Stage.EVALUATION else None
        told.append(
            {
                **stage,
                **sums,
                "calls": calls,
                "status": status,
                "confidence": confidence,
                "passed": None if confidence is None or threshold is None else confidence >= threshold,
                "decided": _decided(stage, explained, confidence, threshold),
            }
        )
    return told


def _threshold(explained: Mapping[str, Any]) -> float | None:
    verdict = explained["verdict"]
    return verdict["threshold"] if verdict else None


def _decided(
    stage: Mapping[str, Any], explained: Mapping[str, Any], confidence: float | None, threshold: float | None
) -> str:
    if stage["stage"] == FINAL_DRAFT and explained["verdict"]:
        return f"{explained['verdict']['action'] or 'undecided'}: {explained['verdict']['reason'] or '-'}"
    if stage["stage"] == LOOP_ERROR:
        return "the revision ended here with an error"
    if stage["stage"] == Stage.MEETING_GATE and explained["meeting"]:
        return str(explained["meeting"]["decision"])
    if confidence is not None and threshold is not None:
        return f"{confidence:.3f} {'≥' if confidence >= threshold else '<'} {threshold:.3f}"
    return ""


def sums_of(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Calls that did work, and what all calls took and cost."""
    calls = [call for stage in told for call in stage["calls"]]
    sums = {name: _sum([call[name] for call in calls]) for name in _SUMMED}
    return {"calls": sum(call["status"] != "refused" for call in calls), **sums}


def answer_of(explained: Mapping[str, Any], run: Mapping[str, Any] | None) -> dict[str, str]:
    """What happened, what was decided and why, in one line."""
    verdict = explained["verdict"]
    if run is not None and run["status"] == RunStatus.RUNNING:
        return {"kind": "quiet", "words": f"Running: {run['phase']} is next or under way."}
    if run is not None and run["status"] in (RunStatus.FAILED, RunStatus.ABORTED):
        kind = "bad" if run["status"] == RunStatus.FAILED else "quiet"
        return {"kind": kind, "words": f"{run['status'].capitalize()}: {run['reason']}."}
    if verdict is None or verdict["action"] is None:
        return {"kind": "quiet", "words": "Nothing was decided."}
    words = f"{verdict['action']}, because {verdict['reason']}; the draft is {verdict['status']}."
    return {"kind": _KINDS.get(verdict["status"], "quiet"), "words": words}


def trace_of(traceparent: str | None) -> str | None:
    """The trace id of a W3C traceparent: `00-<trace id>-<span id>-<flags>`."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 4 else None


# ---- what happened, in order


def happenings(explained: Mapping[str, Any], run: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Message, run, claims, sends and people's decisions by time: `at`, `what`, `detail`."""
    found: list[tuple[datetime | None, str, Any]] = []
    draft = explained["draft"]
    if draft:
        found += [(draft["received_at"], "message received", draft["channel"])]
        found += [(draft["ingested_at"], "message recorded", "ingest")]
    if run:
        found.append((run["created_at"], "run started", f"attempt {run['attempt']}"))
        found.append((run["superseded_at"], "superseded", "a newer message arrived"))
        found.append((run["finished_at"], f"run {run['status'].lower()}", run["reason"]))
    for claim in explained["claims"]:
        found.append((claim["claimed_at"], f"claim on {claim['purpose']}", f"by {claim['claimed_by']}"))
        found.append((claim["settled_at"], f"claim on {claim['purpose']} settled", claim["outcome"]))
    for delivery in explained["deliveries"]:
        found += _of_delivery(delivery)
    for review in explained["reviews"]:
        found += _of_review(review)
    known = [{"at": at.astimezone(UTC), "what": what, "detail": detail} for at, what, detail in found if at is not None]
    return sorted(known, key=lambda each: each["at"])


def _of_delivery(delivery: Mapping[str, Any]) -> list[tuple[datetime | None, str, Any]]:
    who = "automatic" if delivery["automatic"] else f"approved by {delivery['approved_by']}"
    ended = f"send {delivery['status']}"
    return [
        (delivery["scheduled_for"], "send due", who),
        (delivery["claimed_at"], "send claimed", f"attempt {delivery['attempts']}"),
        (delivery["finished_at"], ended, delivery["reason"] or delivery["provider_message_id"]),
    ]


def _of_review(review: Mapping[str, Any]) -> list[tuple[datetime | None, str, Any]]:
    found = [
        (review["created_at"], "asked a person", review["reason"]),
        (review["closed_at"], f"review {review['status']}", None),
    ]
    for action in review["actions"] or ():
        detail = f"{action['actor']} via {action['via']}: {action['result'] or 'waits'}"
        found.append((datetime.fromisoformat(action["at"]), f"person: {action['action']}", detail))
    return found
