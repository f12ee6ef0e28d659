"""Reports for pages: of this version and the one before, with whatever names are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden import FOLDER
from prefect_maintenance.report.history import Run
from prefect_maintenance.report.page import fleet_page, host_page

from lab.environments import ROOT

TEMPLATES = ROOT / "roles" / "prefect_maintenance" / "templates" / "page"
# Keys that version 0.1 of the report does not have, of the whole and of each table.
ADDED = (
    "finished", "estimate", "measured", "waited", "forecast", "verdict", "remedies", "blockers",
    "indexes", "autovacuum", "rules", "holds", "what_if",
)  # fmt: skip
ADDED_TO_TABLES = (
    "rows_per_day", "bytes_per_day", "growth_method", "settles_rows", "settles_bytes", "estimate",
)  # fmt: skip
# What these say decides how the page looks, or is read as an instant.
MEANT = frozenset((
    "status", "dialect", "started", "finished", "reference_time", "oldest_after", "oldest_due",
    "cutoff", "cutoffs", "reclaim", "steps", "kind",
))  # fmt: skip
_FILLING: dict[str, Any] = {
    "<bytes>": 48 * 2**20, "<seconds>": 2.5, "<ms>": 12, "<dead>": 40, "<percent>": 7.5,
    "<instant>": "2026-06-30T12:00:00Z",
}  # fmt: skip
_COST = {"bytes_back": 30 * 2**20, "seconds": 12.2, "wal_bytes": 7 * 2**20, "lock_ms": 12}


# What VACUUM waits for, and how indexes and autovacuum stand.
STANDING: dict[str, Any] = {
    "blockers": [
        {"kind": "transaction", "what": "psql as app, pid 7", "age_seconds": 1800.0, "bytes": None,
         "keeps_rows": True, "text": "a transaction of psql as app, pid 7 is open",
         "do": "SELECT pg_terminate_backend(7)"},
    ],
    "indexes": [
        {"table": "log", "index": "ix_log", "problem": "bloated", "bytes": 2**30,
         "bytes_back": 2**29, "done": True, "why": "it is too large", "do": ""},
        {"table": "log", "index": "half", "problem": "invalid", "bytes": 8192, "bytes_back": 0,
         "done": False, "why": "it was left half made", "do": "REINDEX INDEX CONCURRENTLY half"},
    ],
    "autovacuum": [
        {"table": "log", "setting": "autovacuum_vacuum_scale_factor", "now": 0.2,
         "suggested": 0.01, "why": "too many rows", "do": "ALTER TABLE log", "set": False},
        {"table": "events", "setting": "autovacuum_analyze_scale_factor", "now": 0.1,
         "suggested": 0.02, "why": "too many rows", "do": "ALTER TABLE events", "set": True},
        {"table": None, "setting": "track_counts", "now": "off", "suggested": "on",
         "why": "no table is vacuumed", "do": "ALTER SYSTEM SET track_counts = on", "set": False},
    ],
}  # fmt: skip


# What rules and holds do, and what would go with them.
RULES: dict[str, Any] = {
    "rules": [
        {"kind": "run", "number": 1, "name": "failures for a quarter", "rows": 1204, "kept": 87,
         "bytes": 12 * 2**20, "oldest": "2025-11-02T00:00:00Z", "newest": "2026-03-31T23:59:59Z"},
        {"kind": "run", "number": 0, "name": "the general policy", "rows": 20_400, "kept": 9,
         "bytes": None, "oldest": "2025-10-01T00:00:00Z", "newest": "2025-10-01T08:00:00Z"},
        {"kind": "log", "number": 1, "name": "rule 1", "rows": 0, "kept": 3, "bytes": 0,
         "oldest": None, "newest": None},
    ],
    "holds": [
        {"tag": "hold:audit", "reason": "audit", "until": None, "runs": 120, "rows": 52_000,
         "oldest": "2025-03-01T12:00:00Z", "bytes": 2**20, "ends_soon": False, "wrong": False},
        {"tag": "keep-until:2026-07-02", "reason": "", "until": "2026-07-02", "runs": 1, "rows": 1,
         "oldest": "2025-03-01T12:00:00Z", "bytes": None, "ends_soon": True, "wrong": False},
        {"tag": "keep-until:soon", "reason": "", "until": None, "runs": 2, "rows": 9,
         "oldest": None, "bytes": 100, "ends_soon": False, "wrong": True},
    ],
    "what_if": [
        {"table": "log", "entity": "logs", "rows": 48_000_000, "bytes": 2**34, "share": 0.94,
         "exact": False},
        {"table": "flow_run", "entity": "flow_runs", "rows": 20_400, "bytes": 2**24,
         "share": 0.0012, "exact": False},
        {"table": "flow_run_state", "entity": "flow_runs", "rows": 61_200, "bytes": 2**25,
         "share": 0.34, "exact": False},
        {"table": "artifact", "entity": "artifacts", "rows": 0, "bytes": 0, "share": 0.0,
         "exact": False},
    ],
}  # fmt: skip


# Who makes the rows, and what the forecast rests on.
GROWTH: list[dict[str, object]] = [
    {"flow": "etl", "deployment": "nightly", "flow_runs": 1_200, "task_runs": 1_204_000,
     "logs": 31_000_000},
    {"flow": "healthcheck", "deployment": None, "flow_runs": 60_000, "task_runs": 0, "logs": 9},
]  # fmt: skip
FORECAST = {
    "days_measured": 14.0,
    "disk": {"path": "/var/lib/postgresql", "free_bytes": 2**30, "total_bytes": 2**35,
             "where": "db1"},
    "makers": {"flows": GROWTH, "event_types": [{"event": "prefect.flow-run.heartbeat",
                                                 "rows": 1_204_511}]},
}  # fmt: skip


def old_report(kind: str = "postgresql/real") -> dict[str, Any]:
    """Return a report as the version before wrote it."""
    found = _filled(json.loads((FOLDER / kind / "report.json").read_text()))
    for key in ADDED:
        found.pop(key, None)
    for table in found["tables"]:
        for key in ADDED_TO_TABLES:
            table.pop(key, None)
    report: dict[str, Any] = found
    return report


def new_report(kind: str = "postgresql/real") -> dict[str, Any]:
    """Return a report of this version, with something to say under every key."""
    report = old_report(kind)
    for number, table in enumerate(report["tables"], 1):
        table |= {
            "bytes_before": 900 * 2**20 // number, "bytes_after": 400 * 2**20 // number,
            "rows_per_day": 12345.6 / number, "bytes_per_day": 20 * 2**20 / number,
            "growth_method": "from the rows' own times", "settles_rows": 9, "settles_bytes": 2**20,
            "estimate": _COST,
        }  # fmt: skip
    report["tables"][1]["oldest_due"] = "2026-06-10T14:00:00Z"
    report["tables"][2]["error"] = "somebody holds a lock on it; try again later"
    report["database"] |= {"bytes_before": 5 * 2**30, "bytes_after": 3 * 2**30}
    maker = {"flow": "etl", "deployment": "nightly", "flow_runs": 12, "task_runs": 34, "logs": 56}
    return {
        **report,
        "finished": "2026-06-30T12:03:12.345678Z",
        "seconds": 192.4,
        "estimate": _COST,
        "measured": {**_COST, "seconds": 13.0},
        "waited": {"lock": 1.2, "single_writer": 130.0},
        "forecast": {
            "days_measured": 14, "rows_per_day": 120_000, "bytes_per_day": 60 * 2**20,
            "settles_at_bytes": 4 * 2**30,
            "disk": {"path": "/var/lib/postgresql", "free_bytes": 12 * 2**30,
                     "total_bytes": 40 * 2**30, "where": "on db1"},
            "days_until_full": 412, "days_until_full_without": 204,
            "suggestion": {"variable": "prefect_maintenance_retention", "value": "{logs: 7}",
                           "settles_at_bytes": 2**31, "text": "Keep logs for 7 days."},
            "makers": {"flows": [maker, {**maker, "flow": "ping", "deployment": None}],
                       "event_types": [{"event": "prefect.flow-run.heartbeat", "rows": 123_456}]},
        },
        "remedies": [{"text": report["warnings"][0], "do": "ask whose they are"}],
        **STANDING,
        **RULES,
    }  # fmt: skip


def runs(number: int = 3) -> list[Run]:
    """Return earlier runs, the oldest first; every seventh failed."""
    return [
        Run(
            f"2026-06-{at + 1:02}T03:00:00.000000Z",
            "failed" if at % 7 == 6 else "ok",
            1_000 * (at + 1),
            20.0 + at,
            6 * 2**30,
            4 * 2**30 + at * 2**26,
            {"log": 300 * 2**20},
            (),
        )
        for at in range(number)
    ]


def page(report: dict[str, Any], earlier: list[Run] | None = None, *, looks: bool = False) -> str:
    """Return the page of a report."""
    return host_page(report, earlier or [], [], "a.json", TEMPLATES, looks=looks)


def page_of_fleet(summary: dict[str, Any], earlier: dict[str, list[Run]]) -> str:
    """Return the page of a rollout; every server has a page of its own."""
    pages = {Path(host["report"]).stem + ".html" for host in summary["hosts"]}
    return fleet_page(summary, earlier, pages, "fleet.json", TEMPLATES)


def texts_changed(value: Any, change: Callable[[str], str], keep: frozenset[str]) -> Any:
    """Return data with other texts, but for those under some keys.

    Args:
        value: plain data; keys that are names in a database are texts too.
        change: gives the other text.
        keep: keys whose texts mean something to the page.
    """
    if isinstance(value, dict):
        return {
            key: one if key in keep else texts_changed(one, change, keep)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [texts_changed(one, change, keep) for one in value]
    return change(value) if isinstance(value, str) else value


def _filled(value: Any) -> Any:
    """Return a golden report with numbers where it has placeholders."""
    if isinstance(value, dict):
        return {key: _filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    return _FILLING.get(value, value) if isinstance(value, str) else value
