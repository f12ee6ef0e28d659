"""Archives of the tests: steps that make one, what is restored from it, and what is still gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, fill, name_of, request, run_step, wait_until
from prefect_maintenance.execute import restore_files
from prefect_maintenance.pace.pace import Pace
from world import NOW, Dump, dump

from lab.postgres import Postgres

_PARENTS = (
    ("artifact_collection", "latest_id", "artifact"),
    ("flow_run_state", "flow_run_id", "flow_run"),
    ("task_run_state", "task_run_id", "task_run"),
)
KINDS = ("restored", "there", "left_out")
OLD = NOW - timedelta(days=60)
_LOGS = """
INSERT INTO log (id, name, level, message, timestamp, flow_run_id)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 200), :at, :run FROM generate_series(1, :rows)
"""
_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'prefect-maintenance%%' AND datname = %s
"""


def archived(where: Any, folder: Path, *, pace: Pace | None = None, **more: Any) -> dict[str, Any]:
    """Purge and delete with an archive; returns the report."""
    asked: dict[str, Any] = {"run_delete_via": "sql", "archive_dir": str(folder), **more}
    purged = run_step("purge", request(where, **asked), pace=pace).report.as_json()
    asked["report"] = purged
    return run_step("delete", request(where, **asked), pace=pace).report.as_json()


def restored(where: Any, folder: Path, *, check: bool = False, **more: Any) -> Any:
    """Restore from a folder; returns what became of the rows, and whether anything changed."""
    done = run_step("restore", request(where, None, archive=str(folder), **more), check=check)
    return {kind: dict(done.answers[kind]) for kind in KINDS}, done.changed


def lacking(before: Dump, engine: sa.Engine) -> dict[str, set[str]]:
    """Name the rows that are not there any more, or are otherwise than they were.

    What was gone already does not come back for it: a collection whose artifact was gone points to
    another one and stays so, a state whose run was gone stays away.
    """
    after = dump(engine)
    found = {
        table: {key for key, row in rows.items() if after[table].get(key) != row}
        for table, rows in before.items()
    }
    for table, column, parent in _PARENTS:
        for key, row in before[table].items():
            if str(row[column]) not in before[parent]:
                found[table].discard(key)
    return {table: keys for table, keys in found.items() if keys}


def die(*_: object, **__: object) -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(cluster: Postgres, url: str, work: Callable[[], object]) -> None:
    """Let a process of its own work, which must be killed, until its sessions are gone."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    wait_until(lambda: cluster.execute(_AT_WORK, "postgres", (name_of(url),))[0][0] == 0, 30)


@contextmanager
def world_in(url: str, seed: int = 11, size: int = 60) -> Iterator[sa.Engine]:
    """Leave nothing but a random world in a database, and lend a way to it."""
    engine = engine_for(url)
    fill(engine, seed=seed, size=size)
    yield engine
    engine.dispose()


def ids_in(folder: Path, table: str) -> set[str]:
    """Return the ids of a table's rows in all archives below a folder."""
    return {
        str(row[entry.columns.index("id")])
        for path, entry, _ in restore_files.files_of(restore_files.find(folder), table)
        for row in restore_files.rows_in(path, entry)
    }


def add_logs(engine: sa.Engine, rows: int, run: str | None = None) -> None:
    """Add logs that are older than any cutoff."""
    with engine.begin() as connection:
        connection.execute(sa.text(_LOGS), {"rows": rows, "at": OLD, "run": run})


def patched_in(target: Any, name: str, instead: Callable[..., Any]) -> None:
    """Put something in the place of a function, in a process that ends by itself."""
    pytest.MonkeyPatch().setattr(target, name, instead)
