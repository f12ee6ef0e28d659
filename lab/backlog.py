"""Age and multiply real rows into the backlog of a server that never forgot.

Each copy gets ids that follow from the original's id and the copy's number, so that everything
that referred to each other still does. Every column is carried over, whatever the version.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

_RUNS = (
    "flow_run",
    "flow_run_state",
    "flow_run_input",
    "task_run",
    "task_run_state",
    "artifact",
)
_EVENTS = ("events", "event_resources")
COPIED = (*_RUNS, "log", *_EVENTS)
# Columns that name a copied row; the others go on naming what is there once.
_REFERENCES = {
    "flow_run_id",
    "task_run_id",
    "parent_task_run_id",
    "state_id",
    "event_id",
    "result_artifact_id",
}
_CLEARED = {"idempotency_key", "follows", "created_by"}
# Rows of what is deleted one by one through the API, or is rare on a real server.
_RARE = """
CREATE TEMPORARY TABLE lab_rare AS
SELECT id FROM artifact
UNION SELECT id FROM task_run WHERE flow_run_id IS NULL
UNION SELECT id FROM flow_run WHERE state_type IN ('SCHEDULED', 'PENDING', 'RUNNING')
"""
_RARE_BY = {
    "artifact": "id",
    "flow_run": "id",
    "flow_run_state": "flow_run_id",
    "task_run": "id",
    "task_run_state": "task_run_id",
    "log": "task_run_id",
}


@dataclass(frozen=True)
class Backlog:
    """What the database holds afterwards."""

    rows: Mapping[str, int]


def settle(url: str, seconds: float = 60) -> None:
    """Wait until the server has written what it writes in the background.

    Task runs and events arrive seconds after the flow has ended; a copy taken before would hold
    logs of task runs that are not there.
    """
    engine = _engine(url)
    until, quiet, before = time.monotonic() + seconds, 0, -1
    while quiet < 4:
        if time.monotonic() > until:
            raise TimeoutError(f"the server was still writing after {seconds:.0f} s")
        with engine.connect() as connection:
            now = sum(_count(connection, table) for table in COPIED)
        quiet = quiet + 1 if now == before else 0
        before = now
        time.sleep(1)
    engine.dispose()


def age_and_multiply(
    url: str, rows: int, days: int = 180, artifacts: int = 300, orphans: int = 200
) -> Backlog:
    """Copy the rows of a database until it holds about so many, spread over so many days.

    Args:
        url: a synchronous SQLAlchemy URL; on PostgreSQL of a superuser.
        rows: rows in all.
        days: the oldest copy is so old.
        artifacts: at most so many artifacts, task runs outside of flows, and unfinished runs
            in all, because the API deletes the first two one by one.
        orphans: logs to add whose run is gone, and event resources whose event is.
    """
    engine = _engine(url)
    with engine.connect() as connection:
        real = sum(_count(connection, table) for table in COPIED)
    engine.dispose()
    copies = max(1, round(rows / max(1, real)) - 1)
    return _multiply(url, dict.fromkeys(COPIED, copies), days, artifacts, orphans)


def fill(
    url: str, flow_runs: int, logs: int, event_resources: int, days: int = 180, artifacts: int = 300
) -> Backlog:
    """Copy the rows of a database until its big tables hold about so many each.

    Args:
        url: a synchronous SQLAlchemy URL; on PostgreSQL of a superuser.
        flow_runs: flow runs; their states and task runs grow in proportion.
        logs: log rows, shared out evenly among the runs.
        event_resources: event resources; the events grow in proportion.
        days: the oldest copy is so old.
        artifacts: as for `age_and_multiply`.
    """
    wanted = {**dict.fromkeys(_RUNS, "flow_run"), "log": "log"}
    wanted |= dict.fromkeys(_EVENTS, "event_resources")
    rows = {"flow_run": flow_runs, "log": logs, "event_resources": event_resources}
    engine = _engine(url)
    with engine.connect() as connection:
        each = {t: max(1, round(n / _count(connection, t)) - 1) for t, n in rows.items()}
    engine.dispose()
    return _multiply(url, {t: each[wanted[t]] for t in COPIED}, days, artifacts, orphans=0)


def _multiply(
    url: str, copies: Mapping[str, int], days: int, artifacts: int, orphans: int
) -> Backlog:
    engine = _engine(url)
    postgresql = engine.dialect.name == "postgresql"
    with engine.begin() as connection:
        if postgresql:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(_RARE))
        rare = _count(connection, "lab_rare")
        every = max(1, -(-copies["flow_run"] * rare // max(1, artifacts)))
        for table in COPIED:
            runs = copies["flow_run"] if table == "log" else copies[table]
            _numbers(connection, copies[table], runs, days)
            _copy(connection, table, every)
        if orphans:
            _add_orphans(connection, orphans)
        filled = {table: _count(connection, table) for table in COPIED}
        connection.execute(sa.text("DROP TABLE lab_rare"))
        connection.execute(sa.text("DROP TABLE lab_number"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE" if postgresql else "ANALYZE"))
    engine.dispose()
    return Backlog(rows=filled)


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _python_functions)
    return engine


def _numbers(connection: sa.Connection, copies: int, runs: int, days: int) -> None:
    """Number the copies: which run's copy each belongs to, and how many days old it is."""
    connection.execute(sa.text("DROP TABLE IF EXISTS lab_number"))
    connection.execute(
        sa.text(
            "CREATE TEMPORARY TABLE lab_number AS WITH RECURSIVE s(n) AS "
            "(SELECT CAST(1 AS bigint) UNION ALL SELECT n + 1 FROM s WHERE n < :copies) "
            "SELECT n, 1 + (n - 1) * :runs / :copies AS run, "
            ":days * (1 - n / (:copies + 1.0)) AS age FROM s"
        ),
        {"copies": copies, "runs": runs, "days": days},
    )


def _copy(connection: sa.Connection, table: str, every: int) -> None:
    names, values = [], []
    for column in sa.inspect(connection).get_columns(table):
        name = f'"{column["name"]}"'
        names.append(name)
        values.append(_value(connection, column["name"], name, column["type"]))
    kept = "TRUE"
    if table in _RARE_BY:
        rare = f"SELECT 1 FROM lab_rare r WHERE r.id = o.{_RARE_BY[table]}"
        kept = f"(n.run % :every = 0 OR NOT EXISTS ({rare}))"
    connection.execute(
        sa.text(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM (SELECT * FROM {table}) o CROSS JOIN lab_number n WHERE {kept} ORDER BY n.n"
        ),
        {"every": every},
    )


def _value(
    connection: sa.Connection, plain: str, name: str, kind: sa.types.TypeEngine[object]
) -> str:
    postgresql = connection.dialect.name == "postgresql"
    if plain in _CLEARED:
        return "NULL"
    if plain == "id" or plain in _REFERENCES:
        number = "n.n" if plain == "id" else "n.run"
        if postgresql:
            copied = f"md5(o.{name}::text || ':' || {number})::uuid"
        else:
            copied = f"lab_copy_id(o.{name}, {number})"
        # Not every copy of a run has its artifacts.
        thinned = plain == "result_artifact_id"
        return f"CASE WHEN n.run % :every = 0 THEN {copied} END" if thinned else copied
    # SQLite keeps an interval as a date.
    if isinstance(kind, sa.DateTime) and plain != "total_run_time":
        if postgresql:
            return f"o.{name} - interval '1 day' * n.age"
        return f"lab_older(o.{name}, n.age)"
    return f"o.{name}"


def _add_orphans(connection: sa.Connection, orphans: int) -> None:
    """Add what deletions of older servers left: rows whose run, event or artifact is gone.

    They are a day old, so that no retention but only the rule for orphans takes them.
    """
    postgresql = connection.dialect.name == "postgresql"
    new_id = "gen_random_uuid()" if postgresql else "lab_new_id()"
    gone = {
        "log": {"id", "flow_run_id", "task_run_id"},
        "event_resources": {"id", "event_id"},
        "artifact_collection": {"id", "latest_id"},
    }
    for table, renewed in gone.items():
        names, values = [], []
        for column in sa.inspect(connection).get_columns(table):
            plain = column["name"]
            name = f'"{plain}"'
            names.append(name)
            if plain in renewed:
                values.append(new_id)
            elif table == "artifact_collection" and plain == "key":
                values.append(f"{name} || '-gone'")
            elif isinstance(column["type"], sa.DateTime) and postgresql:
                values.append(f"{name} - interval '1 day'")
            elif isinstance(column["type"], sa.DateTime):
                values.append(f"lab_older({name}, 1)")
            else:
                values.append(name)
        newest = {"log": "timestamp", "event_resources": "occurred"}.get(table, "updated")
        connection.execute(
            sa.text(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
                f"FROM {table} ORDER BY {newest} DESC LIMIT :orphans"
            ),
            {"orphans": orphans},
        )


def _count(connection: sa.Connection, table: str) -> int:
    return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def _python_functions(connection: object, _record: object) -> None:
    def copy_id(original: str | None, number: int) -> str | None:
        return original and str(uuid.uuid5(uuid.UUID(original), str(number)))

    def older(text: str | None, days: float) -> str | None:
        if text is None:
            return None
        return (datetime.fromisoformat(text) - timedelta(days=days)).strftime(
            "%Y-%m-%d %H:%M:%S.%f"
        )

    create = connection.create_function  # type: ignore[attr-defined]
    create("lab_copy_id", 2, copy_id, deterministic=True)
    create("lab_older", 2, older, deterministic=True)
    create("lab_new_id", 0, lambda: str(uuid.uuid4()))
