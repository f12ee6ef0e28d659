"""How much memory a step takes, as a process of its own on a small and on a large table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.environments import ROOT

from .compare import ENGINE
from .measure import Trial
from .purge import Backlog, asked_of

# Each step in the ways in which it works.
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "measure": ("bloat_info", {}),
    "purge by deletes": ("purge", {"purge_strategy": "delete"}),
    "purge by a rewrite": ("purge", {"purge_strategy": "rewrite"}),
    "delete by SQL": ("delete", {"run_delete_via": "sql"}),
    "vacuum": ("vacuum", {"vacuum_min_bytes": 0}),
}


def trials(backlog: Backlog, name: str, cutoff: datetime) -> list[Trial]:
    """Let each step work on a copy in a process of its own; tells its largest memory in MiB."""
    found = []
    for step, (run, options) in STEPS.items():
        with backlog.copy() as database:
            asked = asked_of(backlog.cluster, database, cutoff, ("flow_runs", "logs", "events"))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", run, json.dumps({**asked, **options})],
                cwd=ROOT, capture_output=True, text=True, check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / ENGINE)},
            )  # fmt: skip
        found.append(Trial(f"{step}, {name}", {"memory MiB": float(done.stdout) / 1024}))
    return found


def _main() -> None:
    # The engine is imported here, so that the process has no more in it than a step has.
    from prefect_maintenance.run.line import carry_out

    done = carry_out(sys.argv[1], json.loads(sys.argv[2]), check=False)
    if done.failure:
        raise SystemExit(done.failure)
    # The kernel's other figure, ru_maxrss, begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    _main()
