"""Names from people and servers are shown, never interpreted; numbers have bounds, in one line."""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

import pytest
from prefect_maintenance import flow, flow_form
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.report.report import Report
from prefect_maintenance.report.text import render_sizes
from prefect_maintenance.request import values
from prefect_maintenance.request.options import REQUEST
from prefect_maintenance.request.run_name import RUN_NAME
from prefect_maintenance.request.settings import Settings
from pydantic import ValidationError

from lab.environments import ROOT

ROLE = ROOT / "roles" / "prefect_maintenance"
NAMES = ("a:b", "50% off", "it's \"so\"", "line\nbreak", "x" * 63, "<b>", "[a](http://b)", "a|b",
         "`c`", "__d__", "\x1b[31mred", "*e*", "# f")  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retention_days", 1_000_000),
        ("retention_days", "9" * 5000),
        ("retention_days", "²"),
        ("retention", {"logs": 36501}),
        ("batch_size", 10**12),
        ("concurrency", 10**6),
        ("lock_timeout", 1e300),
        ("lock_timeout", float("nan")),
        ("max_runtime", 10**10),
        ("per_cluster", 10**9),
        ("vacuum_min_bytes", 2**70),
        ("vacuum_min_percent", 101),
        ("reference_time", "0001-01-02T00:00:00Z"),
    ],
)
def test_a_number_beyond_its_bounds_is_refused_in_one_short_line(option: str, value: Any) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({option: value}, check=True)
    text = str(raised.value)
    assert option in text
    assert "\n" not in text
    assert len(text) < 200


def test_the_largest_numbers_are_taken() -> None:
    given: dict[str, Any] = {name: most for name, (_, most) in values.BOUNDS.items()}
    parsed = Settings.parse({**given, "reference_time": "2026-11-25T00:00:00Z"}, check=True)
    assert parsed.cutoffs.logs.year == 1926


def test_the_flow_knows_the_same_bounds() -> None:
    form = flow.parameter_schema()["properties"]
    for option, (least, most) in values.BOUNDS.items():
        if option in REQUEST and REQUEST[option].flow:
            assert (form[option]["minimum"], form[option]["maximum"]) == (least, most), option


def test_the_flow_refuses_a_number_beyond_its_bounds_before_it_begins() -> None:
    with pytest.raises(ValidationError):
        flow_form.Retention(logs=1_000_000)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("nightly-{day}", "nightly-{day}"),
        ("{host:>99999999999}", "{host:>99999999999}"),
        ("{", "{"),
        ("100 % {{x}}", "100 % {x}"),
        ("{0} }", "{0} }"),
    ],
)
def test_a_run_has_a_name_whatever_the_template_is(
    monkeypatch: pytest.MonkeyPatch, fleet: ModuleType, template: str, name: str
) -> None:
    monkeypatch.setenv(RUN_NAME, template)
    assert flow.run_name() == name
    assert fleet.template_fault(template) == ("" if template.startswith("100") else template)


def test_a_right_template_is_filled_in(monkeypatch: pytest.MonkeyPatch, fleet: ModuleType) -> None:
    monkeypatch.setenv(RUN_NAME, "{host}-{date}-{time}")
    assert re.search(r"-\d{4}-\d\d-\d\d-\d\d:\d\d$", flow.run_name())
    assert fleet.template_fault("{host}-{date}-{time}") == ""


def test_the_report_of_a_host_has_a_file_of_its_own_in_the_folder(fleet: ModuleType) -> None:
    name = fleet.file_name
    assert name("prefect-1.example.com") == "prefect-1.example.com"
    assert name("10.0.0.1") == "10.0.0.1"
    assert name("münchen_1") == "münchen_1"
    assert name("fleet") != "fleet"
    hosts = ["fleet", "fleet-schedule", "a", "a-report", "../up", "/etc/x", "..", ".", ".hidden",
             "a/b", "a%2Fb", "flee%74", "a\nb", "ü", "x" * 250, "x" * 251, "", *NAMES]  # fmt: skip
    files = [name(host, kind) for host in hosts for kind in ("", "-report")]
    assert len(set(files)) == len(files)
    for file in files:
        assert re.fullmatch(r"[\w%\[][\w.%:@+\[\]-]*", file), file
        assert file not in ("fleet", "fleet-schedule")
        assert len(f"{file}.json".encode()) <= 255


def report(text: str) -> dict[str, Any]:
    parsed = Report.resume(Settings.parse({"report": {"host": text}}, check=True), NOW)
    table = {"name": "log", "rows_before": 1, "bytes_before": 1, "bytes_after": 1,
             "strategy": "delete", "strategy_why": text, "reclaim": "none"}  # fmt: skip
    return {
        **parsed.as_json(),
        "database": {"bytes_before": 1, "bytes_after": 1, "dialect": "postgresql", "version": "18"},
        "kept": [{"what": text, "rows": 1, "why": text}],
        "warnings": [text],
        "errors": [text],
        "tables": [table],
    }


NOW = Settings.parse({}, check=True).cutoffs.reference


@pytest.mark.parametrize("name", NAMES)
def test_the_artifact_shows_names_and_interprets_none(name: str) -> None:
    lines = markdown(report(name)).splitlines()
    plain = markdown(report("plain")).splitlines()
    assert len(lines) == len(plain)
    shown = [line for line, other in zip(lines, plain, strict=True) if line != other]
    assert shown
    for line in shown:
        for sign in ("<b>", "](", "`c", "*e*", "__d__", "\x1b", "a|b"):
            assert sign not in re.sub(r"\\.", "", line)


@pytest.mark.parametrize("name", NAMES)
def test_the_screen_shows_names_on_their_own_line(name: str) -> None:
    def screen(name: str) -> list[str]:
        so_far = json.loads(json.dumps(report(name)))
        parsed = Report.resume(Settings.parse({"report": so_far}, check=True), NOW)
        growth = [{"flow": name, "deployment": name, "flow_runs": 1, "task_runs": 1, "logs": 1}]
        return render_sizes(parsed, growth)

    lines, plain = screen(name), screen("plain")
    assert len(lines) == len(plain)
    assert lines != plain
    for line in lines:
        assert line == "".join(sign for sign in line if sign.isprintable())
