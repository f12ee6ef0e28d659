"""What monitoring/ asks is asked of a real Prometheus that has scraped two runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, fill, request, wait_until
from prefect_maintenance.run.line import LINE, carry_out
from prefect_maintenance.run.textfile import NAME, write

from lab import monitoring, prometheus
from lab.environments import ROOT
from lab.prometheus import Prometheus, Unavailable, promtool

MONITORING = ROOT / "monitoring"
HOST = "prefect-1"
LAST_RUN = f'prefect_maintenance_last_run_timestamp_seconds{{host="{HOST}"}}'
FULL = 'prefect_maintenance_forecast_disk_full_seconds{policy="this"}'
# The forecast of the disk is written last.
SECOND_RUN = f"changes({LAST_RUN}[1h]) > 0 and on (host) {FULL}"
CHOSEN = {"$job": ".+", "$instance": ".+", "$host": ".+", "$__range": "1h", "$__interval": "1h"}
HOLD = (
    "UPDATE flow_run SET tags = '[\"keep\"]' WHERE id = (SELECT min(id::text) FROM flow_run)::uuid"
)
# What only a database fills that grows by more than a test's.
DISK = {"days_until_full": 90, "days_until_full_without": 9}


DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())


def chosen(expression: str) -> str:
    """Return a query of the dashboard as Grafana asks it where everything is chosen."""
    for name, value in CHOSEN.items():
        expression = expression.replace(name, value)
    return expression


def panels() -> dict[str, str]:
    """Return the queries of the dashboard by the title of their panel."""
    return {
        panel["title"]: chosen(target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    for name in ("promtool", "prometheus", "prometheus-node-exporter"):
        try:
            prometheus.program(name)
        except Unavailable as why:
            pytest.skip(str(why))


@dataclass(frozen=True)
class Collector:
    """A folder of node_exporter's textfile collector, and a database whose runs write to it."""

    folder: Path
    url: str

    def run(self) -> dict[str, Any]:
        """Carry out a run; returns its report."""
        rules = [{"name": "failures", "states": ["FAILED"], "keep": {"days": 15}}]
        more: dict[str, Any] = {"textfile_dir": str(self.folder), "rules": rules}
        asked = request(self.url, run_delete_via="sql", **more)
        report: dict[str, Any] = {"host": HOST}
        for step in LINE:
            done = carry_out(step, {**asked, "report": report}, check=False)
            assert (done.failure, done.warnings) == (None, ())
            report = done.report
        told = {**report, "forecast": {**report["forecast"], **DISK}}
        assert write(self.folder, told, "ended") is None
        return report


@pytest.fixture(scope="module")
def collector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    cluster = request.getfixturevalue("cluster")
    url = cluster.create_database("monitored", request.getfixturevalue("template"))
    engine = engine_for(url)
    fill(engine, seed=11)
    with engine.begin() as connection:
        connection.execute(sa.text(HOLD))
    engine.dispose()
    yield Collector(tmp_path_factory.mktemp("collector"), url)
    cluster.drop_database("monitored")


@pytest.fixture(scope="module")
def server(collector: Collector) -> Iterator[Prometheus]:
    """A Prometheus that has seen the database before its second run and after it."""
    rules = MONITORING / "alerts.yml"
    collector.run()
    with (
        prometheus.node_exporter(collector.folder) as target,
        prometheus.prometheus(target, rules=rules) as running,
    ):
        wait_until(lambda: running.query(LAST_RUN), otherwise="nothing was scraped")
        collector.run()
        wait_until(lambda: running.query(SECOND_RUN), otherwise="no second run was scraped")
        yield running


def test_promtool_finds_nothing_wrong_with_the_metrics_of_a_run(collector: Collector) -> None:
    collector.run()
    assert promtool("check", "metrics", text=(collector.folder / NAME).read_text()).strip() == ""


def test_the_alert_rules_are_sound_and_do_what_their_tests_say() -> None:
    assert "SUCCESS" in promtool("check", "rules", MONITORING / "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "alerts_test.yml")


def test_node_exporter_reads_the_file_without_an_error(server: Prometheus) -> None:
    (error,) = server.query("node_textfile_scrape_error")
    assert error["value"][1] == "0"
    (written,) = server.query("node_textfile_mtime_seconds")
    assert written["metric"]["file"].endswith(NAME)
    assert "exported_host" not in server.query(LAST_RUN)[0]["metric"]


@pytest.mark.parametrize("title", panels())
def test_each_query_of_the_dashboard_has_an_answer(server: Prometheus, title: str) -> None:
    expression = panels()[title]
    # A good run gives no series where only what is above nothing is shown.
    if "returned_bytes" in expression:
        expression = re.sub(r" > 0$", "", expression)
    answer = server.query(expression)
    assert answer, expression
    assert {one["metric"].get("host", HOST) for one in answer} == {HOST}
    if title == "Runs":
        assert float(answer[0]["value"][1]) >= 1


def test_what_can_be_chosen_on_the_dashboard_and_its_marks_have_answers(server: Prometheus) -> None:
    _, *variables = DASHBOARD["templating"]["list"]
    offered = {}
    for variable in variables:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked
        answer = server.query(chosen(asked[1]))
        offered[variable["name"]] = {one["metric"].get(asked[2]) for one in answer}
    assert offered.pop("instance") != {None}
    assert offered == {"job": {prometheus.JOB}, "host": {HOST}}
    [marks] = DASHBOARD["annotations"]["list"]
    assert server.query(chosen(marks["expr"]))


def test_the_picture_is_drawn_from_answers(tmp_path: Path) -> None:
    monitoring.draw(tmp_path / "picture.svg")
    drawn = (tmp_path / "picture.svg").read_text()
    for title in monitoring.PANELS:
        assert f"{title} (" in drawn


def test_two_good_runs_raise_no_alert(server: Prometheus) -> None:
    period = wait_until(lambda: server.query("prefect_maintenance:period:seconds"))
    assert [one["value"][1] for one in period] == ["86400"]
    assert server.query("ALERTS") == []
