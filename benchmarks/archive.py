"""Archive rows beside COPY TO STDOUT of the same rows, and measure the memory of a purge with it.

Interleaved, one after the other: what matters is the ratio, which a busy machine spares.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.database.table_guard import driver_of
from prefect_maintenance.execute import archive
from prefect_maintenance.execute.archive_file import ArchiveFile
from prefect_maintenance.execute.archive_stream import stream

from lab import end_orderly
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

from .backlog import Size, fill
from .compare import ENGINE
from .measure import Trial, machine, ratio, table

COPY, ARCHIVE = "COPY to nothing", "archive"
SECONDS = "seconds"
_TABLES = ("log", "events", "event_resources")


class _Nothing:
    def write(self, _row: bytes) -> None:
        """Throw a row away."""


def speed(database: Database, name: str, folder: Path, times: int) -> list[Trial]:
    """Copy and archive all rows of a table in turn; the archive is synced and read back."""
    columns = archive.columns_of(database, name)
    found = []
    for number in range(times):
        began = time.monotonic()
        with driver_of(database).cursor() as cursor:
            cursor.copy_expert(f"COPY {name} TO STDOUT", _Nothing())
        found.append(Trial(COPY, {SECONDS: time.monotonic() - began}))
        with ThreadPoolExecutor(archive._THREADS) as workers:
            began = time.monotonic()
            file = ArchiveFile(folder / f"{name}.{number}.gz", name, columns, workers)
            listed = ", ".join(f'x."{column}"' for column in columns)
            rows = stream(database, f"SELECT {listed} FROM {name} x", {}, file.write)
            file.keep(rows)
            found.append(Trial(ARCHIVE, {SECONDS: time.monotonic() - began}))
            file.close()
    return found


def memory(url: str, folder: Path, strategy: str) -> float:
    """Return the largest memory of a purge with an archive, in MiB."""
    asked = {
        "db_url": url,
        "archive_dir": str(folder),
        "purge_strategy": strategy,
        "retention_days": 1,
        "reference_time": datetime.now(UTC).isoformat(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "purge", json.dumps(asked)],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ENGINE)},
    )  # fmt: skip
    return float(done.stdout) / 1024


@contextmanager
def filled(cluster: Postgres, logs: int) -> Iterator[str]:
    """Lend a database with so many logs, and what comes with them."""
    url = cluster.create_database(f"b{logs}")
    migrate(url)
    fill(cluster, f"b{logs}", Size.of(logs), tasks=False)
    yield url
    cluster.drop_database(f"b{logs}")


def main() -> None:
    """Print what was measured."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--logs", type=int, default=400_000)
    asked.add_argument("--times", type=int, default=7)
    options = asked.parse_args()
    end_orderly()
    print(machine())
    with Postgres(durable=True) as cluster, tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        with filled(cluster, options.logs) as url, connect(url, 5.0) as database:
            for name in _TABLES:
                trials = speed(database, name, folder, options.times)
                share = ratio(trials, COPY, ARCHIVE, SECONDS)
                print(f"\n{name}: the archive has {share:.0%} of the speed of COPY\n")
                print("\n".join(table(trials, COPY)))
        print("\n| purge with an archive | logs | memory MiB |\n|---|---|---|")
        for strategy in ("delete", "rewrite"):
            for logs in (options.logs // 4, options.logs):
                with filled(cluster, logs) as url:
                    print(f"| {strategy} | {logs} | {memory(url, folder, strategy):.0f} |")


if __name__ == "__main__":
    main()
