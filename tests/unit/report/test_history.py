"""Earlier runs: which files are theirs, which of them go, and what is made of broken ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pages import new_report, old_report
from prefect_maintenance.report.history import Run, before, foreign, instant, newest, read, surplus
from prefect_maintenance.report.plots import HEIGHT, Value, bars, line

FIRST, SECOND = "2026-01-01T00:00:00Z.json", "2026-01-02T00:00:00.123456Z.json"
LAST = "2026-02-01T00:00:00Z.json"
OTHERS = ("notes.txt", "fleet.json", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z.json.gz")


def test_the_oldest_runs_go_and_nothing_else() -> None:
    names = {LAST, SECOND, FIRST, *OTHERS}
    assert surplus(names, 2) == [FIRST]
    assert surplus(names, 3) == []
    assert surplus(names, 0) == [FIRST, SECOND, LAST]
    assert newest(names, 2) == [SECOND, LAST]
    assert newest(names, 0) == newest(names, -1) == []
    assert foreign(names) == sorted(OTHERS)


@pytest.mark.parametrize(
    ("report", "found"),
    [
        ({"finished": "2026-01-02T00:00:00Z", "started": "2026-01-01T00:00:00Z"}, SECOND[:10]),
        ({"started": "2026-01-01T00:00:00.5Z"}, FIRST[:10]),
        ({"started": "../../etc/2026-01-01T00:00:00Z"}, "now"),
        ({"started": "2026-01-01T00:00:00Z/.."}, "now"),
        ({"started": "2026-01-01T00:00:00Z\n"}, "now"),
        ({"finished": None, "started": 7}, "now"),
        ({}, "now"),
    ],
)
def test_only_an_instant_names_a_file(report: dict[str, Any], found: str) -> None:
    assert instant(report, "now")[:10] == found


def test_a_run_is_what_its_report_says() -> None:
    report = old_report()
    [run], broken = read({FIRST: json.dumps(report)})
    assert broken == []
    assert run.instant == "2026-01-01T00:00:00Z"
    assert (run.status, run.rows) == ("ok", sum(report["deleted"].values()))
    assert run.tables["log"] == report["tables"][0]["bytes_after"]
    assert Run.of({"status": "failed"}, "now").bytes_after is None


BROKEN = {
    "empty": "",
    "cut": json.dumps(old_report())[:500],
    "a list": "[]",
    "a number": "7",
    "deep": "[" * 100_000,
    "another status": json.dumps({**old_report(), "status": "fine"}),
    "a check": json.dumps({**old_report(), "check_mode": True}),
    "no status": json.dumps({"deleted": {}}),
    "words for numbers": json.dumps({**old_report(), "seconds": "many"}),
    "less than nothing": json.dumps({**old_report(), "deleted": {"log": -1}}),
    "no number": json.dumps({**old_report(), "seconds": float("nan")}),
    "endless": json.dumps({**old_report(), "database": {"bytes_after": float("inf")}}),
    "no tables": json.dumps({**old_report(), "tables": 7}),
    "a table without a name": json.dumps({**old_report(), "tables": [{"bytes_after": 1}]}),
    "no database": json.dumps({**old_report(), "database": []}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_named_and_the_others_are_read(what: str) -> None:
    runs, broken = read({FIRST: BROKEN[what], SECOND: json.dumps(new_report())})
    assert broken == [FIRST]
    assert [run.instant for run in runs] == [SECOND.removesuffix(".json")]


def test_the_run_before_is_the_one_that_had_ended_when_this_one_began() -> None:
    runs, _ = read({name: json.dumps(old_report()) for name in (FIRST, SECOND, LAST)})
    assert before(runs, "2026-01-15T00:00:00Z") == runs[:2]
    assert before(runs, "") == runs


def test_bars_begin_at_zero_and_the_least_can_be_seen() -> None:
    values = [Value(0, "ok", "a"), Value(1, "ok", "b"), Value(10_000, "failed", "c")]
    plot = bars("Rows", values, str)
    assert [mark.height for mark in plot.marks] == [0, 2, HEIGHT]
    assert all(mark.y + mark.height == HEIGHT for mark in plot.marks)
    assert (plot.last, plot.note) == ("10000", "at most 10000")
    assert plot.marks[2].label == "c: 10000"
    assert plot.marks[2].kind == "failed"


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    numbers = [1.0, 2.0, None, 4.0, None, 3.0, 2.0]
    plot = line("Size", [Value(number, "ok", "") for number in numbers], str)
    assert [len(piece.split()) for piece in plot.line] == [2, 2]
    assert len(plot.marks) == 5
    assert min(mark.y for mark in plot.marks) == 0


@pytest.mark.parametrize("values", [[], [Value(None, "ok", "a")], [Value(0, "ok", "a")]])
def test_a_plot_of_nothing_is_a_plot(values: list[Value]) -> None:
    for draw in (bars, line):
        assert draw("Rows", values, "{:g} rows".format).note == "at most 0 rows"
