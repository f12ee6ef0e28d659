"""Stuck runs are told of in a few lines, however many there are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from prefect_maintenance.events import StuckRunsSettled
from prefect_maintenance.plan.stuck import StuckRun
from prefect_maintenance.report import stuck

DAY = 86400
DEAD = StuckRun("1", "etl", "RUNNING", "2026-01-01T00:00:00Z", 9 * DAY)
KNOWN = StuckRun("2", "load", "PENDING", "2026-01-01T00:00:00Z", 3 * DAY + 7200, worker="w1")
LATE = StuckRun("3", "nightly", "LATE", "2026-01-01T00:00:00Z", 4 * DAY)
LIVES = StuckRun("4", "stream", "RUNNING", "2026-01-01T00:00:00Z", 30 * DAY, why_not="it logs")


def report(*runs: StuckRun, check: bool = False) -> dict[str, Any]:
    return {"stuck": [asdict(run) for run in runs], "check_mode": check}


def settled(*runs: StuckRun) -> tuple[StuckRun, ...]:
    return stuck.settled(runs, StuckRunsSettled(("1", "2", "3"), None))


def test_a_check_says_what_would_become_of_each() -> None:
    assert stuck.lines(report(DEAD, KNOWN, LATE, LIVES, check=True)) == [
        "",
        "  stuck runs, 3 of 4 would be ended:",
        "    etl (1) RUNNING for 9 d, its worker not known: would be ended",
        "    load (2) PENDING for 3 d 2 h, its worker w1 silent or started anew: would be ended",
        "    nightly (3) late for 4 d: would be deleted",
        "    stream (4) RUNNING for 30 d: stays: it logs",
    ]


def test_a_run_says_what_became_of_each() -> None:
    told = stuck.sentences(report(*settled(DEAD, KNOWN, LATE, LIVES)))
    assert [line.split(": ", 1)[1] for line in told] == [
        "ended",
        "ended",
        "deleted",
        "stays: it logs",
    ]
    assert stuck.title(report(*settled(DEAD, LIVES))) == "Stuck runs, 1 of 2 ended"


def test_one_that_was_not_come_to_is_not_called_ended() -> None:
    _, title, line = stuck.lines(report(DEAD))
    assert title == "  stuck runs, 0 of 1 ended:"
    assert line.endswith(": not tried; the next run looks at it again")


def test_at_most_ten_are_named() -> None:
    found = stuck.listed([LIVES, *(StuckRun(str(n), "r", "RUNNING", "", n) for n in range(11))])
    told = stuck.sentences(report(*found))
    assert len(told) == 11
    assert told[0].startswith("r (10) ")
    assert told[-1] == "and 2 more"


@pytest.mark.parametrize("old", [{}, {"stuck": []}])
def test_without_any_nothing_is_said(old: dict[str, Any]) -> None:
    assert stuck.lines(old) == stuck.markdown(old, str) == []


def test_markdown_says_the_same_and_keeps_names_from_being_markup() -> None:
    told = stuck.markdown(report(*settled(DEAD)), lambda text: text.upper())
    assert told == [
        "## Stuck runs, 1 of 1 ended",
        "",
        "- ETL (1) RUNNING FOR 9 D, ITS WORKER NOT KNOWN: ENDED",
        "",
    ]
