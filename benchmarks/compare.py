"""Compare the purge by rewrite with that of another revision, in turn on copies of one database."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

ENGINE = Path("roles/prefect_maintenance/module_utils")
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
# The policy keeps so many days of those that are there.
_KEPT = 15.0
FILL = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 120),
       now() - ({days} * n / {rows}) * interval '1 day'
FROM generate_series(1, {rows}) n ORDER BY n DESC
"""
PURGE = """
import os, time
try:
    from prefect_maintenance.pace.pace import Pace
    from prefect_maintenance.request.settings import Settings
    from prefect_maintenance.run.line import STEPS
except ImportError:  # a revision whose engine has no rooms
    from prefect_maintenance.pace import Pace
    from prefect_maintenance.settings import Settings
    from prefect_maintenance.steps import STEPS
began = time.monotonic()
asked = {'db_url': os.environ['URL'], 'purge_strategy': 'rewrite'}
outcome = STEPS['purge'](Settings.parse(asked, check=False), Pace())
log = next(t for t in outcome.report.tables if t.name == 'log')
assert log.strategy == 'rewrite', (outcome.error, outcome.report.warnings)
print(time.monotonic() - began, log.lock_ms_max, outcome.report.deleted['log'])
"""


def main() -> None:
    """Print each purge, then the ratio of this revision to the other with its spread."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", required=True, help="the other revision")
    options.add_argument("--logs", type=int, default=2_000_000)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--gone", type=float, default=5 / 6, help="share of the logs that goes")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = checkout(asked.base, Path(folder))
        days = _KEPT / (1 - asked.gone)
        _compare({asked.base: base, "this": ROOT}, asked.logs, days, asked.pairs)


def checkout(revision: str, folder: Path, part: Path = ENGINE) -> Path:
    """Lay another revision's engine, or more of it, down in a folder, and return the folder."""
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", revision, str(part)], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def _compare(checkouts: dict[str, Path], logs: int, days: float, pairs: int) -> None:
    with Postgres(options=SETTINGS, durable=True) as cluster:
        migrate(cluster.create_database("filled"))
        cluster.execute(FILL.format(rows=logs, days=days), "filled")
        cluster.execute("VACUUM (ANALYZE) log", "filled")
        took = in_turn(checkouts, pairs, lambda name: _purged(cluster, name, checkouts[name]))
        show_ratios(took, f"{pairs} pairs of {logs:,} logs")


def in_turn(
    checkouts: Mapping[str, Path], pairs: int, measured: Callable[[str], float]
) -> dict[str, list[float]]:
    """Measure each checkout so many times, the one or the other first; returns their seconds."""
    took: dict[str, list[float]] = {name: [] for name in checkouts}
    for number in range(pairs):
        for name in list(checkouts)[:: 1 if number % 2 else -1]:
            took[name].append(measured(name))
    return took


def show_ratios(took: Mapping[str, list[float]], what: str) -> None:
    """Print the ratio of this revision to the other, of what was measured, with its spread."""
    base, this = took.values()
    ratios = [new / old for old, new in zip(base, this, strict=True)]
    print(
        f"this / base, {what}: median {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f})"
    )


def _purged(cluster: Postgres, name: str, checkout: Path) -> float:
    cluster.drop_database("purged")
    url = cluster.create_database("purged", "filled")
    cluster.execute("CHECKPOINT")
    done = subprocess.run(
        [sys.executable, "-c", PURGE],
        env={**os.environ, "PYTHONPATH": str(checkout / ENGINE), "URL": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, lock, gone = done.stdout.split()
    print(f"{name}: {float(seconds):.2f} s, lock {lock} ms, {int(gone):,} logs gone", flush=True)
    return float(seconds)


if __name__ == "__main__":
    main()
