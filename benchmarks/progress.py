"""Compare a purge that says how far it is with one that nobody listens to, in turn."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

from .compare import ENGINE, FILL, in_turn, show_ratios

PURGE = """
import os, time
from contextlib import nullcontext
from pathlib import Path
from prefect_maintenance.pace.heartbeat import Heartbeat
from prefect_maintenance.report.live import Live
from prefect_maintenance.run.line import carry_out
from prefect_maintenance_background import ALIVE, told
folder, listens = Path(os.environ['FOLDER']), os.environ['LISTENS'] == 'yes'
(folder / ALIVE).touch()
asked = {'db_url': os.environ['URL'], 'purge_strategy': 'delete'}
live, heartbeat = Live({'log': 200.0}), Heartbeat(folder / ALIVE, 3600)
began, worked = time.monotonic(), time.process_time()
with told(folder, heartbeat, live.line) if listens else nullcontext():
    done = carry_out('purge', asked, check=False, listener=live if listens else None,
                     governors=[heartbeat] if listens else [])
assert done.failure is None, done.failure
print(time.monotonic() - began, time.process_time() - worked, done.report['deleted']['log'])
"""


def main() -> None:
    """Print each purge, then the ratio of one with progress to one without, with its spread."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--logs", type=int, default=2_000_000)
    options.add_argument("--pairs", type=int, default=5)
    asked = options.parse_args()
    worked: dict[str, list[float]] = {"silent": [], "this": []}
    with Postgres(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        migrate(cluster.create_database("template"))
        cluster.execute(FILL.format(days=90.0, rows=asked.logs), "template")
        cluster.execute("VACUUM ANALYZE log", "template")

        def purge(name: str) -> float:
            url = cluster.create_database("copy", "template")
            done = subprocess.run(
                [sys.executable, "-c", PURGE], capture_output=True, text=True, check=True,
                env={**os.environ, "URL": url, "FOLDER": folder, "PYTHONPATH": str(ROOT / ENGINE),
                     "LISTENS": "yes" if name == "this" else "no"},
            ).stdout.split()  # fmt: skip
            cluster.drop_database("copy")
            print(
                f"{name}: {float(done[0]):.2f} s, of these {float(done[1]):.2f} s of its own work"
            )
            worked[name].append(float(done[1]))
            return float(done[0])

        took = in_turn({name: Path() for name in worked}, asked.pairs, purge)
    show_ratios(took, f"{asked.pairs} pairs of purges of {asked.logs:,} logs")
    more = statistics.median(worked["this"]) - statistics.median(worked["silent"])
    print(f"work for the progress: {more:.3f} s of {statistics.median(took['silent']):.2f} s")


if __name__ == "__main__":
    main()
