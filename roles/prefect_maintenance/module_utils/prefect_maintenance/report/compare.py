"""The runs of one server side by side: as small plots, and the last one beside this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import count, duration, size
from .history import STATUSES, Run
from .plots import Plot, Value, bars, line, strip


@dataclass(frozen=True)
class Change:
    """A number of the last run beside that of this one."""

    what: str
    then: str
    now: str
    more: str = ""


def of_runs(runs: Sequence[Run]) -> tuple[Plot, ...]:
    """Return the plots of runs, which are given the oldest first."""
    return (
        line("Database after the run", _values(runs, "bytes_after"), size),
        bars("Rows deleted", _values(runs, "rows"), lambda rows: count(int(rows))),
        bars("Duration", _values(runs, "seconds"), took),
        of_statuses(runs),
    )


def of_statuses(runs: Sequence[Run]) -> Plot:
    """Return a strip that says of each run how it ended."""
    ended = {status: sum(run.status == status for run in runs) for status in STATUSES}
    told = ", ".join(f"{number} {status}" for status, number in ended.items() if number)
    return strip("Status", [Value(None, run.status, minute(run.instant)) for run in runs], told)


def changes(last: Run, report: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the last run's numbers beside those of a report, which has every key."""
    check, database = report["check_mode"], report["database"]
    gone = sum(report["deleted"].values())
    found = [
        Change("Status", last.status, report["status"]),
        _sizes("Database before the run", last.bytes_before, database["bytes_before"]),
        _sizes("Database after the run", last.bytes_after, database["bytes_after"]),
        Change("Rows that would go" if check else "Rows deleted", count(last.rows), count(gone)),
        Change("Duration", took(last.seconds), took(report["seconds"])),
    ]
    return tuple(found[:2] + found[3:4] if check else found)


def grown(last: Run, report: Mapping[str, Any]) -> int | None:
    """Return by how many bytes the database grew between the last run and a report."""
    before = report["database"]["bytes_before"]
    return None if None in (before, last.bytes_after) else before - last.bytes_after


def change(number: float) -> str:
    """Return by how much more or less bytes there are."""
    sign = "+" if number > 0 else "\N{MINUS SIGN}"
    return f"{sign}{size(abs(number))}" if number else "\N{PLUS-MINUS SIGN}0"


def took(seconds: float | None) -> str:
    """Return how long something took, with tenths as long as they say something."""
    if seconds is None:
        return "?"
    return f"{seconds:,.1f} s" if seconds < 100 else duration(seconds)


def minute(instant: str) -> str:
    """Return an instant as labels have it."""
    return instant[:16].replace("T", " ")


def _sizes(what: str, then: int | None, now: int | None) -> Change:
    more = change(now - then) if now is not None and then is not None else ""
    return Change(what, size(then), size(now), more)


def _values(runs: Sequence[Run], what: str) -> list[Value]:
    return [Value(getattr(run, what), run.status, minute(run.instant)) for run in runs]
