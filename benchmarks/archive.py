"""Archive rows beside COPY TO STDOUT of the same rows, and measure the memory of a purge with it.

Interleaved, one after the other. On a busy machine look at what each end computes: two cores can do
both at a time, so the larger of the two bounds the speed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.execute import archive, archive_gzip
from prefect_maintenance.execute.archive_file import ArchiveFile
from prefect_maintenance.execute.archive_gzip import LIBRARY
from prefect_maintenance.execute.archive_stream import stream

from lab import end_orderly
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

from .backlog import Size, fill
from .compare import ENGINE
from .measure import Trial, machine, ratio, table

COPY = "COPY to nothing"
SECONDS, CLIENT, SERVER = "seconds", "processor here", "processor of the server"
# What compresses, by the names of its contenders.
LIBRARIES = {f"archive by {library.__name__}": library for library in (LIBRARY, zlib)}
_TABLES = ("log", "events", "event_resources")


class _Nothing:
    def write(self, _row: bytes) -> None:
        """Throw a row away."""


def speed(database: Database, name: str, folder: Path, times: int) -> list[Trial]:
    """Copy and archive all rows of a table in turn; the archive is synced and read back."""
    columns = archive.columns_of(database, name)
    listed = ", ".join(f'x."{column}"' for column in columns)
    found: list[Trial] = []
    for number in range(times):
        with measured(database, COPY, found), database.driver.cursor() as cursor:
            cursor.copy_expert(f"COPY {name} TO STDOUT", _Nothing())
        for contender, library in LIBRARIES.items():
            archive_gzip.LIBRARY = library
            path = folder / f"{name}.{library.__name__}.{number}.gz"
            with ThreadPoolExecutor(archive._THREADS) as workers:
                with measured(database, contender, found):
                    file = ArchiveFile(path, name, columns, workers)
                    rows = stream(database, f"SELECT {listed} FROM {name} x", {}, file.write)
                    file.keep(rows)
                file.close()
            path.unlink()
    return found


@contextmanager
def measured(database: Database, contender: str, found: list[Trial]) -> Iterator[None]:
    """Note the time of a block, and what both ends computed meanwhile."""
    began = (time.monotonic(), time.process_time(), _server_seconds(database))
    yield
    ended = (time.monotonic(), time.process_time(), _server_seconds(database))
    spent = (after - before for before, after in zip(began, ended, strict=True))
    found.append(Trial(contender, dict(zip((SECONDS, CLIENT, SERVER), spent, strict=True))))


def _server_seconds(database: Database) -> float:
    """Return how long the server's process of this session has computed."""
    pid = database.driver.get_backend_pid()
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


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
                print(f"\n{name}, of the speed of COPY:")
                for contender in LIBRARIES:
                    print(f"- {contender}: {ratio(trials, COPY, contender, SECONDS):.0%}")
                print()
                print("\n".join(table(trials, COPY)))
        print("\n| purge with an archive | logs | memory MiB |\n|---|---|---|")
        for strategy in ("delete", "rewrite"):
            for logs in (options.logs // 4, options.logs):
                with filled(cluster, logs) as url:
                    print(f"| {strategy} | {logs} | {memory(url, folder, strategy):.0f} |")


if __name__ == "__main__":
    main()
