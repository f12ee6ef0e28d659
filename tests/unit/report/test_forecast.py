"""What a database settles at and when its disk is full: a function of the report's numbers."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.catalogue import BY_NAME
from prefect_maintenance.report.forecast import days_kept, forecast, settled
from prefect_maintenance.report.plain import with_forecast

MIB = 2**20
DAYS = {"flow_runs": 30, "task_runs": 30, "artifacts": 30, "logs": 10, "events": 5}
EVERY = tuple(BY_NAME)


def table(name: str, a_day: int = 0, live: int = 0, free: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "bytes_after": live + free,
        "bloat_bytes": free,
        "rows_per_day": a_day / 100,
        "bytes_per_day": a_day,
    }


def report(
    *tables: dict[str, Any], rest: int = 0, free: int | None = None, **more: Any
) -> dict[str, Any]:
    """Give a report on these tables; the others are empty and stay so."""
    named = {one["name"] for one in tables}
    every = [*tables, *(table(name) for name in EVERY if name not in named)]
    disk = {"path": "/data", "free_bytes": free, "total_bytes": 10**12, "where": "db1"}
    return {
        "policy": {"retention_days": {**DAYS, **more.pop("days", {})}},
        "tables": every,
        "database": {"bytes_after": rest + sum(one["bytes_after"] for one in every), **more},
        "forecast": {"days_measured": 14.0, "disk": None if free is None else disk},
    }


@pytest.mark.parametrize(
    ("name", "days", "kept"),
    [
        ("log", {}, 10),
        ("log", {"flow_runs": 3}, 3),
        ("log", {"task_runs": 3}, 10),
        ("event_resources", {}, 5),
        ("flow_run_state", {"flow_runs": 7}, 7),
        ("task_run_state", {"flow_runs": 7}, 7),
        ("task_run_state", {"task_runs": 4}, 4),
        ("artifact", {"flow_runs": 7}, 30),
        ("artifact_collection", {}, None),
    ],
)
def test_rows_are_kept_as_long_as_the_policy_says_and_not_longer_than_what_they_go_with(
    name: str, days: dict[str, int], kept: int | None
) -> None:
    assert days_kept(BY_NAME[name], {**DAYS, **days}) == kept


def test_a_table_settles_at_its_retention_times_what_comes_in_a_day() -> None:
    told = settled(table("log", 500), DAYS)
    assert told == {"settles_rows": 50, "settles_bytes": 5000}
    assert settled(table("artifact_collection", 500), DAYS) == dict.fromkeys(told)
    assert settled({"name": "log"}, DAYS) == dict.fromkeys(told)


def test_the_database_settles_at_its_tables_and_what_nothing_deletes() -> None:
    told = forecast(
        report(
            table("log", 5 * MIB, live=400 * MIB, free=90 * MIB),
            table("events", MIB, live=MIB),
            table("artifact_collection", 0, live=3 * MIB),
            rest=7 * MIB,
        )
    )
    assert told["settles_at_bytes"] == (50 + 5 + 3 + 7) * MIB
    assert told["bytes_per_day"] == 6 * MIB
    assert told["days_measured"] == 14.0
    assert told["disk"] is told["days_until_full"] is told["days_until_full_without"] is None


def test_free_pages_of_an_sqlite_file_are_no_part_of_what_it_settles_at() -> None:
    found = report(table("log", MIB, live=10 * MIB), rest=8 * MIB, free=0, free_bytes=5 * MIB)
    told = forecast(found)
    assert told["settles_at_bytes"] == 13 * MIB
    assert told["days_until_full_without"] == 5


@pytest.mark.parametrize(
    ("tables", "free", "with_policy", "without"),
    [
        # Settled already: only without the policy it grows.
        ([table("log", 10, live=100)], 50, None, 5),
        # It settles at 100, and the disk has less room than that.
        ([table("log", 10, live=20)], 50, 5, 5),
        ([table("log", 10, live=20)], 80, None, 8),
        # More than it settles at, but the space is there and is used again.
        ([table("log", 10, live=500)], 0, None, 0),
        # What is free in the file is used first.
        ([table("log", 10, live=20, free=30)], 40, 7, 7),
        # Nothing deletes it.
        ([table("artifact_collection", 10, live=20)], 100, 10, 10),
        # One table settles, the other goes on.
        ([table("events", 10, live=0), table("artifact_collection", 1)], 60, 10, 5),
        ([table("log", 10, live=20)], 0, 0, 0),
        # Ten years are as far as it looks.
        ([table("artifact_collection", 1)], 3649, 3649, 3649),
        ([table("artifact_collection", 1)], 3650, None, None),
    ],
)
def test_the_disk_lasts_until_what_comes_has_taken_its_free_bytes(
    tables: list[dict[str, Any]], free: int, with_policy: int | None, without: int | None
) -> None:
    told = forecast(report(*tables, free=free))
    assert (told["days_until_full"], told["days_until_full_without"]) == (with_policy, without)


def test_what_came_back_in_the_run_is_free_too() -> None:
    found = report(table("artifact_collection", 10), free=50)
    found["database"] |= {"bytes_before": found["database"]["bytes_after"] + 30}
    assert forecast(found)["days_until_full"] == 8


def test_the_longest_retention_that_halves_it_is_suggested_for_what_matters_most() -> None:
    told = forecast(report(table("log", 10 * MIB), table("events", MIB), rest=5 * MIB))
    assert told["settles_at_bytes"] == 110 * MIB
    assert told["suggestion"] == {
        "variable": "prefect_maintenance_retention",
        "value": {"logs": 4},
        "settles_at_bytes": 50 * MIB,
        "text": "with prefect_maintenance_retention: {logs: 4} it would settle at 50.0 MiB",
    }


def test_logs_are_shortened_by_their_own_retention_although_they_go_with_their_runs() -> None:
    told = forecast(report(table("flow_run", MIB // 10), table("log", 10 * MIB)))
    assert told["suggestion"]["value"] == {"logs": 4}


def test_when_no_entity_halves_it_by_itself_all_are_shortened() -> None:
    told = forecast(
        report(table("log", MIB), table("events", 2 * MIB), table("artifact", MIB // 3))
    )
    assert told["suggestion"]["variable"] == "prefect_maintenance_retention_days"
    assert told["suggestion"]["value"] == 4
    assert told["suggestion"]["settles_at_bytes"] <= told["settles_at_bytes"] / 2


@pytest.mark.parametrize("more", [{"rest": 100 * MIB}, {"days": dict.fromkeys(DAYS, 1)}])
def test_nothing_is_suggested_where_no_retention_halves_it(more: dict[str, Any]) -> None:
    assert forecast(report(table("log", MIB), **more))["suggestion"] is None


@pytest.mark.parametrize(
    "unknown", [{"rows_per_day": None}, {"bytes_per_day": None}, {"bytes_per_day": None, "x": 1}]
)
def test_where_one_table_is_unknown_no_number_is_invented(unknown: dict[str, Any]) -> None:
    told = forecast(report({**table("log", 10, live=10), **unknown}, free=10))
    numbers = {name: one for name, one in told.items() if name not in ("disk", "makers")}
    assert set({**numbers, "days_measured": None}.values()) == {None}


def test_a_report_of_the_version_before_and_one_of_a_failure_have_a_forecast_of_nothing() -> None:
    failed: dict[str, Any] = {"schema": 1, "status": "failed", "errors": ["no"], "deleted": {}}
    for lost in ({}, failed):
        told = with_forecast(lost)
        assert told["forecast"]["settles_at_bytes"] is None
        assert told["verdict"]["working"] is None
    old = report(table("log", 10, live=10))
    for one in old["tables"]:
        del one["rows_per_day"], one["bytes_per_day"]
    del old["forecast"]
    assert with_forecast(old)["forecast"]["settles_at_bytes"] is None
    assert with_forecast(old)["tables"][0]["settles_bytes"] is None
