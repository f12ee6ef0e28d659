"""Compare a run that finds nothing to do with that of another revision, in turn on one server."""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab import backlog, demo, environments
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

from .compare import checkout, in_turn, show_ratios

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


@dataclass(frozen=True)
class Run:
    """One run of playbooks/maintain.yml: wall seconds, and tasks that ran and were skipped."""

    seconds: float
    ran: int
    skipped: int


def main() -> None:
    """Print each run, then the medians with their spread and the ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", required=True, help="the other revision")
    options.add_argument("--pairs", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = checkout(asked.base, Path(folder), Path())
        _compare({asked.base: base, "this": ROOT}, asked.pairs, Path(folder) / "reports")


def _compare(checkouts: dict[str, Path], pairs: int, reports: Path) -> None:
    environments.prefect()
    with Postgres(durable=True) as cluster:
        url = cluster.create_database("prefect")
        migrate(url)
        with PrefectServer(url) as server:
            server.run(ROOT / "lab" / "flows.py", "2")
            backlog.settle(url)
            for place in checkouts.values():
                _maintained(place, server, reports)

            def idle(name: str) -> float:
                run = _maintained(checkouts[name], server, reports)
                print(f"{name}: {run.seconds:.2f} s, {run.ran} tasks ran, {run.skipped} not")
                return run.seconds

            took = in_turn(checkouts, pairs, idle)
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{name}: median {median:.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    show_ratios(took, f"{pairs} pairs of runs that find nothing to do")


def _maintained(place: Path, server: PrefectServer, reports: Path) -> Run:
    """Maintain the server from a checkout; the interpreter is given, so nothing is set up."""
    began = time.monotonic()
    done = subprocess.run(
        [PLAYBOOK, "playbooks/maintain.yml", "-i", "inventories/demo"],
        cwd=place,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
            **demo.inventory(server, reports),
        },
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    recap = re.search(r"ok=(\d+) .*skipped=(\d+)", done.stdout)
    if recap is None:
        raise SystemExit(f"no recap in:\n{done.stdout}")
    return Run(seconds, int(recap[1]), int(recap[2]))


if __name__ == "__main__":
    main()
