"""PromQL, parsed: which series an expression reads, and by which labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from app.metrics.catalogue import declared

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
TARGET_LABELS = {"instance", "job"}
_ENDS = {"histogram": {"_bucket": {"le"}, "_count": set(), "_sum": set()}}


@dataclass(frozen=True)
class Selected:
    """One selector: its name, and the labels and values it compares with."""

    name: str
    matchers: tuple[tuple[str, str], ...]


def selected(expr: str) -> list[Selected]:
    """Every selector in an expression. Raises ValueError for what is no PromQL."""
    found: list[Selected] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            matchers = node.matchers.matchers
            found.append(Selected(node.name or "", tuple((each.name, each.value) for each in matchers)))
        return True

    promql.walk(promql.parse(expr), pre_visit=visit)
    return found


def grouped_by(expr: str) -> set[str]:
    """Every label that an aggregation groups by."""
    labels: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)
        return True

    promql.walk(promql.parse(expr), pre_visit=visit)
    return labels


def labels_of(name: str) -> set[str] | None:
    """The labels that a series of this name may have; None when nothing tells or records it."""
    if name in RECORDED:
        return grouped_by(RECORDED[name])
    for metric in declared().values():
        for end, more in _ENDS.get(metric.kind, {"": set()}).items():
            if name == metric.name + end:
                return {*metric.labels, *more}
    return None


def unknown(expr: str) -> Iterator[str]:
    """What an expression reads that nothing tells: names, and labels that a series of that name does not have."""
    known: set[str] = set()
    for each in selected(expr):
        labels = labels_of(each.name)
        if labels is None:
            yield each.name
            continue
        known |= labels
        yield from (f"{each.name}{{{label}}}" for label, _ in each.matchers if label not in labels | TARGET_LABELS)
    yield from (f"by ({label})" for label in sorted(grouped_by(expr) - known - TARGET_LABELS))
