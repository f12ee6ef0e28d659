"""What the page of a server shows, as plain data; made of the report as its JSON stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import count, duration, size
from . import archived, rules, what_if
from .compare import Change, changes, grown, of_runs, took
from .costs import Cost, costs
from .history import Run
from .plots import Plot
from .standing import of_tables
from .verdict import Need, Verdict, verdict
from .whole import whole

_RECLAIMS = {
    "plain": "vacuumed",
    "full": "VACUUM FULL",
    "rewrite": "rewritten",
    "repack": "repacked",
    "compact": "compacted",
}


@dataclass(frozen=True)
class Band:
    """The verdict in one colour: "ok", "warn", "bad" or "info"."""

    tone: str
    headline: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """Something to know, and the command or variable that helps against it, if one does."""

    tone: str
    label: str
    text: str
    do: str


@dataclass(frozen=True)
class Card:
    """A number that matters, and what else is to be said of it."""

    title: str
    value: str
    note: str


@dataclass(frozen=True)
class Row:
    """A table of the database.

    Attributes:
        t: as the report has it.
        gone: rows that left it, or would.
        how: in which ways, and how the space came back.
        kept_share: percent of the largest table's bytes that are left, for its bar.
        gone_share: percent that came back, or would.
        since: bytes more than after the last run; None when that is unknown.
    """

    t: Mapping[str, Any]
    gone: int
    how: tuple[str, ...]
    kept_share: float
    gone_share: float
    since: int | None


@dataclass(frozen=True)
class HostView:
    """Everything that the template draws.

    Attributes:
        report: with every key.
        looks: it only measures, and is of no run.
        points: what needs a person, and warnings.
        others: rows that left tables which are not among the rows.
        kept_for: days, the cutoff that they make, and the entities that have both in common.
        grown: bytes that came between the last run and this report.
        grows: growth was measured.
        standing: titles and lines on indexes and autovacuum.
        rule_kinds: rules, what they let go and keep.
        rule_rows: whether the rows of a rule went, or would.
        holds: a line for each tag that holds runs.
        archived: what was written where before it went.
        would_go_title: what `would_go` is, or that nothing would.
        would_go: what would go of each table with this policy.
    """

    report: Mapping[str, Any]
    looks: bool
    band: Band
    points: tuple[Point, ...]
    cards: tuple[Card, ...]
    rows: tuple[Row, ...]
    others: Mapping[str, int]
    costs: tuple[Cost, ...]
    kept_for: tuple[tuple[int, str, list[str]], ...]
    plots: tuple[Plot, ...]
    runs: tuple[Run, ...]
    last: Run | None
    changes: tuple[Change, ...]
    grown: int | None
    grows: bool
    standing: tuple[tuple[str, list[str]], ...]
    rule_kinds: tuple[rules.Kind, ...]
    rule_rows: str
    holds: tuple[str, ...]
    archived: tuple[str, ...]
    would_go_title: str
    would_go: tuple[what_if.Row, ...]


def host_view(given: Mapping[str, Any], runs: Sequence[Run], *, looks: bool) -> HostView:
    """Return what the page shows of a report beside its server's earlier runs.

    Args:
        given: the report, as its JSON stands.
        runs: earlier ones, the oldest first.
        looks: it is one that only measures, and no run.
    """
    report = whole(given)
    # A report of an earlier version has none.
    found = verdict(given)
    last = runs[-1] if runs else None
    shown = [*runs] if report["check_mode"] or looks else [*runs, _as_run(report)]
    names = {table["name"] for table in report["tables"]}
    others = {name: n for name, n in report["deleted"].items() if n and name not in names}
    return HostView(
        report,
        looks,
        _band(report, found),
        _points(report, found, last),
        _cards(report, looks=looks),
        _rows(report, last),
        others,
        () if looks else costs(report),
        _kept_for(report),
        of_runs(shown) if len(shown) > 1 else (),
        tuple(shown),
        last,
        changes(last, report) if last and not looks else (),
        grown(last, report) if last else None,
        any(t["bytes_per_day"] is not None for t in report["tables"]),
        tuple(of_tables(report)),
        tuple(rules.kinds(report)),
        rules.went(report).capitalize(),
        tuple(rules.holds(report)),
        tuple(archived.sentences(report)),
        what_if.title(report),
        tuple(what_if.rows(report)),
    )


def _as_run(report: Mapping[str, Any]) -> Run:
    return Run.of(report, str(report["finished"] or report["started"]))


def _band(report: Mapping[str, Any], found: Verdict) -> Band:
    if report["status"] == "failed":
        return Band("bad", "The run failed", found.lines)
    if report["goes_on"] and not report["errors"]:
        return Band("info", "The run goes on in the next window", found.lines)
    if report["status"] == "partial":
        return Band("bad", "The run failed after it had begun", found.lines)
    if found.working is False:
        return Band("bad", "Rows that should have gone are left", found.lines)
    if report["check_mode"]:
        return Band("info", "Check only: nothing was changed", found.lines)
    if not found.working:
        return Band("info", "Whether retention works is not known yet", found.lines)
    if found.needs:
        return Band("warn", "Something needs you", found.lines)
    return Band("ok", "All in order", found.lines)


def _points(report: Mapping[str, Any], found: Verdict, last: Run | None) -> tuple[Point, ...]:
    """Return what needs a person, then the warnings against which nothing is to be done."""
    errors = {error.rstrip(".") for error in report["errors"]}
    told = {need.text for need in found.needs}
    needs = (*found.needs, *(Need(text, "") for text in report["warnings"] if text not in told))
    points = []
    for need in needs:
        tone, label = "warn", "to do"
        if need.text in errors:
            tone, label = "bad", "failed"
        elif need.text in report["warnings"]:
            label = "new warning" if last and need.text not in last.warnings else "warning"
        points.append(Point(tone, label, need.text, need.do))
    return tuple(points)


def _cards(report: Mapping[str, Any], *, looks: bool) -> tuple[Card, ...]:
    database, forecast, check = report["database"], report["forecast"], report["check_mode"]
    before, after = database["bytes_before"], database["bytes_after"]
    settles = forecast["settles_at_bytes"]
    told = "" if settles is None else f"settles at {size(settles)} with this policy"
    if looks:
        first = Card("Database", size(after), told)
    elif check:
        back = report["estimate"].get("bytes_back", report["plan"].get("bytes_back"))
        first = Card("Would come back", size(back), f"of {size(before)}")
    else:
        back = None if None in (before, after) else max(0, before - after)
        note = f"the database had {size(before)}, now {size(after)}"
        first = Card("Given back", size(back), note)
    gone = sum(report["deleted"].values())
    rows = Card("Rows that would go" if check else "Rows deleted", count(gone), _pace(report))
    if looks:
        bloat = sum(table["bloat_bytes"] or 0 for table in report["tables"])
        rows = Card("Bloat", size(bloat), "beyond what the live rows need")
    return (first, rows, _last_card(report, told))


def _pace(report: Mapping[str, Any]) -> str:
    lock = max((table["lock_ms_max"] for table in report["tables"]), default=0)
    expected = report["estimate"].get("seconds")
    if report["check_mode"]:
        return "" if expected is None else f"in about {duration(expected)}"
    locked = f"no table was locked for longer than {lock:,} ms" if lock else "no table was locked"
    return f"in {took(report['seconds'])}; {locked}"


def _last_card(report: Mapping[str, Any], settles: str) -> Card:
    forecast = report["forecast"]
    disk, days = forecast["disk"], forecast["days_until_full"]
    if disk and days is not None:
        return Card(
            "Disk is full in",
            f"{days:,} {'day' if days == 1 else 'days'}",
            settles or f"on {disk['path']}",
        )
    if disk:
        free = f"{size(disk.get('free_bytes'))} free of {size(disk.get('total_bytes'))}"
        return Card("Disk is full", "not within ten years", f"{free}; {settles}".rstrip("; "))
    if forecast["bytes_per_day"] is not None:
        return Card("Growth", f"{size(forecast['bytes_per_day'])} a day", settles)
    kept = sum(kept["rows"] for kept in report["kept"])
    return Card("Kept on purpose", count(kept), "rows older than their cutoff; see what stayed")


def _rows(report: Mapping[str, Any], last: Run | None) -> tuple[Row, ...]:
    tables = [t for t in report["tables"] if t["bytes_before"] is not None or t["error"]]
    largest = max((max(t["bytes_before"] or 0, t["bytes_after"] or 0) for t in tables), default=0)
    rows = []
    for t in tables:
        now = t["bytes_after"] or 0
        back = max(0, (t["bytes_before"] or 0) - now)
        if report["check_mode"]:
            back = min(now, max(0, t["estimate"].get("bytes_back") or 0))
            now -= back
        since = None
        if last and t["name"] in last.tables and t["bytes_before"] is not None:
            since = t["bytes_before"] - last.tables[t["name"]]
        gone = report["deleted"].get(t["name"], 0)
        left, came = (round(100 * part / (largest or 1), 2) for part in (now, back))
        rows.append(Row(t, gone, _how(t), left, came, since))
    return tuple(rows)


def _kept_for(report: Mapping[str, Any]) -> tuple[tuple[int, str, list[str]], ...]:
    alike: dict[tuple[int, str], list[str]] = {}
    for entity, days in report["policy"]["retention_days"].items():
        alike.setdefault((days, report["cutoffs"].get(entity, "")), []).append(entity)
    return tuple((days, cutoff, names) for (days, cutoff), names in alike.items())


def _how(table: Mapping[str, Any]) -> tuple[str, ...]:
    strategy = str(table["strategy"]).removesuffix(" (planned)")
    ways = [f"{way} {count(rows)}" for way, rows in table["ways"].items()]
    found = ways if len(ways) > 1 else [strategy] * (strategy != "none")
    reclaimed = _RECLAIMS.get(table["reclaim"])
    return (*found, *([reclaimed] if reclaimed else []))
