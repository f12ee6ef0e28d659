"""A family of runs to be compacted: what is in it, what of it is broken, how large it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from maintenance import name_of, request, run_step, table
from prefect_maintenance.database.connection import connect
from prefect_maintenance.execute.compact import Compacted, Compaction, compact
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.run.outcome import Outcome

from lab.family import TABLES
from lab.postgres import Postgres

# Flow runs before nine in ten went.
RUNS = 2000
# The table that is looked at closely, and the row of it that every compaction moves first.
TABLE = "task_run_state"
LAST = f"SELECT id::text FROM {TABLE} ORDER BY ctid DESC LIMIT 1"

_CONTENT = "SELECT md5(string_agg(md5(CAST(x AS text)), '' ORDER BY id)) FROM {table} x"
_ORPHANS = (
    "SELECT count(*) FROM flow_run_state s WHERE NOT EXISTS "
    "(SELECT 1 FROM flow_run r WHERE r.id = s.flow_run_id)",
    "SELECT count(*) FROM task_run t WHERE NOT EXISTS "
    "(SELECT 1 FROM flow_run r WHERE r.id = t.flow_run_id)",
    "SELECT count(*) FROM task_run_state s WHERE NOT EXISTS "
    "(SELECT 1 FROM task_run t WHERE t.id = s.task_run_id)",
    "SELECT count(*) FROM pg_constraint WHERE NOT convalidated",
    "SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready",
)
_INDEXES = "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid ORDER BY 1"

asked = partial(
    request, policy=None, vacuum="compact", vacuum_min_bytes=32768, vacuum_min_percent=10
)


def compacted(url: str, pace: Pace | None = None, **more: Any) -> Outcome:
    """Compact what is worth it in a database."""
    return run_step("vacuum", asked(url, **more), pace=pace)


def compact_table(
    url: str, name: str = TABLE, pace: Pace | None = None, lock_timeout: float = 5.0
) -> Compacted:
    """Compact one table, whatever that gives back."""
    with connect(url, lock_timeout) as database:
        return compact(Compaction(database, name, lock_timeout, pace or Pace()))


def way(outcome: Outcome, name: str) -> str:
    """Say how the space of a table came back."""
    return table(outcome, name).reclaim


def content(cluster: Postgres, url: str, *names: str) -> dict[str, str]:
    """Return a checksum over all columns of all rows of the tables, by default of the family."""
    return {
        name: cluster.execute(_CONTENT.format(table=name), name_of(url))[0][0]
        for name in names or TABLES
    }


def broken(cluster: Postgres, url: str) -> list[str]:
    """Return the queries that find orphans, or a key or index that is not valid."""
    return [sql for sql in _ORPHANS if cluster.execute(sql, name_of(url))[0][0]]


def indexes(cluster: Postgres, url: str) -> list[str]:
    """Return the names of all indexes."""
    return [row[0] for row in cluster.execute(_INDEXES, name_of(url))]


def pages(cluster: Postgres, url: str, name: str) -> int:
    """Return how many pages the rows of a table lie on."""
    sql = f"SELECT pg_relation_size('{name}') / current_setting('block_size')::int"
    return int(cluster.execute(sql, name_of(url))[0][0])


def whole(cluster: Postgres, url: str, name: str) -> int:
    """Return the bytes of a table with its indexes."""
    return int(cluster.execute(f"SELECT pg_total_relation_size('{name}')", name_of(url))[0][0])
