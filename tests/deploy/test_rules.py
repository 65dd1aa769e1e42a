"""Promises of the alerts: every one reads what is told, and leads to what to do. `make check-rules` runs promtool."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import pytest
import yaml

from app.metrics.catalogue import CALL_RESULTS, PACK_RESULTS
from schemas.codes import DeadLetterReason, DecidedBy, KillSwitch, OutcomeStatus, RevisionOutcome, Stage
from tests.deploy.promql import ALERTS, DEPLOY, RECORDED, RULES, selected, unknown

RUNBOOK = (DEPLOY.parent / "RUNBOOK.md").read_text("utf-8")
# Every alert that must be there, by what it is about.
ASKED_FOR = {
    "lag": "DraftPipelineLag",
    "lag growing": "DraftPipelineLagGrowing",
    "no progress": "DraftPipelineNoProgress",
    "outbox age": "DraftPipelineOutboxAge",
    "waiting rows": "DraftPipelineWaitingRows",
    "dead letters": "DraftPipelineDeadLetters",
    "breaker open": "DraftPipelineBreakerOpen",
    "model error share": "DraftPipelineModelErrors",
    "model p95": "DraftPipelineModelSlow",
    "selector calls per draft": "DraftPipelineSelectorCalls",
    "revision outcomes": "DraftPipelineRevisionOutcomes",
    "needs-review rate": "DraftPipelineNeedsReviewRate",
    "confidence drift": "DraftPipelineConfidenceDrift",
    "truncation": "DraftPipelineContextTruncation",
    "booking errors": "DraftPipelineBookingErrors",
    "unknown deliveries": "DraftPipelineUnknownDeliveries",
    "open claims past their lease": "DraftPipelineClaimsPastLease",
    "switch off for a day": "DraftPipelineSwitchOff",
    "cost": "DraftPipelineCost",
}
# What a label may say, where that is a closed vocabulary.
VALUES: dict[str, set[str]] = {
    "outcome": {*RevisionOutcome, "error", "booked", "task_created", "clarification"},
    "result": {*CALL_RESULTS, *PACK_RESULTS},
    "reason": {*DeadLetterReason},
    "status": {*OutcomeStatus},
    "decided_by": {*DecidedBy},
    "stage": {*Stage},
    "switch": {*KillSwitch},
    "source": {"database", "environment", "postgres", "kafka"},
    "state": {"quiet", "due"},
    "at": {"evaluated", "settled"},
    "role": {"worker", "web"},
}


def headings() -> set[str]:
    """The anchors of RUNBOOK.md, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_only_what_is_told(rule: dict[str, Any]) -> None:
    """Every expression parses, and every name and label in it is the catalogue's or recorded by another rule."""
    assert list(unknown(rule["expr"])) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_compares_with_values_that_exist(rule: dict[str, Any]) -> None:
    """A misspelt code would silence an alert for ever."""
    for label, value in chain.from_iterable(each.matchers for each in selected(rule["expr"])):
        if label in VALUES:
            assert set(value.split("|")) <= VALUES[label], (label, value)


@pytest.mark.parametrize("about", ASKED_FOR)
def test_what_must_be_noticed_has_an_alert(about: str) -> None:
    """By the list of what operations watch."""
    assert ASKED_FOR[about] in ALERTS


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_where_to_read_on(name: str) -> None:
    """A severity, a summary, and a heading of RUNBOOK.md that exists."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    document, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert document == "RUNBOOK.md"
    assert anchor in headings(), anchor


@pytest.mark.parametrize("name", ALERTS)
def test_a_summary_names_only_labels_that_the_alert_has(name: str) -> None:
    """Else it would read as if nothing was meant."""
    rule = ALERTS[name]
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = set(
        re.findall(
            r"\bby \(([^)]*)\)", f"{rule['expr']} {' '.join(RECORDED.get(s.name, '') for s in selected(rule['expr']))}"
        )
    )
    assert named <= {label.strip() for group in kept for label in group.split(",")}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_to_fire(name: str) -> None:
    """In promtool's tests there is a moment at which it must be there."""
    files = ("rules_test.yml", "rules_days_test.yml")
    tests = [
        each for file in files for each in yaml.safe_load((DEPLOY / "prometheus" / file).read_text("utf-8"))["tests"]
    ]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert name in fired


def test_gauges_that_several_web_processes_tell_are_never_added_up() -> None:
    """What `web` reads for all is the same in each of them: an outer sum must stand on a maximum."""
    for rule in RULES:
        for metric in re.findall(r"sum(?: by \([^)]*\))? \((draft_pipeline_\w+|kafka_\w+)", rule["expr"]):
            assert metric.endswith(("_total", "_bucket", "_count", "_sum")), (metric, rule)
