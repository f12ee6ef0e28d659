"""What the page of a server shows, as plain data; made of the report as its JSON stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import count, duration, size
from .compare import Change, changes, grown, of_runs, took
from .costs import Cost, costs
from .history import Run
from .plots import Plot

# What a report of an earlier version or a failed run does not say.
_REPORT: dict[str, Any] = {
    "host": "", "check_mode": False, "status": "ok", "started": "", "finished": "", "seconds": 0.0,
    "reference_time": "", "server": {}, "database": {}, "policy": {}, "cutoffs": {}, "deleted": {},
    "kept": (), "tables": (), "steps": (), "warnings": (), "errors": (), "growth": (), "plan": {},
    "estimate": {}, "measured": {}, "waited": {}, "forecast": {}, "verdict": {},
}  # fmt: skip
_DATABASE: dict[str, Any] = {
    "dialect": "", "version": "", "bytes_before": None, "bytes_after": None, "reclaim_why": "",
}  # fmt: skip
_SERVER: dict[str, Any] = {"api_url": "", "version": "", "db_vacuum": None}
_POLICY: dict[str, Any] = {"retention_days": {}, "states": ()}
_TABLE: dict[str, Any] = {
    "name": "", "rows_before": None, "rows_after": None, "bytes_before": None, "bytes_after": None,
    "bloat_bytes": None, "bloat_percent": None, "bloat_method": "", "oldest_after": None,
    "oldest_due": None, "strategy": "none", "ways": {}, "strategy_why": "", "estimates": {},
    "reclaim": "none", "reclaim_why": "", "seconds": 0.0, "wal_bytes": 0, "extra_bytes": 0,
    "lock_ms_max": 0, "error": None, "rows_per_day": None, "bytes_per_day": None,
    "growth_method": None, "settles_rows": None, "settles_bytes": None, "estimate": {},
}  # fmt: skip
_FORECAST: dict[str, Any] = {
    "days_measured": None, "rows_per_day": None, "bytes_per_day": None, "settles_at_bytes": None,
    "disk": None, "days_until_full": None, "days_until_full_without": None, "suggestion": None,
    "makers": {},
}  # fmt: skip
_VERDICT: dict[str, Any] = {"working": None, "lines": (), "overdue": (), "needs": ()}
_RECLAIMS = {
    "plain": "vacuumed",
    "full": "VACUUM FULL",
    "rewrite": "rewritten",
    "repack": "repacked",
    "compact": "compacted",
}
_REWRITING = set(_RECLAIMS) - {"plain"}


@dataclass(frozen=True)
class Band:
    """The verdict in one colour: "ok", "warn", "bad" or "info"."""

    tone: str
    headline: str
    lines: tuple[str, ...]


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
        others: rows that left tables which are not among the rows.
        kept_for: days, the cutoff that they make, and the entities that have both in common.
        grown: bytes that came between the last run and this report.
        grows: growth was measured.
    """

    report: Mapping[str, Any]
    looks: bool
    band: Band
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
    new_warnings: frozenset[str]


def host_view(given: Mapping[str, Any], runs: Sequence[Run], *, looks: bool) -> HostView:
    """Return what the page shows of a report beside its server's earlier runs.

    Args:
        given: the report, as its JSON stands.
        runs: earlier ones, the oldest first.
        looks: it is one that only measures, and no run.
    """
    report = whole(given)
    last = runs[-1] if runs else None
    shown = [*runs] if report["check_mode"] or looks else [*runs, _as_run(report)]
    names = {table["name"] for table in report["tables"]}
    others = {name: n for name, n in report["deleted"].items() if n and name not in names}
    warned = set(report["warnings"]) - set(last.warnings) if last else set()
    return HostView(
        report,
        looks,
        _band(report),
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
        frozenset(warned),
    )


def whole(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with every key that a page reads."""
    found = {**_REPORT, **_said(report)}
    for key, known in (
        ("database", _DATABASE), ("server", _SERVER), ("policy", _POLICY),
        ("forecast", _FORECAST), ("verdict", _VERDICT),
    ):  # fmt: skip
        found[key] = {**known, **_said(found[key])}
    found["tables"] = [{**_TABLE, **_said(table)} for table in found["tables"]]
    return found


def _said(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (values or {}).items() if value is not None}


def _as_run(report: Mapping[str, Any]) -> Run:
    return Run.of(report, str(report["finished"] or report["started"]))


def _band(report: Mapping[str, Any]) -> Band:
    verdict, status, check = report["verdict"], report["status"], report["check_mode"]
    lines = tuple(verdict["lines"]) or _without_verdict(report)
    if status == "failed":
        return Band("bad", "The run failed", lines)
    if status == "partial":
        return Band("bad", "The run failed after it had begun", lines)
    if verdict["working"] is False:
        return Band("bad", "Retention is not working", lines)
    if check:
        return Band("info", "Check only: nothing was changed", lines)
    if verdict["working"] and not verdict["needs"]:
        return Band("ok", "Retention is working", lines)
    if verdict["working"]:
        return Band("warn", "Retention is working, and something needs you", lines)
    overdue = any(table["oldest_due"] for table in report["tables"])
    told = "Rows that should have gone are left" if overdue else "The run succeeded"
    return Band("warn" if overdue else "ok", told, lines)


def _without_verdict(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a report of an earlier version has to say of retention."""
    due = [(t["oldest_due"], t["name"]) for t in report["tables"] if t["oldest_due"]]
    if due:
        oldest, name = min(due)
        return (f"The oldest row that should have gone is of {str(oldest)[:10]}, in {name}.",)
    return ("No row is left that should have gone.",) if report["tables"] else ()


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
        return Card("Disk is full in", f"{days:,.0f} days", settles or f"on {disk['path']}")
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
