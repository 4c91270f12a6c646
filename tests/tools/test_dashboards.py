"""The sample dashboard and alert rules ask for nothing but what is served, by labels that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from streamflow.core.metrics import CATALOGUE

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "dashboards"
SERVED = {series for metric in CATALOGUE for series in metric.series}
LABELS = {
    "path": {"pipeline", "path", "outcome", "le"},
    "deadline": {"pipeline", "path", "culprit", "stage"},
    "rate": {"pipeline", "rate"},
    "edge": {"pipeline", "edge", "reason"},
    "stage": {"pipeline", "stage", "state", "le", "input", "reason", "variant"},
    "process": {"pipeline", "process"},
    "run": {"pipeline", "run", "version", "phase"},
    "state": {"pipeline"},
}
SELECTOR = re.compile(r"(streamflow_\w+)(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    return found


def expressions(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]


def rules() -> list[str]:
    text = (FOLDER / "alerts.yml").read_text()
    return re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", text)


def assert_served(expression: str) -> None:
    found = SELECTOR.findall(expression)
    assert found, expression
    for name, selector in found:
        assert name in SERVED, f"{name} is not served: {expression}"
        asked = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector))
        assert asked <= LABELS[name.split("_")[1]], expression
    assert expression.count("(") == expression.count(")")


def test_every_expression_of_the_dashboard_names_what_is_served(dashboard) -> None:
    for expression in expressions(dashboard):
        assert_served(expression)


def test_every_alert_names_what_is_served() -> None:
    assert len(rules()) == (FOLDER / "alerts.yml").read_text().count("- alert:")
    for expression in rules():
        assert_served(expression)


def test_a_name_that_is_not_served_is_found() -> None:
    with pytest.raises(AssertionError, match="not served"):
        assert_served("rate(streamflow_path_arrived_total[1m])")


def test_the_dashboard_is_what_grafana_imports(dashboard) -> None:
    assert dashboard["id"] is None
    assert dashboard["title"]
    assert dashboard["schemaVersion"] >= 38  # Grafana 10's
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["type"] in ("timeseries", "stat", "state-timeline")
        assert {"title", "datasource", "gridPos", "fieldConfig", "options", "targets"} <= panel.keys()
        assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C"][: len(panel["targets"])]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize(
    "needed",
    [
        'outcome=~"met|absorbed"', "histogram_quantile(0.99", "deadline_bound_seconds", "deadline_missed_total",
        "edge_dropped_total", "busy_seconds_total", "restarts_total", "edge_depth",
    ],
)  # fmt: skip
def test_the_dashboard_shows(dashboard, needed: str) -> None:
    assert any(needed in expression for expression in expressions(dashboard))
