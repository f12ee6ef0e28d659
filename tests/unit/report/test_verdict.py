"""The verdict: whether retention works, what of the space, what needs a person and helps."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.errors import MaintenanceError, PrivilegeError, Stopped
from prefect_maintenance.report.plain import failed, with_forecast
from prefect_maintenance.report.report import Report
from prefect_maintenance.report.verdict import verdict
from prefect_maintenance.request.instants import now
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import carry_out

CUTOFF = "2026-06-16T00:00:00Z"
CUTOFFS = dict.fromkeys(("flow_runs", "task_runs", "artifacts", "logs", "events"), CUTOFF)
DONE = ["inspect", "purge", "delete", "vacuum"]


def table(name: str = "log", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "rows_before": 10,
        "rows_after": 10,
        "bytes_after": 100,
        "oldest_due": None,
        **more,
    }


def report(*tables: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "check_mode": False,
        "steps": DONE,
        "cutoffs": CUTOFFS,
        "deleted": {"log": 1200},
        "database": {"bytes_before": 3 * 2**20, "bytes_after": 2**20},
        "tables": list(tables or (table(),)),
        "errors": [],
        "warnings": [],
        **more,
    }


LATE = table(oldest_due="2026-06-10T00:00:00Z")
PUT_OFF = {"status": "partial", "goes_on": "2026-11-26T22:00+01:00"}


@pytest.mark.parametrize(
    ("found", "working", "said"),
    [
        (report(), True, "Retention works"),
        (report(LATE), False, "does not work: rows that should have gone are left, log by 6 days"),
        (report(LATE, check_mode=True), None, "log by 6 days; a run would delete them"),
        (report(LATE, steps=["inspect"]), None, "the next run deletes them"),
        (report(LATE, steps=["inspect", "purge"]), None, "the run is not at its end"),
        (report(LATE, steps=["inspect"], status="failed"), False, "does not work"),
        (report(LATE, steps=["purge"], **PUT_OFF), None, "the next run in a window deletes them"),
        (report(LATE, errors=["no"], **PUT_OFF), False, "does not work"),
        (report(steps=["inspect"]), True, "Retention works"),
        (report({"name": "log"}, status="failed"), None, "ended before it could look"),
        ({"status": "failed", "errors": ["no"]}, None, "ended before it could look"),
    ],
)
def test_retention_works_when_nothing_is_left_that_should_have_gone(
    found: dict[str, Any], working: bool | None, said: str
) -> None:
    told = verdict(found)
    assert told.working is working
    assert said in told.lines[0]


def test_a_run_that_a_window_ended_needs_nobody_and_says_when_it_goes_on() -> None:
    told = verdict(report(LATE, **PUT_OFF))
    assert told.needs == ()
    assert told.lines[2] == (
        "Nothing needs you until the next window, in which the work goes on: "
        "2026-11-26 22:00+01:00."
    )


def test_what_is_overdue_is_told_from_the_worst_on() -> None:
    tables = (
        table("events", oldest_due="2026-06-15T12:00:00Z", cutoff="2026-06-17T00:00:00Z"),
        LATE,
        table("artifact"),
        table("somebody_elses", oldest_due="2026-06-01T00:00:00Z"),
    )
    told = verdict(report(*tables)).as_json()["overdue"]
    assert told == [
        {"table": "log", "oldest": "2026-06-10T00:00:00Z", "cutoff": CUTOFF, "days_past": 6.0},
        {
            "table": "events",
            "oldest": "2026-06-15T12:00:00Z",
            "cutoff": "2026-06-17T00:00:00Z",
            "days_past": 1.5,
        },
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "1,200 rows went and 2.0 MiB came back; what it will settle at is not known yet."),
        ({"steps": ["inspect"]}, "The database has 1.0 MiB; what it will"),
        (
            {"check_mode": True, "plan": {"bytes_back": 2**20}},
            "1,200 rows would go and 1.0 MiB would come back;",
        ),
        (
            {"check_mode": True, "plan": {"bytes_back": 0}, "estimate": {"bytes_back": 2**20}},
            "1,200 rows would go and 1.0 MiB would come back;",
        ),
        (
            {"check_mode": True, "plan": {"bytes_back": 0}, "steps": ["inspect", "purge"]},
            "1,200 rows would go; what it will settle at",
        ),
        ({"database": {}}, "Of the space nothing is known."),
    ],
)
def test_the_second_line_says_what_came_back_and_where_it_settles(
    more: dict[str, Any], said: str
) -> None:
    assert verdict(report(**more)).lines[1].startswith(said)


def grown(free: int, a_day: int = 2**20, **more: Any) -> dict[str, Any]:
    disk = {"path": "/data", "free_bytes": free, "total_bytes": 2**40, "where": "db1"}
    one = table(rows_per_day=9.0, bytes_per_day=a_day, bytes_after=0)
    days = dict.fromkeys(CUTOFFS, 10)
    found = report(one, policy={"retention_days": days}, forecast={"disk": disk}, **more)
    return with_forecast({**found, "database": {"bytes_before": 0, "bytes_after": 0}})


def test_a_disk_that_is_full_within_a_week_needs_somebody_and_names_the_retention() -> None:
    told = verdict(grown(free=7 * 2**20))
    assert "settles at 10.0 MiB; its disk is full in 7 days" in told.lines[1]
    (need,) = told.needs
    assert need.text == "its disk is full in 7 days, /data on db1"
    assert "prefect_maintenance_retention: {logs: 5}" in need.do
    assert need.do in told.lines[2]
    assert verdict(grown(free=8 * 2**20)).needs == ()
    assert verdict(grown(free=8 * 2**20)).lines[2] == "Nothing needs you."
    assert "disk is full now" in verdict(grown(free=0)).lines[1]


@pytest.mark.parametrize(
    ("dead", "reclaim", "steps", "do"),
    [
        (200_000, "none", DONE, "prefect_maintenance_vacuum: auto"),
        (200_000, "plain", DONE, "pg_stat_activity"),
        (99_999, "none", DONE, ""),
        (200_000, "none", ["inspect"], ""),
    ],
)
def test_dead_tuples_that_stay_need_somebody(
    dead: int, reclaim: str, steps: list[str], do: str
) -> None:
    needs = verdict(report(table(dead_after=dead, reclaim=reclaim), steps=steps)).needs
    assert [do in need.do for need in needs] == ([True] if do else [])


def test_rows_that_a_good_run_left_behind_need_another_run() -> None:
    (need,) = verdict(report(LATE)).needs
    assert (need.do, "2026-06-10" in need.text) == ("ansible-playbook playbooks/maintain.yml", True)
    failed_too = report(LATE, errors=["purge: log: no lock"], status="partial")
    assert [need.text for need in verdict(failed_too).needs] == ["purge: log: no lock"]


@pytest.mark.parametrize(
    ("error", "do"),
    [
        (PrivilegeError("no right"), "ansible-playbook playbooks/privileges.yml"),
        (Stopped("time is up", "raise it"), "raise it"),
        (Stopped("stopped"), "run again to go on"),
        (MaintenanceError("odd"), "correct what it names and run again"),
    ],
)
def test_what_helps_against_an_error_comes_with_the_error_and_not_from_its_text(
    error: MaintenanceError, do: str
) -> None:
    begun = Report.resume(Settings.parse({}, check=False), now())
    told = begun.closed("purge", 1.0, error).as_json()
    assert told["verdict"]["needs"] == [{"text": f"purge: {error}", "do": do}]
    # The next step goes on with it.
    again = Report.resume(Settings.parse({"report": told}, check=False), now()).as_json()
    assert again["verdict"]["needs"] == told["verdict"]["needs"]


def test_a_step_that_cannot_begin_says_what_helps() -> None:
    told = carry_out("purge", {"db_url": "postgresql://nobody@127.0.0.1:1/none"}, check=False)
    (need,) = told.report["verdict"]["needs"]
    assert "prefect_maintenance_db_url" in need["do"]
    assert told.report["verdict"]["working"] is None


def test_a_warning_needs_somebody_only_where_something_helps_against_it() -> None:
    warned = Report.resume(Settings.parse({}, check=False), now()).with_warnings(["a", "b"])
    assert warned.as_json()["verdict"]["needs"] == []
    told = warned.with_remedy("b", "do this").as_json()["verdict"]
    assert told["needs"] == [{"text": "b", "do": "do this"}]
    assert told["lines"][2] == "Needs you: b. Do: do this."


def test_a_report_that_failed_between_two_steps_has_a_new_verdict() -> None:
    told = failed(with_forecast(report(status_if_lost="partial")), "flow: ended", "look there")
    assert told["status"] == "partial"
    assert told["verdict"]["needs"] == [{"text": "flow: ended", "do": "look there"}]
