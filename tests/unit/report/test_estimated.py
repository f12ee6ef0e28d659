"""What was estimated beside what was measured, also of reports that know neither."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from golden import DIALECTS, FOLDER, MODES
from prefect_maintenance.report import estimated
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.report.plain import failed
from prefect_maintenance.report.report import Report
from prefect_maintenance.report.text import render
from prefect_maintenance.request.instants import now
from prefect_maintenance.request.settings import Settings

NEW = ("finished", "estimate", "measured")
NUMBERS = {"bytes": 7 * 2**20, "seconds": 1.5, "ms": 12, "dead": 3, "percent": 40.0}
ESTIMATE = {"bytes_back": 4 * 2**20, "seconds": 2.0, "wal_bytes": 2**20, "lock_ms": 10}
TABLE = {
    "name": "log",
    "estimate": ESTIMATE,
    "bytes_before": 9 * 2**20,
    "bytes_after": 6 * 2**20,
    "seconds": 2.5,
    "wal_bytes": 2**21,
    "lock_ms_max": 7,
}
REPORT: dict[str, Any] = {
    "check_mode": False,
    "steps": ["purge", "delete", "vacuum"],
    "deleted": {"log": 10, "events": 0},
    "tables": [TABLE, {**TABLE, "name": "events", "estimate": {}}],
    "estimate": ESTIMATE,
    "measured": {"bytes_back": 3 * 2**20, "seconds": 2.5, "wal_bytes": 2**21, "lock_ms": 7},
}


def stripped(told: Any) -> Any:
    """Make a report as the version before wrote it of one that a golden file has."""
    if isinstance(told, list):
        return [stripped(one) for one in told]
    if isinstance(told, str) and told.startswith("<") and told.strip("<>") in NUMBERS:
        return NUMBERS[told.strip("<>")]
    if not isinstance(told, dict):
        return told
    later = (*NEW, "reasons", "estimates") if "fingerprint" in told else NEW
    return {key: stripped(value) for key, value in told.items() if key not in later}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_report_of_the_version_before_is_shown_and_gone_on_with(dialect: str, mode: str) -> None:
    old = stripped(json.loads((FOLDER / dialect / mode / "report.json").read_text()))
    old["reference_time"] = old["started"] = "2026-06-30T12:00:00Z"
    assert not any(key in json.dumps(old) for key in ('"estimate"', '"reasons"', '"finished"'))
    assert "estimated" not in markdown(old)
    assert estimated.lines(old) == estimated.markdown(old) == estimated.why_rows_go(old) == []
    resumed = Report.resume(Settings.parse({"report": old}, check=mode == "check"), now())
    told = resumed.as_json()
    assert (told["finished"], told["estimate"]) == ("", {})
    shown = render(resumed)
    assert not any("estimated" in line for line in shown)
    if mode == "check":
        assert re.search(r", [1-9][\d.]* MiB would come back; status ok$", shown[-1])


def test_what_was_measured_stands_beside_what_was_estimated() -> None:
    table, heads, log, whole = estimated.lines(REPORT)[1:]
    assert table == "  what it took, beside what was estimated:"
    assert heads.split()[:3] == ["table", "came", "back"]
    beside = "log 3.0 MiB 4.0 MiB 2.5 s 2.0 s 2.0 MiB 1.0 MiB 7 ms 10 ms"
    assert " ".join(log.split()) == beside
    assert whole.split()[:6] == ["whole", "database", "3.0", "MiB", "4.0", "MiB"]
    assert "| log | 3.0 MiB (4.0 MiB) | 2.5 s (2.0 s) |" in "\n".join(estimated.markdown(REPORT))


def test_a_check_has_estimates_alone() -> None:
    check = {**REPORT, "check_mode": True, "measured": {}}
    log = estimated.lines(check)[3]
    assert " ".join(log.split()) == "log 4.0 MiB 2.0 s 1.0 MiB 10 ms"
    told = estimated.would_take(check)
    assert told == (
        ", 4.0 MiB would come back; about 2.0 s of work, 1.0 MiB of WAL, longest lock 10 ms"
    )


def test_nothing_is_compared_before_the_sizes_were_measured_again() -> None:
    begun = {**REPORT, "steps": ["purge"]}
    assert estimated.rows(begun) == []
    assert [row.name for row in estimated.rows({**begun, "errors": ["purge: log: no"]})] == [
        "log",
        "whole database",
    ]


def test_an_idle_run_has_nothing_to_compare() -> None:
    idle = {**REPORT, "deleted": {"log": 0}, "tables": [{**TABLE, "estimate": {}}]}
    assert estimated.lines(idle) == estimated.markdown(idle) == []


def test_each_reason_has_the_rows_of_all_tables() -> None:
    reasons = [
        {"what": "log", "rows": 1000, "why": "older than the cutoff"},
        {"what": "log", "rows": 3, "why": "with their flow run"},
        {"what": "log", "rows": 500, "why": "older than the cutoff"},
        {"what": "events", "rows": 4, "why": "older than the cutoff"},
    ]
    assert estimated.why_rows_go({"plan": {"reasons": reasons}}) == [
        "older than the cutoff: 1,500 log, 4 events",
        "with their flow run: 3 log",
    ]


def test_a_run_that_ends_between_two_steps_has_an_end() -> None:
    told = failed({"finished": "2026-06-30T12:00:00Z"}, "delete: lost")
    assert told["finished"] > "2026-06-30T12:00:00Z"
