"""The whole job on a real server: check, carry out, and show that a second run is idle."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import backlog, end_orderly, environments
from .postgres import Postgres
from .server import PrefectServer, migrate

ROOT = environments.ROOT
REPORTS = ROOT / "reports"


def main() -> int:
    """Run the demo; returns 1 when the third run was not idle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--rows", type=int, default=300_000)
    asked = parser.parse_args()
    end_orderly()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"\n== {time.monotonic() - started:5.0f} s  {text}", flush=True)

    say("setting up Prefect and its database in .cache (only the first time takes long)")
    environments.prefect()
    with _database(asked.db) as url:
        migrate(url)
        say(f"a real Prefect {environments.NEWEST} server on {asked.db}")
        with PrefectServer(url) as server:
            say(f"running real flows against {server.api_url}")
            server.run(ROOT / "lab" / "flows.py", "2")
            backlog.settle(url)
            say(f"ageing and multiplying them into about {asked.rows:,} rows over 180 days")
            made = backlog.age_and_multiply(url, asked.rows)
            print("   ", ", ".join(f"{n:,} {table}" for table, n in made.rows.items()))

            say("first run: --check says what would go, and changes nothing")
            _maintain(server, "--check")
            say("second run: for real")
            _maintain(server)
            say("third run: there is nothing left to do")
            recap = _maintain(server)
    idle = re.search(r"changed=0\s.*failed=0", recap) is not None
    say("the third run changed nothing" if idle else "FAILED: the third run changed something")
    print(f"The report for machines: {REPORTS / 'demo.json'}")
    print(f"The report for people, to be opened in a browser: {REPORTS / 'demo.html'}")
    return 0 if idle else 1


@contextmanager
def _database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="prefect-lab-sqlite-") as folder:
            yield f"sqlite:///{Path(folder) / 'prefect.db'}"
    else:
        with Postgres(durable=True) as cluster:
            yield cluster.create_database("prefect")


def inventory(server: PrefectServer, reports: Path) -> dict[str, str]:
    """Return what the demo's inventory reads from the environment."""
    return {
        "DEMO_API_URL": server.api_url,
        "DEMO_DB_URL": server.db_url,
        "DEMO_PYTHON": str(server.python),
        "DEMO_REPORT_DIR": str(reports),
    }


def _maintain(server: PrefectServer, *options: str) -> str:
    """Run the playbook as a user would; returns what it printed."""
    process = subprocess.Popen(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "playbooks/maintain.yml",
            "-i",
            "inventories/demo",
            *options,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
            **inventory(server, REPORTS),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    printed = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            printed.append(line)
            print(line, end="", flush=True)
        process.wait()
    except BaseException:
        # It ends its workers itself, and they the modules, while there still is a database.
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        raise SystemExit(f"the playbook failed with exit code {process.returncode}")
    return "".join(printed)


if __name__ == "__main__":
    sys.exit(main())
