"""The recount of what no topic tells: from the tables, without SQL. `draft_costs` stands on both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.story.told import Differences, Rows, Told, day, differing, keyed, percentile, share


def _groups(rows: Iterable[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def _sum(rows: Iterable[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] or 0 for row in rows)


def model_costs(told: Told, rows: Rows) -> Differences:
    keys = ("day", "workspace_id", "stage", "revision", "model")
    groups = _groups(
        told.tables["model_call"],
        lambda row: (day(row["started_at"]), row["workspace_id"], row["stage"], row["iteration"] > 0, row["model"]),
    )
    wanted = {}
    for key, calls in groups.items():
        ended = Counter(call["status"] for call in calls)
        answered = [call for call in calls if call["status"] == "answered"]
        times_ms = [call["latency_ms"] for call in answered if call["latency_ms"] is not None]
        wanted[key] = (
            len(calls),
            ended["answered"],
            ended["refused"],
            ended["failed"] + ended["unusable"],
            _sum(calls, "input_tokens"),
            _sum(calls, "output_tokens"),
            float(_sum(calls, "cost_usd")),
            sum(call["cost_usd"] is None for call in answered),
            percentile(times_ms, 0.5),
            percentile(times_ms, 0.95),
        )
    values = ("calls", "answered", "refused", "failed", "input_tokens", "output_tokens", "cost_usd", "cost_unknown")
    return differing("model_costs", keyed(rows, keys, (*values, "p50_ms", "p95_ms")), wanted)


def draft_costs(told: Told, rows: Rows) -> Differences:
    """The calls of each draft; and of drafts that were judged, what the events say the draft and its revision used."""
    found = keyed(rows, ("draft_id",), ("day", "workspace_id", "calls"))
    wanted: dict[Any, Any] = {
        (draft,): (day(min(call["started_at"] for call in calls)), calls[0]["workspace_id"], len(calls))
        for draft, calls in _groups(told.tables["model_call"], lambda row: str(row["draft_id"])).items()
    }
    by_id = {str(row["draft_id"]): row for row in rows}
    for draft, evaluated in told.evaluated.items():
        result, row = told.results[draft], by_id[draft]
        for name in ("input_tokens", "output_tokens", "cost_usd"):
            found[draft, name], wanted[draft, name] = row[f"draft_{name}"], evaluated[name]
            found[draft, "revision", name] = float(row[f"revision_{name}"])
            wanted[draft, "revision", name] = float(result[name] if result["attempted"] else 0)
    return differing("draft_costs", found, wanted)


def message_dispositions(told: Told, rows: Rows) -> Differences:
    names = ("workspace_id", "channel", "direction", "disposition")
    groups = _groups(told.tables["message"], lambda row: (day(row["ingested_at"]), *(row[name] for name in names)))
    found = keyed(rows, ("day", *names), ("messages",))
    return differing("message_dispositions", found, {key: (len(each),) for key, each in groups.items()})


def overseer_rates(told: Told, rows: Rows) -> Differences:
    workspaces = {row["id"]: row["workspace_id"] for row in told.tables["ai_draft"]}
    groups = _groups(
        told.tables["meeting_overseer_decision"], lambda row: (day(row["created_at"]), workspaces[row["draft_id"]])
    )
    wanted = {}
    for key, each in groups.items():
        said = Counter(row["decision"] for row in each)
        rates = (share(said["approve"], len(each)), share(said["revise"], len(each)))
        wanted[key] = (len(each), said["approve"], said["revise"], said["error"], *rates)
    values = ("decisions", "approve", "revise", "error", "approve_rate", "revise_rate")
    return differing("overseer_rates", keyed(rows, ("day", "workspace_id"), values), wanted)


def booking_outcomes(told: Told, rows: Rows) -> Differences:
    wanted = _groups(
        told.tables["followup_task"], lambda row: (day(row["created_at"]), row["workspace_id"], row["outcome"])
    )
    found = keyed(rows, ("day", "workspace_id", "outcome"), ("followups",))
    return differing("booking_outcomes", found, {key: (len(each),) for key, each in wanted.items()})


def bookings(told: Told, rows: Rows) -> Differences:
    names = ("workspace_id", "source", "status")
    wanted = _groups(told.tables["booking"], lambda row: (day(row["created_at"]), *(row[name] for name in names)))
    found = keyed(rows, ("day", *names), ("slots",))
    return differing("bookings", found, {key: (len(each),) for key, each in wanted.items()})


def context_truncation(told: Told, rows: Rows) -> Differences:
    calls = [row for row in told.tables["ai_interaction"] if row["source"] == "pipeline"]
    wanted = {}
    for key, of_day in _groups(
        calls, lambda row: (day(row["created_at"]), row["workspace_id"], row["feature_id"])
    ).items():
        bundled = [row["metadata"] for row in of_day if row["metadata"].get("bundle_enabled") is True]
        cut = sum(bool(each.get("bundle_truncated")) for each in bundled)
        sizes = [float(each["bundle_tokens"]) for each in bundled if "bundle_tokens" in each]
        wanted[key] = (len(of_day), len(bundled), cut, share(cut, len(bundled)), share(sum(sizes), len(sizes)))
    values = ("calls", "bundle_calls", "truncated_calls", "rate", "mean_bundle_tokens")
    return differing("context_truncation", keyed(rows, ("day", "workspace_id", "feature_id"), values), wanted)


FROM_TABLES: Mapping[str, Callable[[Told, Rows], Differences]] = {
    check.__name__: check
    for check in (
        model_costs,
        draft_costs,
        message_dispositions,
        overseer_rates,
        booking_outcomes,
        bookings,
        context_truncation,
    )
}
