"""What a rollout costs the controller: time and memory for each server, with many of them.

    python -m benchmarks.fleet [--hosts 50 100 200] [--forks 20]

The inventory's hosts are simulated: everything that runs on a target is a shell script that
answers at once with the report of a real run made before. So the figures are Ansible's own work,
the reports written on the controller included; what the targets and SSH take comes on top.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import environments
from lab.fleet import Fleet
from lab.postgres import Postgres
from lab.server import migrate

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """One rollout: wall and CPU seconds, and the most memory in MiB, shared pages counted once."""

    hosts: int
    forks: int
    seconds: float
    cpu: float
    controller_mib: float
    workers_mib: float


def roll_out(folder: Path, hosts: dict[str, dict[str, Any]], forks: int) -> Cost:
    """Run playbooks/maintain.yml on the hosts and measure it."""
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with (folder / "output").open("w") as output:
        running = subprocess.Popen(
            [
                Path(sys.executable).parent / "ansible-playbook",
                ROOT / "playbooks" / "maintain.yml", "-i", inventory, "--forks", str(forks),
            ],
            env=clean,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        controller, workers = 0.0, 0.0
        while running.poll() is None:
            controller = max(controller, _mib(running.pid))
            workers = max(workers, sum(_mib(child) for child in _children(running.pid)))
            time.sleep(0.2)
    if running.returncode:
        raise RuntimeError((folder / "output").read_text()[-3000:])
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return Cost(len(hosts), forks, time.monotonic() - started, cpu, controller, workers)


def simulated(folder: Path) -> dict[str, Any]:
    """Return the variables of a host whose every answer is the report of one real run."""
    with Postgres() as cluster:
        migrate(cluster.create_database("migrated"))
        with Fleet(cluster, "migrated") as fleet:
            real = {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "prefect_maintenance_python": str(environments.prefect()),
                "prefect_maintenance_report_dir": str(folder / "reports"),
                **fleet.add("real", 20),
            }
            roll_out(folder, {"real": real}, 5)
    report = json.loads((folder / "reports" / "real.json").read_text())
    answer = folder / "answer.json"
    answer.write_text(json.dumps({"changed": False, "rc": 0, "report": report, "summary": []}))
    stub = folder / "target"
    stub.write_text(f"#!/bin/sh\ncat {answer}\n")
    stub.chmod(0o755)
    return {
        **real,
        "ansible_python_interpreter": str(stub),
        "prefect_maintenance_python": str(stub),
    }


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _mib(pid: int) -> float:
    """Return the memory of a process; what it shares with others counts in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--forks", type=int, nargs="+", default=[20])
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prefect-fleet-"))
    try:
        one = simulated(folder)
        print("| servers | forks | seconds | CPU seconds a server | controller MiB | workers MiB |")
        print("|---|---|---|---|---|---|", flush=True)
        for forks in asked.forks:
            for number in asked.hosts:
                hosts = {f"server-{n:04}": one for n in range(number)}
                cost = roll_out(folder, hosts, forks)
                print(
                    f"| {cost.hosts} | {cost.forks} | {cost.seconds:.0f} "
                    f"| {cost.cpu / cost.hosts:.2f} | {cost.controller_mib:.0f} "
                    f"| {cost.workers_mib:.0f} |",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
