"""A report with every key that a page reads, whichever version wrote it and however it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .forecast import forecast

# What a report of an earlier version or a failed run does not say.
_REPORT: dict[str, Any] = {
    "host": "", "check_mode": False, "status": "ok", "started": "", "finished": "", "seconds": 0.0,
    "reference_time": "", "server": {}, "database": {}, "policy": {}, "cutoffs": {}, "deleted": {},
    "kept": (), "tables": (), "steps": (), "warnings": (), "errors": (), "growth": (), "plan": {},
    "estimate": {}, "measured": {}, "waited": {}, "goes_on": "", "rules": (), "holds": (),
    "what_if": (),
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


def whole(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with every key that a page reads."""
    found = {**_REPORT, **_said(report)}
    for key, known in (
        ("database", _DATABASE), ("server", _SERVER), ("policy", _POLICY),
    ):  # fmt: skip
        found[key] = {**known, **_said(found[key])}
    found["forecast"] = report.get("forecast") or forecast(report)
    found["tables"] = [{**_TABLE, **_said(table)} for table in found["tables"]]
    return found


def _said(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (values or {}).items() if value is not None}
