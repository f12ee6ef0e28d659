"""The report for people: one screen of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..plan.choices import COPYING
from ..units import count, size
from . import archived, delete_via, estimated, rules, standing, stuck, ways, what_if
from .growth_text import event_lines, growth_lines
from .report import Report
from .tables import PLANNED, TableReport

_RECLAIMED = {
    "plain": "VACUUM",
    "full": "VACUUM FULL",
    "rewrite": "rewritten",
    "repack": "repacked",
    "compact": "compacted",
}


def render(report: Report) -> list[str]:
    """Return the lines of the report, none of them wider than a terminal."""
    told = report.as_json()
    lines = [_title(report), *_first(told), ""]
    lines += [f"  {label:<9} {text}" for label, text in _facts(report) if text]
    if report.tables:
        lines += ["", *_table(report)]
    if others := _others(report):
        lines += ["", f"  also {_would(report)}: {others}"]
    if report.kept:
        lines += ["", "  kept although older than the cutoff:"]
        lines += [f"    {count(k.rows):>12} {k.what}: {k.why}" for k in report.kept]
    if reasons := estimated.why_rows_go(told):
        lines += ["", "  why rows go:" if report.check_mode else "  why rows went:"]
        lines += [f"    {reason}" for reason in reasons]
    lines += rules.lines(told)
    lines += stuck.lines(told)
    if how_rows := [line for table in report.tables for line in _way(table, report)]:
        title = "  how the rows go:" if report.check_mode else "  how the rows went:"
        lines += ["", title, *how_rows]
    lines += delete_via.lines(told)
    lines += estimated.lines(told)
    lines += _made_smaller(report, "rewritten", COPYING)
    lines += _made_smaller(report, "compacted", ("compact",))
    lines += ways.lines(told)
    lines += archived.lines(told)
    lines += standing.lines(told)
    for label, texts in (("warning", report.warnings), ("FAILED", report.errors)):
        lines += ["", *(f"  {label}: {text}" for text in texts)] if texts else []
    return _printable([*lines, "", f"  {_verdict(report, told)}"])


def _made_smaller(report: Report, how: str, actions: Sequence[str]) -> list[str]:
    """Return a heading and a line for each table, or the file, whose space came back in a way."""
    lines = [
        f"    {t.name}: {t.reclaim_why}{_locked(t.lock_ms_max)}"
        for t in report.tables
        if t.reclaim in actions
    ]
    if report.database.get("reclaim") in actions:
        why, locked = report.database["reclaim_why"], report.database.get("lock_ms_max") or 0
        lines.append(f"    the whole file: {why}{_locked(locked)}")
    return ["", f"  {'would be ' if report.check_mode else ''}{how}:", *lines] if lines else []


def _title(report: Report) -> str:
    of = f" of {report.host}" if report.host else ""
    if report.check_mode:
        return f"Prefect maintenance{of}: check only, nothing was changed"
    return f"Prefect maintenance{of}"


def _first(told: Mapping[str, Any]) -> list[str]:
    """Return the verdict of a report, as its JSON stands."""
    return [f"  {line}" for line in told["verdict"]["lines"]]


def _facts(report: Report) -> list[tuple[str, str]]:
    server, database = report.server, report.database
    days = report.policy["retention_days"]
    kept = ", ".join(f"{entity} {n} d" for entity, n in days.items())
    if len(set(days.values())) == 1:
        kept = f"{next(iter(days.values()))} days"
    facts = [
        ("server", f"Prefect {server['version']} at {server['api_url']}" if server else ""),
        ("database", _product(database) if database else ""),
        ("policy", f"keep {kept}; states {', '.join(report.policy['states'])}"),
        ("plan", _saved(report.saved_plan)),
    ]
    service = server.get("db_vacuum")
    if service:
        enabled = service.get("enabled")
        shown = ", ".join(map(str, enabled)) if isinstance(enabled, list) else enabled
        facts.append(("Prefect's", f"own vacuum service is set to: {shown}"))
    return facts


def _saved(plan: Mapping[str, Any]) -> str:
    if not plan:
        return ""
    made = plan["made"][:16].replace("T", " ")
    rows = f"{count(plan['planned'])} rows then, {count(plan['found'])} now"
    return f"{plan['fingerprint']}, saved on {made} UTC: {rows}"


def _product(database: Mapping[str, Any]) -> str:
    name = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[database["dialect"]]
    return f"{name} {database['version']}"


def _table(report: Report) -> list[str]:
    gone = "would go" if report.check_mode else "deleted"
    lines = [
        f"  {'table':<20}{'rows before':>13}{gone:>13}{'size before':>13}"
        f"{'now' if report.check_mode else 'after':>11}{'dead':>13}  how"
    ]
    for table in report.tables:
        deleted = report.deleted.get(table.name, 0)
        lines.append(
            f"  {table.name:<20}{count(table.rows_before):>13}{count(deleted):>13}"
            f"{size(table.bytes_before):>13}{size(table.bytes_after):>11}"
            f"{count(table.dead_after):>13}  {how(asdict(table), check=report.check_mode)}"
        )
    before, after = report.database.get("bytes_before"), report.database.get("bytes_after")
    if before is not None and after is not None:
        lines.append(f"  {'whole database':<46}{size(before):>13}{size(after):>11}")
    return lines


def how(table: Mapping[str, Any], *, check: bool) -> str:
    """Say how rows left a table, in more ways than one with the rows of each, and what failed.

    Args:
        table: one of the report's, as its JSON stands.
        check: nothing of it is done yet.
    """
    strategy = table["strategy"].removesuffix(PLANNED)
    done = [_ways(strategy, table.get("ways", {}))] if strategy != "none" else []
    done += [_RECLAIMED[table["reclaim"]]] if table["reclaim"] in _RECLAIMED else []
    if check and done:
        done[-1] += PLANNED
    done += ["FAILED"] if table.get("error") else []
    return ", ".join(done)


def _ways(strategy: str, taken: Mapping[str, int]) -> str:
    if len(taken) < 2:
        return strategy
    return ", ".join(f"{way} {count(rows)}" for way, rows in taken.items())


def _way(table: TableReport, report: Report) -> list[str]:
    """Say why the rows of a table go the way they go, and what it takes."""
    if not table.estimates:
        return []
    chosen = "rewrite" if "rewrite" in table.ways else "delete"
    told = "nothing went" if table.strategy == "none" else chosen
    if len(table.ways) > 1:
        told = _ways("", table.ways)
    disk = _extra_disk(table, table.estimates.get(chosen, {}), check=report.check_mode)
    lines = [f"    {table.name}: {told}; {table.strategy_why}{disk}"]
    lines += [
        f"      otherwise, {way}: about {_cost(**cost)}"
        for way, cost in table.estimates.items()
        if way != chosen
    ]
    return lines


def _extra_disk(table: TableReport, estimate: Mapping[str, Any], *, check: bool) -> str:
    needed = estimate.get("extra_bytes", 0)
    if check:
        return f"; extra disk about {size(needed)}" if needed else ""
    if not needed and not table.extra_bytes:
        return ""
    return f"; extra disk {size(table.extra_bytes)} ({size(needed)})"


def _cost(seconds: float, wal_bytes: int, extra_bytes: int, lock_ms: int) -> str:
    return (
        f"{seconds:,.1f} s, WAL {size(wal_bytes)}, extra disk {size(extra_bytes)}, "
        f"lock {lock_ms:,} ms"
    )


def _others(report: Report) -> str:
    shown = {table.name for table in report.tables}
    return ", ".join(
        f"{count(rows)} {table}"
        for table, rows in report.deleted.items()
        if rows and table not in shown
    )


def _would(report: Report) -> str:
    return "would go" if report.check_mode else "deleted"


def _locked(milliseconds: int) -> str:
    return f"; locked for {milliseconds:,} ms" if milliseconds else ""


def _verdict(report: Report, told: Mapping[str, Any]) -> str:
    total = sum(report.deleted.values())
    shown = count(total)
    if report.check_mode:
        given = estimated.would_take(told) if "vacuum" in report.steps else ""
        return f"check: {shown} rows would go{given}; status {report.status}"
    freed = (report.database.get("bytes_before") or 0) - (report.database.get("bytes_after") or 0)
    disk = f"{size(max(0, freed))} given back to the operating system"
    if total and report.plan.estimates and "vacuum" in report.steps:
        disk += f" ({size(report.plan.estimate.bytes_back)} estimated)"
    return f"{shown} rows deleted, {disk}, {report.seconds:,.1f} s; status {report.status}"


def render_sizes(report: Report, growth: Sequence[dict[str, object]]) -> list[str]:
    """Return the lines of the read-only report: sizes, bloat and its method, age, growth."""
    told = report.as_json()
    lines = [
        _title(report).replace("maintenance", "database"),
        *_first(told),
        "",
        *(f"  {label:<9} {text}" for label, text in _facts(report) if text),
    ]
    lines += [
        "",
        f"  {'table':<20}{'rows':>13}{'heap':>11}{'toast':>11}{'indexes':>11}{'dead':>13}"
        f"{'bloat':>11}{'%':>6}  oldest row",
    ]
    for t in report.tables:
        lines.append(
            f"  {t.name:<20}{count(t.rows_before):>13}{size(t.heap_bytes):>11}"
            f"{size(t.toast_bytes):>11}{size(t.index_bytes):>11}{count(t.dead_before):>13}"
            f"{size(t.bloat_bytes):>11}{t.bloat_percent or 0:>6.0f}  {_age(t)}"
        )
    lines.append(f"  whole database: {size(report.database.get('bytes_before'))}")
    lines += _bloat_notes(report)
    if any(t.rows_method == "estimate" for t in report.tables):
        lines.append("  rows of tables above 2 GiB are the planner's estimate")
    lines += what_if.lines(told)
    lines += rules.lines(told)
    lines += growth_lines(told)
    if growth:
        lines += ["", "  what makes the rows (since the flow runs' cutoff):"]
        lines += [
            f"    {g['flow']!s:<28}{g['deployment'] or 'no deployment'!s:<24}"
            f"{count(int(str(g['flow_runs']))):>9} runs {count(int(str(g['task_runs']))):>11} "
            f"task runs {count(int(str(g['logs']))):>11} logs"
            for g in growth
        ]
        lines += event_lines(told)
    lines += standing.lines(told)
    lines += ["", *(f"  warning: {text}" for text in report.warnings)] if report.warnings else []
    return _printable(lines)


def _printable(lines: Sequence[str]) -> list[str]:
    """Keep a name from breaking its line or from speaking to the terminal; nothing ends blank."""
    clean = ("".join(sign if sign.isprintable() else "?" for sign in line) for line in lines)
    return [line.rstrip() for line in clean]


def _bloat_notes(report: Report) -> list[str]:
    """Say of each method by which bloat was found for which tables it speaks."""
    tables: dict[str, list[str]] = {}
    for t in report.tables:
        if t.bloat_method:
            tables.setdefault(t.bloat_method, []).append(t.name)
    if len(tables) == 1:
        return [f"  bloat: {method}" for method in tables]
    return [f"  bloat of {', '.join(names)}: {method}" for method, names in sorted(tables.items())]


def _age(table: TableReport) -> str:
    if not table.oldest_after:
        return "-"
    shown = table.oldest_after[:10]
    if table.oldest_due == table.oldest_after:
        return f"{shown} (older than the policy)"
    if table.oldest_due:
        return f"{shown} (kept; others since {table.oldest_due[:10]} are due)"
    late = table.cutoff is not None and table.oldest_after < table.cutoff
    return f"{shown}{' (kept on purpose)' if late else ''}"
