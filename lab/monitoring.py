"""Draw docs/monitoring.svg: what a Prometheus answers to the dashboard's queries.

Its history is made up: for three weeks every run fails; then retention works.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
from prefect_maintenance.report.prometheus import exposition

from .environments import ROOT
from .prometheus import prometheus

mpl.use("svg")
from matplotlib import pyplot as plt

PICTURE = ROOT / "docs" / "monitoring.svg"
DASHBOARD = ROOT / "monitoring" / "dashboard.json"
# The panels that are drawn, and what their units are divided by.
PANELS = (
    "Database",
    "Tables",
    "Overdue",
    "Rows deleted",
    "Time until the disk is full",
    "Duration",
)
_UNITS = {"bytes": (2**30, "GiB"), "s": (86400, "days"), "short": (1e6, "millions")}
_CHOSEN = {"$job": ".+", "$instance": ".+", "$host": ".+"}

_DAYS, _FAILED, _KEPT = 60, 21, 15
_BEGAN = datetime(2026, 9, 1, 2, 0, tzinfo=UTC)
# Bytes and rows of a day.
_GROWTH = {
    "log": (420 * 2**20, 1_300_000),
    "event_resources": (230 * 2**20, 540_000),
    "events": (160 * 2**20, 180_000),
}
_DISK = 40 * 2**30
_TARGET = '{job="node",instance="db-1:9100",'


def history() -> Iterator[tuple[float, str]]:
    """Yield for each day the instant and what the file says after its run."""
    so_far = ""
    for day in range(_DAYS):
        now = _BEGAN + timedelta(days=day)
        so_far = exposition(_report(day, now), "ended", so_far=so_far, now=now.timestamp())
        yield now.timestamp(), so_far


def _report(day: int, now: datetime) -> dict[str, Any]:
    works = day >= _FAILED
    before = _KEPT + (1 if day > _FAILED else day)
    after = _KEPT if works else before
    cutoff = now - timedelta(days=_KEPT)
    tables = [
        {
            "name": name,
            "bytes_before": size * before,
            "bytes_after": size * after,
            "rows_after": rows * after,
            "bloat_bytes": size // 9,
            "rows_per_day": rows,
            "bytes_per_day": size,
            "oldest_due": None if works else (now - timedelta(days=before)).isoformat(),
            "error": None,
            "lock_ms_max": 40 if works else 0,
        }
        for name, (size, rows) in _GROWTH.items()
    ]
    daily = sum(size for size, _ in _GROWTH.values())
    full = (_DISK - daily * after) / daily
    return {
        "host": "prefect-1",
        "status": "ok" if works else "failed",
        "started": now.isoformat(),
        "finished": (now + timedelta(minutes=9)).isoformat(),
        "seconds": 190.0 + 14 * (before - after) if works else 20.0,
        "database": {"bytes_before": daily * before, "bytes_after": daily * after},
        "cutoffs": dict.fromkeys(("logs", "events"), cutoff.isoformat()),
        "deleted": {name: rows * (before - after) for name, (_, rows) in _GROWTH.items()},
        "tables": tables,
        "forecast": {
            "settles_at_bytes": daily * _KEPT,
            "days_until_full": None if works else full,
            "days_until_full_without": full,
        },
        "verdict": {"working": works},
    }


def openmetrics() -> str:
    """Return the history as Prometheus takes it in, every series of it scraped from one target."""
    lines = [
        f"{series.replace('{', _TARGET, 1)} {value} {at}"
        for at, text in history()
        for line in text.splitlines()
        if not line.startswith("#")
        for series, _, value in [line.rpartition(" ")]
    ]
    return "\n".join([*lines, "# EOF", ""])


def draw(path: Path) -> None:
    """Draw the panels into a file."""
    found = {panel["title"]: panel for panel in json.loads(DASHBOARD.read_text())["panels"]}
    mpl.rcParams.update({"svg.hashsalt": "monitoring", "svg.fonttype": "none", "font.size": 8})
    figure, axes = plt.subplots(3, 2, figsize=(8.5, 7), layout="constrained", sharex=True)
    end = _BEGAN + timedelta(days=_DAYS - 1)
    with prometheus(openmetrics=openmetrics()) as server:
        for axis, title in zip(axes.flat, PANELS, strict=True):
            (target,) = found[title]["targets"]
            query = target["expr"]
            for name, value in _CHOSEN.items():
                query = query.replace(name, value)
            answer = server.query_range(query, _BEGAN.timestamp(), end.timestamp(), 86400)
            if not answer:
                raise RuntimeError(f"{title}: no series answers {query}")
            _plot(axis, found[title], answer)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _plot(axis: Any, panel: dict[str, Any], answer: list[dict[str, Any]]) -> None:
    unit = "short" if panel["title"] == "Rows deleted" else panel["fieldConfig"]["defaults"]["unit"]
    divisor, name = _UNITS[unit] if panel["title"] != "Duration" else (60, "minutes")
    for series in answer:
        legend = panel["targets"][0]["legendFormat"].replace("{{host}}", "").strip(" :")
        for label, value in series["metric"].items():
            legend = legend.replace(f"{{{{{label}}}}}", value)
        at = [datetime.fromtimestamp(instant, UTC) for instant, _ in series["values"]]
        values = [float(value) / divisor for _, value in series["values"]]
        axis.step(at, values, where="post", label=legend, linewidth=1.4)
    axis.set_title(f"{panel['title']} ({name})", loc="left")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    days = [_BEGAN + timedelta(days=day) for day in range(0, _DAYS, 14)]
    axis.set_xticks(days, [f"{day:%d %b}" for day in days])
    if len(answer) > 1:
        axis.legend(frameon=False)


def main() -> int:
    """Draw it, and say where it is."""
    draw(PICTURE)
    print(PICTURE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
