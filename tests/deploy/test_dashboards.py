"""Promises of the dashboards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.metrics import dashboards
from app.metrics.catalogue import declared
from tests.deploy.promql import DEPLOY, selected, unknown
from tests.deploy.test_rules import headings

FOLDER = DEPLOY / "grafana" / "dashboards"


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    """Every query, with Grafana's interval filled in."""
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for expr in [*queries, *(mark["expr"] for mark in dashboard["annotations"]["list"])]:
        yield expr.replace("$__rate_interval", "5m")


def test_what_is_committed_is_what_the_catalogue_makes() -> None:
    """`make dashboards` changes nothing, and there is nothing else."""
    made = dashboards.files()
    assert {path.name for path in FOLDER.iterdir()} == set(made)
    for name, content in made.items():
        assert (FOLDER / name).read_text("utf-8") == content, f"{name} is old: run make dashboards"


@pytest.mark.parametrize("name", sorted(dashboards.files()))
def test_a_panel_reads_only_what_is_told(name: str) -> None:
    """Every expression parses, and its names and labels are the catalogue's."""
    for expr in expressions(json.loads((FOLDER / name).read_text("utf-8"))):
        assert list(unknown(expr)) == [], expr


def test_every_metric_has_a_panel() -> None:
    """The second dashboard leaves out none."""
    shown = {each.name for expr in expressions(dashboards.catalogue()) for each in selected(expr)}
    for name, metric in declared().items():
        assert (f"{name}_bucket" if metric.kind == "histogram" else name) in shown


@pytest.mark.parametrize("name", sorted(dashboards.files()))
def test_panels_have_units_places_and_ways_on(name: str) -> None:
    """A unit each, no two in one place, no data is not 0, and links only to headings that exist."""
    dashboard = json.loads((FOLDER / name).read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["noValue"] == "no data"
        for line in panel["description"].splitlines():
            if line.startswith("RUNBOOK.md#"):
                assert line.partition("#")[2] in headings(), line
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
