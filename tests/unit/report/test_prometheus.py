"""What the metrics say of a report, and what of the file stays when another report is added."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from golden import FOLDER
from pages import RULES
from prefect_maintenance.events import WaitKind
from prefect_maintenance.report.prometheus import METRICS, Stands, exposition

NOW = 1_800_000_000.0
SERIES = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)+)\} (\S+)')
REPORT: dict[str, Any] = {
    "host": "prefect-1",
    "status": "ok",
    "status_if_lost": "partial",
    "started": "2026-11-25T02:00:00Z",
    "finished": "2026-11-25T02:10:00Z",
    "seconds": 540.25,
    "database": {"bytes_before": 9000, "bytes_after": 4000, "lock_ms_max": 0},
    "cutoffs": {"logs": "2026-11-10T02:00:00Z", "events": "2026-11-10T02:00:00Z"},
    "deleted": {"log": 500, "events": 0},
    "kept": [
        {"what": "flow_run", "rows": 3, "why": "state RUNNING is not finished", "reason": "a"},
        {"what": "flow_run", "rows": 2, "why": "state PAUSED is not finished", "reason": "a"},
        {"what": "log", "rows": 7, "why": "of before there were reasons"},
    ],
    "tables": [
        {
            "name": "log",
            "bytes_before": 6000,
            "bytes_after": 2000,
            "rows_after": 50,
            "bloat_bytes": 10,
            "oldest_due": "2026-11-09T02:00:00Z",
            "lock_ms_max": 41,
            "error": None,
            "rows_per_day": 5.5,
            "bytes_per_day": 77,
        },
        {"name": "events", "bytes_before": 10, "bytes_after": 30, "error": "it is held"},
    ],
    "waited": {"lock": 1.5},
    "rules": RULES["rules"],
    "holds": RULES["holds"],
    "stuck": [
        {"state": "RUNNING", "done": True},
        {"state": "LATE", "done": True},
        {"state": "LATE", "done": True},
        {"state": "RUNNING", "done": False},
    ],
    "blockers": [
        {"kind": "slot", "age_seconds": None, "bytes": 300},
        {"kind": "transaction", "age_seconds": 1800.5, "bytes": None},
        {"kind": "transaction", "age_seconds": None, "bytes": None},
        {"kind": "hidden", "age_seconds": None, "bytes": None},
    ],
    "verdict": {"working": False},
    "forecast": {"settles_at_bytes": 5000, "days_until_full": None, "days_until_full_without": 2},
}


def told(text: str) -> dict[str, float]:
    """Return the values by series, without the prefix that all of them have."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [SERIES.fullmatch(line) for line in lines]
    assert all(found), text
    return {
        f"{match[1].removeprefix('prefect_maintenance_')}{{{match[2]}}}": float(match[3])
        for match in found
        if match
    }


def added(report: dict[str, Any], stands: Stands = "ended", *, so_far: str = "") -> str:
    return exposition(report, stands, so_far=so_far, now=NOW)


def test_a_run_that_has_ended_tells_everything() -> None:
    text = added(REPORT)
    said = told(text)
    of_log = {
        "last_run_deleted_rows": 500,
        "last_run_returned_bytes": 4000,
        "last_run_table_failed": 0,
        "table_bytes": 2000,
        "table_rows": 50,
        "table_bloat_bytes": 10,
        "table_overdue_seconds": 86400,
        "table_growth_rows_per_day": 5.5,
        "table_growth_bytes_per_day": 77,
    }
    assert {name: said[f'{name}{{host="prefect-1",table="log"}}'] for name in of_log} == of_log
    of_events = {"last_run_returned_bytes": 0.0, "last_run_table_failed": 1.0}
    for name, expected in of_events.items():
        assert said[f'{name}{{host="prefect-1",table="events"}}'] == expected
    assert said['table_overdue_seconds{host="prefect-1",table="events"}'] == 0
    of_host = {
        "last_run_timestamp_seconds": 1795572000,
        "last_success_timestamp_seconds": 1795572600,
        "last_run_duration_seconds": 540.25,
        "last_run_longest_lock_seconds": 0.041,
        "last_run_database_returned_bytes": 5000,
        "database_bytes": 4000,
        "vacuum_blockers_oldest_seconds": 1800.5,
        "vacuum_blockers_wal_bytes": 300,
        "retention_working": 0,
        "forecast_settled_bytes": 5000,
    }
    assert {name: said[f'{name}{{host="prefect-1"}}'] for name in of_host} == of_host
    assert said['last_run_kept_rows{host="prefect-1",table="flow_run",reason="a"}'] == 5
    assert said['last_run_kept_rows{host="prefect-1",table="log",reason="other"}'] == 7
    assert said['forecast_disk_full_seconds{host="prefect-1",policy="none"}'] == 2 * 86400
    assert 'forecast_disk_full_seconds{host="prefect-1",policy="this"}' not in said
    for status in ("ok", "partial", "failed"):
        value = said[f'last_run_status{{host="prefect-1",status="{status}"}}']
        assert value == (status == "ok")
    for outcome, runs in (("ended", 1), ("deleted", 2), ("waiting", 1)):
        assert said[f'last_run_stuck_runs{{host="prefect-1",outcome="{outcome}"}}'] == runs
    for kind, found in (("transaction", 2), ("prepared", 0), ("slot", 1), ("standby", 0)):
        assert said[f'vacuum_blockers{{host="prefect-1",kind="{kind}"}}'] == found
    for kind in get_args(WaitKind):
        value = said[f'last_run_waited_seconds{{host="prefect-1",kind="{kind}"}}']
        assert value == (1.5 if kind == "lock" else 0)
    for metric in METRICS:
        assert text.count(f"# TYPE {metric.full_name} gauge\n") == 1
        assert text.count(f"# HELP {metric.full_name} ") == 1
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("status", ["partial", "failed"])
def test_the_last_success_stays_through_a_failure(status: str) -> None:
    before = added(REPORT)
    later = {**REPORT, "status": status, "finished": "2026-11-26T02:10:00Z", "deleted": {"log": 1}}
    said = told(added(later, so_far=before))
    assert said['last_success_timestamp_seconds{host="prefect-1"}'] == 1795572600
    assert said[f'last_run_status{{host="prefect-1",status="{status}"}}'] == 1
    assert said['last_run_deleted_rows{host="prefect-1",table="log"}'] == 1
    assert not any("events" in series and "deleted" in series for series in said)


def test_a_run_between_two_steps_counts_as_if_it_were_lost() -> None:
    said = told(added(REPORT, "begun"))
    assert said['last_run_status{host="prefect-1",status="partial"}'] == 1
    assert said['last_run_status{host="prefect-1",status="ok"}'] == 0
    assert 'last_success_timestamp_seconds{host="prefect-1"}' not in said


def test_a_measurement_alone_tells_nothing_of_a_run() -> None:
    before = added(REPORT)
    measured = {
        "host": "prefect-1",
        "status": "ok",
        "started": "2026-11-27T00:00:00Z",
        "database": {"bytes_before": 1, "bytes_after": 1},
        "deleted": {"log": 0},
        "tables": [{"name": "log", "bytes_before": 1, "bytes_after": 1, "rows_after": 1}],
    }
    said = told(added(measured, "measured", so_far=before))
    assert said['table_bytes{host="prefect-1",table="log"}'] == 1
    assert 'table_bytes{host="prefect-1",table="events"}' not in said
    assert said['last_run_deleted_rows{host="prefect-1",table="log"}'] == 500
    assert said['last_success_timestamp_seconds{host="prefect-1"}'] == 1795572600


def test_a_run_that_could_not_begin_leaves_the_sizes_as_they_were() -> None:
    failed = {"host": "prefect-1", "status": "failed", "errors": ["bloat_info: it is down"]}
    said = told(added(failed, "begun", so_far=added(REPORT)))
    assert said['last_run_timestamp_seconds{host="prefect-1"}'] == NOW
    assert said['last_run_status{host="prefect-1",status="failed"}'] == 1
    assert said['table_bytes{host="prefect-1",table="log"}'] == 2000


def test_the_failure_of_a_whole_file_is_told_too() -> None:
    report = {**REPORT, "database": {**REPORT["database"], "error": "it is full"}}
    said = told(added(report))
    assert said['last_run_table_failed{host="prefect-1",table="the whole file"}'] == 1


def test_two_hosts_share_a_file_and_strange_names_stay_labels() -> None:
    odd = 'a"} 1\n\\"b'
    both = added({**REPORT, "host": odd}, so_far=added(REPORT))
    again = added({**REPORT, "host": odd}, so_far=added(REPORT, so_far=both))
    assert again == both
    assert len(told(both)) == 2 * len(told(added(REPORT)))
    assert both.count("# TYPE") == added(REPORT).count("# TYPE")


def test_a_damaged_file_loses_what_cannot_be_read_and_no_more() -> None:
    whole = added({**REPORT, "host": "other"})
    values = ("much", "1.2.3", "1-2", "", "1 1700000000", "inf")
    damage = [f'prefect_maintenance_database_bytes{{host="x"}} {value}' for value in values]
    damage += ['prefect_maintenance_table_bytes{host="x"', "node_load1 3", "# HELP", "\x00{{{"]
    said = told(added(REPORT, so_far="\n".join([*damage, whole[:-40]])))
    assert said['database_bytes{host="other"}'] == 4000
    assert not any("node_load1" in series or '"x"' in series for series in said)


@pytest.mark.parametrize("name", ["postgresql", "sqlite"])
def test_a_report_of_the_version_before_is_told(name: str) -> None:
    report = json.loads(
        re.sub(r'"<[a-z]+>"', "1", (FOLDER / name / "real" / "report.json").read_text())
    )
    report |= {"started": None, "finished": None}
    for key in ("waited", "forecast", "verdict", "estimate", "measured"):
        report.pop(key, None)
    for kept in report["kept"]:
        kept.pop("reason", None)
    said = told(added(report))
    assert said[f'last_success_timestamp_seconds{{host="{report["host"]}"}}'] == NOW
    assert said[f'last_run_deleted_rows{{host="{report["host"]}",table="flow_run"}}'] == 4
