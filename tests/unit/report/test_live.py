"""The line of progress: how far, how fast and how long still, or why it waits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prefect_maintenance.events import COUNTED, Event, Progress, StepStarted, TableDone, Waiting
from prefect_maintenance.report.live import Live
from prefect_maintenance.units import duration

DONE = TableDone("log", 10, {}, 1.0, 0)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def told(*events: Event | float, row_bytes: float = 0) -> str:
    """Return the line after these events; a number lets so many seconds pass."""
    clock = Clock()
    live = Live({"log": row_bytes}, clock)
    for event in (StepStarted("purge"), *events):
        if isinstance(event, float):
            clock.now += event
        else:
            live(event)
    return live.line()


def test_the_line_says_how_far_how_fast_how_much_and_how_long_still() -> None:
    line = told(Progress("log", 0, 5_600_000), 20.0, Progress("log", 1_000_000, 5_600_000),
                row_bytes=325)  # fmt: skip
    assert line == (
        "purge log: 1,000,000 of 5,600,000 rows, 18 %, 50,000 rows/s, 309.9 MiB, 1 min 32 s left"
    )


def test_no_time_is_left_before_a_hundredth_is_done_and_none_when_all_is() -> None:
    assert told(Progress("log", 0, 1000), 10.0, Progress("log", 9, 1000)).endswith("1 %")
    assert " left" in told(Progress("log", 0, 1000), 10.0, Progress("log", 10, 1000))
    assert " left" not in told(Progress("log", 0, 1000), 10.0, Progress("log", 1000, 1000))


def test_what_has_no_total_has_no_share_and_what_is_no_row_has_no_speed() -> None:
    assert told(Progress("log", 500, None)) == "purge log: 500 rows"
    events = Progress("log", 1, 4, unit="tables"), 10.0, Progress("events", 2, 4, unit="tables")
    assert told(*events) == "purge events: 2 of 4 tables, 50 %"


def test_what_is_only_counted_says_how_many_tables_are() -> None:
    assert told(Progress("events", 1, 6, COUNTED)) == "purge events: 1 of 6 tables counted"


def test_the_speed_is_that_of_the_last_half_minute() -> None:
    quick = [item for n in range(1, 11) for item in (1.0, Progress("log", 1000 * n, 100_000))]
    slow = [item for n in range(1, 61) for item in (1.0, Progress("log", 10_000 + n, 100_000))]
    assert "1,000 rows/s" in told(Progress("log", 0, 100_000), *quick)
    assert "1 rows/s" in told(Progress("log", 0, 100_000), *quick, *slow)


def test_a_wait_says_why_and_for_how_long_until_the_work_goes_on() -> None:
    wait = Waiting("log", "a replica lags by 3 s", 1.0, "lock")
    at = Progress("log", 10, 1000)
    assert told(at, wait) == "purge log: 10 of 1,000 rows, 1 %"
    assert told(at, wait, 1.0, wait, 4.0).endswith("waiting for 5 s: a replica lags by 3 s")
    assert "waiting" not in told(at, wait, 30.0, wait, Progress("log", 20, 1000))
    others = Waiting("a place", "others", 1.0, "cluster")
    assert told(others, 65.0) == "purge: waiting for 1 min 5 s: others"


def test_another_table_begins_anew() -> None:
    assert told(Progress("log", 10, 10), DONE) == "purge: getting ready"
    line = told(Progress("log", 10, 10), 10.0, Progress("events", 5, 10))
    assert line == "purge events: 5 of 10 rows, 50 %"


def test_a_step_before_any_work_has_its_name_and_before_that_it_starts() -> None:
    assert told() == "purge: getting ready"
    assert Live().line() == "starting"


def test_what_a_row_takes_is_known_from_the_report_so_far() -> None:
    tables = [{"name": "log", "rows_before": 10, "bytes_before": 1000}, {"name": "events"}]
    assert Live.after({"tables": tables}).row_bytes == {"log": 100}
    assert Live.after({}).row_bytes == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (100, "1 min 40 s"), (3600, "1 h"),
     (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)  # fmt: skip
def test_a_time_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
