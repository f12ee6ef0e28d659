"""The report is made of what happened, in the order in which it happened."""

from __future__ import annotations

from prefect_maintenance.events import (
    Event,
    FellBack,
    Progress,
    Reclaimed,
    Rewritten,
    StepStarted,
    Stopped,
    TableDone,
    Warned,
)
from prefect_maintenance.plan.plan import Plan
from prefect_maintenance.plan.via import Via
from prefect_maintenance.report.delete_via import sentence
from prefect_maintenance.report.fold import fold
from prefect_maintenance.report.report import Report
from prefect_maintenance.request.instants import now
from prefect_maintenance.request.settings import Settings

EMPTY = Report.resume(Settings.parse({}, check=False), now())


def test_rows_seconds_and_wal_of_a_table_add_up_over_what_was_done_with_it() -> None:
    report = fold(
        EMPTY,
        [
            TableDone("log", 90, {"rewrite": 90}, 1.5, 100),
            TableDone("log", 10, {"cascade": 10}, 0.5, 20),
            TableDone("events", 0, {}, 0.25, 0),
        ],
    )
    log = report.table("log")
    assert (log.seconds, log.wal_bytes, log.ways) == (2.0, 120, {"rewrite": 90, "cascade": 10})
    assert log.strategy == "rewrite"
    assert report.deleted["log"] == 100
    assert report.deleted["events"] == 0


def test_the_longest_lock_and_the_most_disk_stay() -> None:
    told = [Rewritten("log", 0.02, 500), Rewritten("log", 0.01, 900)]
    log = fold(EMPTY, told).table("log")
    assert (log.lock_ms_max, log.extra_bytes) == (20, 900)


def test_a_failure_of_one_table_stays_with_it() -> None:
    told: list[Event] = [
        TableDone("log", 0, {}, 0.0, 0, "no lock"),
        TableDone("log", 5, {"sql": 5}, 0.0, 0),
    ]
    report = fold(EMPTY, told)
    assert report.table("log").error == "no lock"
    assert report.table("events").error is None


def test_what_was_done_instead_is_said_after_what_was_planned() -> None:
    report = fold(EMPTY, [FellBack("log", "no guard"), FellBack("log", "but it could not be")])
    assert report.table("log").strategy_why == "no guard; but it could not be"


def test_an_sqlite_file_as_a_whole_is_said_of_the_database_and_of_no_table() -> None:
    told: list[Event] = [
        Rewritten(None, 0.5, 10),
        Reclaimed(None, "full", "free"),
        TableDone(None, 0, {}, 1, 0),
    ]
    report = fold(EMPTY, told)
    assert report.tables == ()
    assert report.database["reclaim"] == "full"
    assert report.database["lock_ms_max"] == 500
    assert report.database["error"] is None


def test_a_warning_is_said_once_and_what_only_passes_leaves_nothing() -> None:
    passing: list[Event] = [StepStarted("purge"), Progress("log", 1, 2), Stopped("enough")]
    assert fold(EMPTY, passing) == EMPTY
    assert fold(EMPTY, [Warned("a"), Warned("b"), Warned("a")]).warnings == ("a", "b")


def test_the_way_of_flow_runs_is_the_one_that_they_went_and_a_change_of_it_has_its_reason() -> None:
    plan = Plan(rows={"flow_run": 9}, via=Via("api", "it fits", 9, 0.5, 600))
    planned = EMPTY.with_plan(plan)
    assert planned.delete_via == {
        "way": "api",
        "why": "it fits",
        "estimated_seconds": 0.5,
        "budget": 600,
    }
    went: list[Event] = [
        FellBack("flow_run", "the rest by SQL: it was used up"),
        TableDone("flow_run", 9, {"api": 4, "sql": 5}, 1.0, 0),
    ]
    report = fold(planned, went)
    assert report.delete_via["way"] == "mixed"
    assert report.delete_via["why"] == "it fits; the rest by SQL: it was used up"
    assert report.plan.via == plan.via
    told = sentence(report.as_json())
    assert told.startswith("flow runs went through the API and by SQL: it fits; the rest by SQL")


def test_a_report_of_a_version_before_says_nothing_of_the_way_of_flow_runs() -> None:
    told = EMPTY.as_json()
    del told["delete_via"]
    assert sentence(told) == ""
