"""Purge and shrink on PostgreSQL: the project and its peers on identical copies, in turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

from lab.postgres import Postgres
from lab.server import migrate

from . import live
from .backlog import DAYS, Size, fill
from .measure import Trial
from .peers import Peer

# As on a production server with some memory; the log fits into it at the documented size.
SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB", "maintenance_work_mem": "256MB"}
_SETTLE = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
_NEVER = dict.fromkeys(("flow_runs", "task_runs", "artifacts", "logs", "events"), 100 * DAYS)


@dataclass(frozen=True)
class Backlog:
    """A filled database of which every trial gets a copy."""

    cluster: Postgres
    size: Size

    @classmethod
    @contextmanager
    def filled(cls, size: Size) -> Iterator[Backlog]:
        """Make one and remove it at the end of the block."""
        with Postgres(options=SERVER, durable=True) as cluster:
            migrate(cluster.create_database("filled"))
            fill(cluster, "filled", size)
            yield cls(cluster, size)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Lend a fresh copy."""
        self.cluster.execute('CREATE DATABASE "trial" TEMPLATE "filled" STRATEGY FILE_COPY')
        self.cluster.execute("CHECKPOINT")
        try:
            yield "trial"
        finally:
            self.cluster.drop_database("trial")

    def trial(self, name: str, peer: Peer, cutoff: datetime, tables: tuple[str, ...]) -> Trial:
        """Let one contender work on a copy; adds what the server wrote and what is left."""
        with self.copy() as database:
            before = self._wal()
            with _peak(self.cluster, database) as extra:
                figures = peer(self.cluster, database, cutoff)
            figures["WAL MiB"] = (self._wal() - before) / 2**20
            figures["extra disk MiB"] = extra[0] / 2**20
            size = " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
            figures["final MiB"] = self.cluster.execute(f"SELECT {size}", database)[0][0] / 2**20
            return Trial(name, figures)

    def under_load(
        self, name: str, peer: Peer | None, cutoff: datetime, write: live.Write = live.LOGS
    ) -> Trial:
        """Let one contender work while others write and read; without one, they do so alone.

        Raises:
            RuntimeError: a request failed, or a row that was written is not there.
        """
        with self.copy() as database:
            with live.load(self.cluster, database, self.size.runs, write) as latencies:
                figures = peer(self.cluster, database, cutoff) if peer else _idle()
            there = "SELECT count(*) FROM log WHERE name = 'live'"
            found = self.cluster.execute(there, database)[0][0]
            # One write came before the clock began.
            lost = latencies.rows + write.rows - found
            if latencies.errors or lost:
                raise RuntimeError(f"{name}: {latencies.errors} errors, {lost} rows lost")
            locked = {"lock ms": figures["lock ms"]} if "lock ms" in figures else {}
            return Trial(name, {**latencies.figures(), **locked})

    def _wal(self) -> float:
        return float(self.cluster.execute(_SETTLE)[0][0])


def cutoff_for(gone: float) -> datetime:
    """Return the instant before which such a share of the backlog lies."""
    return datetime.now(UTC) - timedelta(days=DAYS * (1 - gone))


def turns(
    backlog: Backlog,
    contenders: Mapping[str, Peer],
    gone: float,
    repetitions: int,
    tables: tuple[str, ...],
) -> list[Trial]:
    """Measure each contender so many times, taking turns."""
    cutoff = cutoff_for(gone)
    return [
        backlog.trial(name, peer, cutoff, tables)
        for _ in range(repetitions)
        for name, peer in contenders.items()
    ]


def project(*tables: str, strategy: str = "auto", vacuum: str = "auto") -> Peer:
    """Purge by the engine, plan included, and reclaim.

    The seconds are those of the whole purge step and of what the vacuum step spends on the
    tables; it vacuums others too, which the peers do not.
    """

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        asked = asked_of(cluster, database, cutoff, ("logs", "events"))
        asked |= {"purge_strategy": strategy, "vacuum": vacuum}
        started = time.monotonic()
        purged = step("purge", asked)
        seconds = time.monotonic() - started
        before = _seconds(purged, tables)
        done = step("vacuum", {**asked, "report": purged})
        reclaim = _seconds(done, tables) - before
        locks = [table["lock_ms_max"] for table in done["tables"] if table["name"] in tables]
        return {
            "seconds": seconds + reclaim,
            "deletion s": seconds,
            "lock ms": float(max(locks)),
            "waited s": sum(sum(report["waited"].values()) for report in (purged, done)),
        }

    return run


def project_rate(table: str) -> Peer:
    """Purge a small share by deletes; reports rows a second as microseconds a row."""

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        touched = f"""
            SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
            FROM pg_statio_all_tables WHERE relname = '{table}'
        """
        before = cluster.execute(touched, database)[0][0]
        asked = asked_of(cluster, database, cutoff, ("logs", "events"))
        report = step("purge", {**asked, "vacuum": "plain"})
        time.sleep(1.0)  # until the statistics are written
        pages = cluster.execute(touched, database)[0][0] - before
        seconds = _seconds(report, (table,))
        rows = report["deleted"][table]
        wal = sum(t["wal_bytes"] for t in report["tables"] if t["name"] == table)
        return {
            "seconds": seconds,
            "us a row": 1e6 * seconds / rows,
            "pages a row": pages / rows,
            "WAL bytes a row": wal / rows,
        }

    return run


def project_runs(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
    """Delete flow runs by SQL, with all that hangs on them, plan included."""
    asked = asked_of(cluster, database, cutoff, ("flow_runs",))
    started = time.monotonic()
    step("delete", {**asked, "run_delete_via": "sql"})
    return {"seconds": time.monotonic() - started}


def asked_of(
    cluster: Postgres, database: str, cutoff: datetime, entities: tuple[str, ...]
) -> dict[str, Any]:
    """Return the request by which what is older than the cutoff goes of some entities."""
    return {
        "db_url": cluster.url(database),
        "retention": {**_NEVER, **dict.fromkeys(entities, 1)},
        "reference_time": (cutoff + timedelta(days=1)).isoformat(),
    }


def step(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Carry out a step of the engine; returns the report with what this step has waited.

    Raises:
        MaintenanceError: it failed.
    """
    pace = Pace()
    outcome = STEPS[name](Settings.parse(asked, check=False), pace)
    if outcome.error:
        raise outcome.error
    return {**outcome.report.as_json(), "waited": pace.events.waited}


def _seconds(report: dict[str, Any], tables: tuple[str, ...]) -> float:
    return float(sum(t["seconds"] for t in report["tables"] if t["name"] in tables))


def _idle() -> dict[str, float]:
    time.sleep(5.0)
    return {}


@contextmanager
def _peak(cluster: Postgres, database: str) -> Iterator[list[int]]:
    """Watch by how much the database grows at most; yields a list with that one number."""
    size = f"SELECT pg_database_size('{database}')"
    before = cluster.execute(size)[0][0]
    found, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            found[0] = max(found[0], cluster.execute(size)[0][0] - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
