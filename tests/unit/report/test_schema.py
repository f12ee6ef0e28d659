"""The published schema says what a report is; every report of these tests is held to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden import DIALECTS, FOLDER, MODES
from jsonschema import Draft202012Validator
from schemas import faults, unknown_keys

from lab.docs import REPORT_SCHEMA
from lab.report_schema import undescribed

# Written by the version that had no forecast, verdict or estimate of the whole run yet.
BEFORE: dict[str, Any] = json.loads(Path(__file__).with_name("report_before.json").read_text())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(REPORT_SCHEMA.read_text()))


def test_a_report_of_the_version_before_is_what_the_schema_says() -> None:
    assert faults(BEFORE) == []


def test_a_report_of_a_run_that_never_began_is_what_the_schema_says() -> None:
    never = {"schema": 1, "host": "a", "check_mode": False, "status": "failed", "errors": ["down"]}
    assert faults(never) == []


def test_keys_may_be_added_anywhere() -> None:
    tables = [{**BEFORE["tables"][0], "of_tomorrow": 1}]
    assert faults({**BEFORE, "of_tomorrow": [], "tables": tables}) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"schema": 2}, "$.schema"),
        ({"status": "fine"}, "$.status"),
        ({"seconds": "2 s"}, "$.seconds"),
        ({"deleted": {"log": "7"}}, "$.deleted.log"),
        ({"kept": [{"what": "log", "rows": 1}]}, "$.kept[0]"),
        ({"tables": [{"name": "log", "bytes_before": 1.5}]}, "$.tables[0].bytes_before"),
        ({"tables": [{"rows_before": 1}]}, "$.tables[0]"),
        ({"plan": {"reclaim": [{"table": 7}]}}, "$.plan.reclaim[0].table"),
    ],
)
def test_what_a_report_never_holds_is_a_fault(wrong: dict[str, Any], where: str) -> None:
    [fault] = faults({**BEFORE, **wrong})
    assert fault.startswith(f"{where}: ")


def test_what_every_report_has_must_be_there() -> None:
    for name in ("schema", "host", "check_mode", "status"):
        [fault] = faults({key: value for key, value in BEFORE.items() if key != name})
        assert f"'{name}' is a required property" in fault


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_key_that_a_report_has_is_in_the_schema(dialect: str, mode: str) -> None:
    report = json.loads((FOLDER / dialect / mode / "report.json").read_text())
    assert unknown_keys(report) == []
    tables = [{**report["tables"][0], "of_tomorrow": 1}]
    assert len(unknown_keys({**report, "of_tomorrow": 1, "tables": tables})) == 2


def test_every_key_is_described_where_its_class_lists_its_attributes() -> None:
    assert undescribed() == []
