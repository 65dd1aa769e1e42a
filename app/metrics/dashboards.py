"""Grafana dashboards, made from the catalogue: `python -m app.metrics.dashboards deploy/grafana/dashboards`.

`overview.json` is what one looks at first, panel by panel as `OVERVIEW` says. `catalogue.json` has one panel for every
metric there is, in the order of the catalogue. Units, descriptions and labels come from the catalogue.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.metrics.catalogue import declared
from app.metrics.kinds import Declared, Unit

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8
_RATE: Final = "$__rate_interval"
_GRAFANA_UNIT: Final = {
    Unit.SECONDS: "s",
    Unit.USD: "currencyUSD",
    Unit.RATIO: "percentunit",
    Unit.TOKENS: "short",
    Unit.ROWS: "short",
    Unit.RECORDS: "short",
    Unit.COUNT: "short",
}
_TITLES: Final = {"draft_pipeline": "draft-pipeline", "gen_ai": "Model calls", "kafka": "Kafka"}


@dataclass(frozen=True)
class Panel:
    """One chart: expressions with their legends, a unit of Grafana's, and where RUNBOOK.md tells what to do."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    text: str = ""
    runbook: str = ""


OVERVIEW: Final[dict[str, tuple[Panel, ...]]] = {
    "Is it healthy, and is it sending?": (
        Panel("Workers", (("sum(max by (version) (draft_pipeline_processes{role='worker'}))", "workers"),)),
        Panel(
            "Sent, by who decided",
            (("sum by (decided_by) (increase(draft_pipeline_outcomes_total{status='sent'}[1h]))", "{{decided_by}}"),),
            text="In the last hour.",
        ),
        Panel(
            "Switches that are set",
            (("max by (switch, source) (draft_pipeline_switch_off)", "{{switch}} ({{source}})"),),
            text="1: the feature is off.",
            runbook="a-switch-is-off",
        ),
    ),
    "What waits": (
        Panel(
            "Lag in seconds",
            (("max by (group) (kafka_consumergroup_group_max_lag_seconds)", "{{group}}"),),
            "s",
            runbook="lag-grows",
        ),
        Panel(
            "Lag in records",
            (("max by (group) (kafka_consumergroup_group_sum_lag)", "{{group}}"),),
            runbook="lag-grows",
        ),
        Panel(
            "Waiting messages",
            (("max by (state) (draft_pipeline_waiting_rows)", "{{state}}"),),
            text="quiet: in their quiet window; due: for a free run of their workspace.",
            runbook="waiting-rows",
        ),
        Panel("Age of the oldest event in the outbox", (("max(draft_pipeline_outbox_age_seconds)", "age"),), "s",
              runbook="broker-away"),
        Panel("In flight", (("sum by (topic) (draft_pipeline_events_in_flight)", "{{topic}}"),), runbook="lag-grows"),
        Panel(
            "Drafts that wait for a person, and unknown sends",
            (
                ("max(draft_pipeline_reviews_open)", "open reviews"),
                ("max(draft_pipeline_deliveries_unknown)", "unknown sends"),
            ),
            runbook="review-queue",
        ),
    ),
    "What is decided": (
        Panel(
            "Outcomes",
            ((f"sum by (status) (rate(draft_pipeline_outcomes_total[{_RATE}]))", "{{status}}"),),
            "ops",
            runbook="needs-review-rate",
        ),
        Panel(
            "Confidence, median",
            (
                (
                    "histogram_quantile(0.5, sum by (at, le) (increase(draft_pipeline_confidence_ratio_bucket[1h])))",
                    "{{at}}",
                ),
            ),
            "percentunit",
            runbook="confidence-drift",
        ),
        Panel(
            "Revisions by outcome",
            (("sum by (outcome) (increase(draft_pipeline_revisions_total[1h])) > 0", "{{outcome}}"),),
            text="In the last hour.",
            runbook="revision-calls-and-outcomes",
        ),
        Panel(
            "Selector calls per revision",
            (
                (
                    "sum(increase(draft_pipeline_revision_calls_total{stage='auto_send_revision_selector'}[1h]))"
                    " / (sum(increase(draft_pipeline_revision_attempts_total[1h])) > 0)",
                    "calls",
                ),
            ),
            text="Never above 1.",
            runbook="revision-calls-and-outcomes",
        ),
        Panel(
            "Hard blocks", ((f"sum by (rule) (rate(draft_pipeline_hard_blocks_total[{_RATE}]))", "{{rule}}"),), "ops"
        ),
        Panel(
            "Context bundles",
            ((f"sum by (result) (rate(draft_pipeline_context_packs_total[{_RATE}]))", "{{result}}"),),
            "ops",
            runbook="context-truncation",
        ),
    ),
    "The model": (
        Panel(
            "95 % of the calls take up to",
            (
                (
                    "histogram_quantile(0.95, sum by (stage, le)"
                    f" (rate(draft_pipeline_stage_duration_seconds_bucket[{_RATE}])))",
                    "{{stage}}",
                ),
            ),
            "s",
            runbook="model-errors-and-slowness",
        ),
        Panel(
            "Calls by result",
            ((f"sum by (result) (rate(draft_pipeline_model_calls_total[{_RATE}]))", "{{result}}"),),
            "ops",
            runbook="model-errors-and-slowness",
        ),
        Panel(
            "Breakers",
            (("max by (model) (draft_pipeline_breaker_open)", "{{model}}"),),
            text="1: open, work waits.",
            runbook="model-down",
        ),
        Panel(
            "Cost per hour",
            (("sum by (model) (increase(draft_pipeline_model_cost_usd_total[1h]))", "{{model}}"),),
            "currencyUSD",
            runbook="cost",
        ),
        Panel(
            "Tokens per second",
            ((f"sum by (gen_ai_token_type) (rate(gen_ai_client_token_usage_sum[{_RATE}]))", "{{gen_ai_token_type}}"),),
        ),
    ),
    "The processes": (
        Panel(
            "95 % of the events take up to",
            (
                (
                    "histogram_quantile(0.95, sum by (topic, le)"
                    f" (rate(draft_pipeline_event_duration_seconds_bucket[{_RATE}])))",
                    "{{topic}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Dead letters",
            (("sum by (topic, reason) (increase(draft_pipeline_dead_letters_total[1h])) > 0", "{{topic}} {{reason}}"),),
            text="In the last hour.",
            runbook="dead-letters",
        ),
        Panel(
            "Rebalances",
            (("sum by (topic) (increase(draft_pipeline_consumer_rebalances_total[15m]))", "{{topic}}"),),
            text="In 15 minutes.",
            runbook="rebalances",
        ),
    ),
}  # fmt: skip


def overview() -> dict[str, Any]:
    """What one looks at first."""
    return _dashboard("draft-pipeline-overview", "draft-pipeline: overview", OVERVIEW.items())


def catalogue() -> dict[str, Any]:
    """Every metric there is."""
    groups: dict[str, list[Panel]] = {title: [] for title in _TITLES.values()}
    for metric in declared().values():
        start = next(start for start in _TITLES if metric.name.startswith(start))
        groups[_TITLES[start]].append(_panel_of(metric))
    return _dashboard("draft-pipeline-catalogue", "draft-pipeline: every metric", groups.items())


def _panel_of(metric: Declared) -> Panel:
    by = f" by ({', '.join(metric.labels)})" if metric.labels else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or metric.kind
    unit = _GRAFANA_UNIT[metric.unit]
    if metric.kind == "gauge":
        return Panel(metric.name, ((f"max{by} ({metric.name})", legend),), unit, metric.help)
    if metric.kind == "counter":
        rate = unit if metric.unit is Unit.USD else "ops"
        text = f"{metric.help}. Per second."
        return Panel(metric.name, ((f"sum{by} (rate({metric.name}[{_RATE}]))", legend),), rate, text)
    by_le = f"by ({', '.join((*metric.labels, 'le'))})"
    quantiles = tuple(
        (f"histogram_quantile({quantile}, sum {by_le} (rate({metric.name}_bucket[{_RATE}])))", f"{name} {legend}")
        for quantile, name in ((0.5, "50 %"), (0.95, "95 %"))
    )
    return Panel(metric.name, quantiles, unit, metric.help)


def _dashboard(uid: str, title: str, groups: Iterable[tuple[str, Iterable[Panel]]]) -> dict[str, Any]:
    panels = list(_placed(groups))
    return {
        "uid": uid,
        "title": title,
        "tags": ["draft-pipeline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "graphTooltip": 1,
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "annotations": {"list": [_MARKS_FLIPS, _MARKS_VERSIONS]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def _mark(name: str, expr: str, title: str, colour: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": title,
        "step": "60s",
    }


_MARKS_FLIPS: Final = _mark(
    "Switch flips",
    "changes(draft_pipeline_switch_changed_timestamp_seconds[2m]) > 0",
    "{{switch}} was flipped",
    "orange",
)
_MARKS_VERSIONS: Final = _mark(
    "Versions",
    "count by (role, version) (draft_pipeline_process_info)"
    " unless on (role, version) count by (role, version) (draft_pipeline_process_info offset 5m)",
    "{{role}} {{version}} appeared",
    "blue",
)


def _placed(groups: Iterable[tuple[str, Iterable[Panel]]]) -> Iterator[dict[str, Any]]:
    """Rows of three, each group under its title."""
    top = 0
    for title, panels in groups:
        yield {"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, _COLUMNS, 1), "panels": []}
        top += 1
        left = 0
        for panel in panels:
            if left == _COLUMNS:
                left, top = 0, top + _HEIGHT
            yield _chart(panel, _place(left, top, _WIDTH, _HEIGHT))
            left += _WIDTH
        top += _HEIGHT


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _chart(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    hint = f"RUNBOOK.md#{panel.runbook}" if panel.runbook else ""
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join(part for part in (panel.text, hint) if part),
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "noValue": "no data", "custom": {"spanNulls": False}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for number, (expr, legend) in enumerate(panel.queries)
        ],
    }


def files() -> dict[str, str]:
    """Name to content of every dashboard."""
    made = {"overview.json": overview(), "catalogue.json": catalogue()}
    return {name: json.dumps(dashboard, indent=1) + "\n" for name, dashboard in made.items()}


def main(folder: Path) -> None:
    """Write them."""
    for name, content in files().items():
        (folder / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
