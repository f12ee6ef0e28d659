"""The dashboard has the form that Grafana imports, and nothing asks for a metric that is not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prefect_maintenance.report.prometheus import METRICS
from tools import read_yaml

from lab.environments import ROOT

FOLDER = ROOT / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
LABELS = {f"{metric.full_name}": {"host", *metric.labels} for metric in METRICS}
RULES = [rule for group in read_yaml(FOLDER / "alerts.yml")["groups"] for rule in group["rules"]]


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"prefect_maintenance_\w+", expression))


def test_the_import_asks_for_a_data_source_and_for_nothing_else() -> None:
    (asked,) = DASHBOARD["__inputs"]
    assert (asked["name"], asked["pluginId"]) == ("DS_PROMETHEUS", "prometheus")
    source, *others = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert source["current"]["value"] == "${DS_PROMETHEUS}"
    assert [variable["name"] for variable in others] == ["job", "instance", "host"]
    for variable in (*others, *PANELS):
        assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "prefect-maintenance"
    assert "prefect" in DASHBOARD["tags"]
    required = {one["id"] for one in DASHBOARD["__requires"]}
    assert required == {"grafana", "prometheus", *(panel["type"] for panel in PANELS)}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_asks_for_what_is_chosen(
    panel: dict[str, Any],
) -> None:
    assert re.fullmatch(r"[A-Z].*\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]
    for expression in expressions(panel):
        for selector in re.findall(r"prefect_maintenance_\w+(\{[^}]*\})?", expression):
            assert selector.startswith('{job=~"$job", instance=~"$instance", host=~"$host"')
    for target in panel["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        for metric in metrics_of(target["expr"]):
            assert shown <= LABELS[metric]


def test_panels_have_numbers_of_their_own_and_do_not_lie_upon_each_other() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def test_every_metric_is_on_the_dashboard_and_nothing_asks_for_another() -> None:
    shown = {name for panel in PANELS for text in expressions(panel) for name in metrics_of(text)}
    assert shown == set(LABELS)
    asked = {name for rule in RULES for name in metrics_of(rule["expr"])}
    assert asked <= set(LABELS)


def test_every_alert_is_named_in_the_document_and_says_what_to_do() -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text()
    alerts = [rule for rule in RULES if "alert" in rule]
    for rule in alerts:
        assert f"| `{rule['alert']}` |" in document
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")
    assert document.count("| `PrefectMaintenance") == len(alerts)


def test_the_document_has_the_table_of_the_metrics() -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text()
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in ("host", *metric.labels))
        assert f"| `{metric.full_name}` | {labels} | {metric.says} |\n" in document
    assert document.count("\n| `prefect_maintenance_") == len(METRICS)
