"""The verdict of a run in three lines: does retention work, what of the space, what needs you.

It is a function of the report as its JSON stands, and of nothing else: a page that shows the
report of another version can make it too, and so can the controller, which has only Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..catalogue import BY_NAME
from ..units import count, size
from .forecast import forecast

Report = Mapping[str, Any]

# A disk that lasts no longer than this needs somebody now.
_SOON_FULL = 7
# Dead tuples are worth a word when they are so many and so large a part of the table.
_DEAD_ROWS, _DEAD_SHARE = 100_000, 0.2
_AGAIN = "correct what it names and run again"


@dataclass(frozen=True)
class Overdue:
    """A table with a row that should have gone.

    Attributes:
        table: its name.
        oldest: the row's time.
        cutoff: the instant before which rows may go.
        days_past: days between the two.
    """

    table: str
    oldest: str
    cutoff: str
    days_past: float


@dataclass(frozen=True)
class Need:
    """What needs a person, and the command or variable that helps.

    Attributes:
        text: what it is.
        do: what helps.
    """

    text: str
    do: str


@dataclass(frozen=True)
class Verdict:
    """How things stand.

    Attributes:
        working: whether retention works; None where the report cannot tell, because it is a
            check's or its run is not at its end.
        lines: three sentences.
        overdue: the worst first.
        needs: the most pressing first.
    """

    working: bool | None
    lines: tuple[str, str, str]
    overdue: tuple[Overdue, ...]
    needs: tuple[Need, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        told = asdict(self)
        return {name: list(one) if isinstance(one, tuple) else one for name, one in told.items()}


def verdict(report: Report) -> Verdict:
    """Return the verdict of a report."""
    late = tuple(sorted(_overdue(report), key=lambda one: -one.days_past))
    needs = tuple(_needs(report, late))
    working = _working(report, late)
    lines = (_on_retention(report, working, late), _on_space(report), _on_needs(report, needs))
    return Verdict(working, lines, late, needs)


def _overdue(report: Report) -> Iterator[Overdue]:
    cutoffs = report.get("cutoffs") or {}
    for table in report.get("tables") or ():
        known = BY_NAME.get(table["name"])
        cutoff = table.get("cutoff") or cutoffs.get(known.entity if known else None)
        oldest = table.get("oldest_due")
        if oldest and cutoff:
            past = datetime.fromisoformat(cutoff) - datetime.fromisoformat(oldest)
            yield Overdue(table["name"], oldest, cutoff, round(past / timedelta(days=1), 1))


def _goes_on(report: Report) -> str:
    """Return when a run goes on that ended because no window was open, if it did."""
    opens = str(report.get("goes_on") or "")
    return "" if report.get("errors") else opens.replace("T", " ")


def _at_its_end(report: Report) -> bool:
    """Tell whether a run has done all that it was to do, or failed and does no more."""
    steps, failed = report.get("steps") or (), report.get("status") not in (None, "ok")
    ended = "vacuum" in steps or failed
    return ended and not report.get("check_mode") and not _goes_on(report)


def _looked(report: Report) -> bool:
    return any(table.get("rows_before") is not None for table in report.get("tables") or ())


def _working(report: Report, late: tuple[Overdue, ...]) -> bool | None:
    if late:
        return False if _at_its_end(report) else None
    return True if _looked(report) else None


def _on_retention(report: Report, working: bool | None, late: tuple[Overdue, ...]) -> str:
    if working:
        return "Retention works: nothing is left that should have gone."
    if not late:
        return "Whether retention works is not known: the run ended before it could look."
    shown = ", ".join(f"{one.table} by {_days(one.days_past)}" for one in late[:3])
    more = f" and {len(late) - 3} more tables" if len(late) > 3 else ""
    if working is None:
        begun = "Some rows are past their cutoff"
        return f"{begun}: {shown}{more}; {_they_go(report)}."
    return f"Retention does not work: rows that should have gone are left, {shown}{more}."


def _they_go(report: Report) -> str:
    if report.get("check_mode"):
        return "a run would delete them"
    if _goes_on(report):
        return "the next run in a window deletes them"
    if "purge" in (report.get("steps") or ()):
        return "the run is not at its end"
    return "the next run deletes them"


def _days(days: float) -> str:
    return "a day" if days == 1 else f"{days:,.0f} days" if days >= 1 else "less than a day"


def _on_space(report: Report) -> str:
    database, told = report.get("database") or {}, report.get("forecast") or forecast(report)
    parts = [_came_back(report, database)] if database else ["Of the space nothing is known"]
    settles = told.get("settles_at_bytes")
    if settles is not None:
        grows = f"{size(told['bytes_per_day'])} a day"
        parts.append(f"with {grows} and this policy the database settles at {size(settles)}")
    elif database:
        parts.append("what it will settle at is not known yet")
    if told.get("disk"):
        parts.append(_full(told["days_until_full"]))
    return "; ".join(parts) + "."


def _came_back(report: Report, database: Mapping[str, Any]) -> str:
    before, after = database.get("bytes_before") or 0, database.get("bytes_after") or 0
    steps, rows = report.get("steps") or (), count(sum((report.get("deleted") or {}).values()))
    if not {"purge", "delete", "vacuum"} & set(steps):
        return f"The database has {size(after)}"
    if report.get("check_mode"):
        # A report of an earlier version has only the plan; what comes back is decided last.
        back = (report.get("estimate") or report.get("plan") or {}).get("bytes_back")
        known = back is not None and "vacuum" in steps
        given = f" and {size(back)} would come back" if known else ""
        return f"{rows} rows would go{given}"
    return f"{rows} rows went and {size(max(0, before - after))} came back"


def _full(days: int | None) -> str:
    if days is None:
        return "its disk lasts for more than ten years"
    return "its disk is full now" if days == 0 else f"its disk is full in {count(days)} days"


def _on_needs(report: Report, needs: tuple[Need, ...]) -> str:
    if not needs:
        opens = _goes_on(report)
        later = f" until the next window, in which the work goes on: {opens}" if opens else ""
        return f"Nothing needs you{later}."
    first = needs[0]
    more = f" (and {len(needs) - 1} more)" if len(needs) > 1 else ""
    return f"Needs you: {first.text}. Do: {first.do}{more}."


def _needs(report: Report, late: tuple[Overdue, ...]) -> Iterator[Need]:
    remedies = {one["text"]: one["do"] for one in report.get("remedies") or ()}
    for error in report.get("errors") or ():
        yield Need(error.rstrip("."), remedies.get(error) or _AGAIN)
    yield from _of_the_disk(report)
    failed = {table["name"] for table in report.get("tables") or () if table.get("error")}
    if _at_its_end(report) and not report.get("errors"):
        for one in late:
            if one.table not in failed:
                told = f"{one.table} has rows since {one.oldest[:10]} that should have gone"
                yield Need(told, "ansible-playbook playbooks/maintain.yml")
    yield from _of_dead_tuples(report)
    yield from _of_what_stands(report)
    for warning in report.get("warnings") or ():
        if warning in remedies:
            yield Need(warning, remedies[warning])


def _of_the_disk(report: Report) -> Iterator[Need]:
    told = report.get("forecast") or forecast(report)
    days = told.get("days_until_full")
    if days is None or days > _SOON_FULL:
        return
    disk, suggestion = told["disk"], told.get("suggestion")
    do = "give it a larger disk"
    if suggestion:
        do += f", or shorten the retention: {suggestion['text']}"
    yield Need(f"{_full(days)}, {disk['path']} on {disk['where']}", do)


def _of_dead_tuples(report: Report) -> Iterator[Need]:
    if not _at_its_end(report):
        return
    left: dict[bool, list[str]] = {True: [], False: []}
    for table in report.get("tables") or ():
        dead, rows = table.get("dead_after") or 0, table.get("rows_after") or 0
        if dead >= max(_DEAD_ROWS, _DEAD_SHARE * rows) and not table.get("error"):
            vacuumed = table.get("reclaim", "none") != "none"
            left[vacuumed].append(f"{table['name']} {count(dead)}")
    if left[False]:
        told = f"dead tuples are left that nothing vacuumed ({', '.join(left[False])})"
        yield Need(told, "prefect_maintenance_vacuum: auto")
    if left[True] and not any(one["keeps_rows"] for one in report.get("blockers") or ()):
        told = f"dead tuples are left that some session may still see ({', '.join(left[True])})"
        yield Need(told, "end the oldest transactions in pg_stat_activity, then run again")


def _of_what_stands(report: Report) -> Iterator[Need]:
    """Say what of blockers, indexes and autovacuum no run of the maintenance mends."""
    for one in report.get("blockers") or ():
        yield Need(one["text"], one["do"])
    for one in report.get("indexes") or ():
        if _at_its_end(report) and one["problem"] == "invalid" and not one["done"]:
            told = f"the index {one['index']} of {one['table']} is INVALID ({one['why']})"
            yield Need(told, one["do"])
    for one in report.get("autovacuum") or ():
        if one["suggested"] == "on" and not one["set"]:
            yield Need(f"autovacuum is off: {one['why']} ({one['setting']})", one["do"])
