"""Age and multiply real rows into the backlog of a server that never forgot.

Each copy gets ids that follow from the original's id and the copy's number, so that everything
that referred to each other still does. Every column is carried over, whatever the version.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

COPIED = (
    "flow_run",
    "flow_run_state",
    "flow_run_input",
    "task_run",
    "task_run_state",
    "log",
    "artifact",
    "events",
    "event_resources",
)
# Columns that name a copied row; the others go on naming what is there once.
_REFERENCES = {
    "id",
    "flow_run_id",
    "task_run_id",
    "parent_task_run_id",
    "state_id",
    "event_id",
    "result_artifact_id",
}
_CLEARED = {"idempotency_key", "follows", "deployment_id", "created_by"}


@dataclass(frozen=True)
class Backlog:
    """What the database holds afterwards."""

    rows: Mapping[str, int]


def age_and_multiply(
    url: str, rows: int, days: int = 180, artifacts: int = 300, orphans: int = 200
) -> Backlog:
    """Copy the rows of a database until it holds about so many, spread over so many days.

    Args:
        url: a synchronous SQLAlchemy URL; on PostgreSQL of a superuser.
        rows: rows in all.
        days: the oldest copy is so old.
        artifacts: artifacts at most, because the API deletes them one by one.
        orphans: logs to add whose run is gone.
    """
    engine = sa.create_engine(url, poolclass=NullPool)
    postgresql = engine.dialect.name == "postgresql"
    if not postgresql:
        sa.event.listen(engine, "connect", _python_functions)
    with engine.begin() as connection:
        if postgresql:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            connection.execute(sa.text("PRAGMA foreign_keys = OFF"))
        real = {table: _count(connection, table) for table in COPIED}
        copies = max(1, rows // max(1, sum(real.values())))
        for table in COPIED:
            every = max(1, copies * real[table] // artifacts) if table == "artifact" else 1
            _copy(connection, table, copies, days, every)
        if orphans:
            _copy_orphans(connection, orphans)
        filled = {table: _count(connection, table) for table in COPIED}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE" if postgresql else "ANALYZE"))
    engine.dispose()
    return Backlog(rows=filled)


def _copy(connection: sa.Connection, table: str, copies: int, days: int, every: int) -> None:
    names, values = [], []
    for column in sa.inspect(connection).get_columns(table):
        name = f'"{column["name"]}"'
        names.append(name)
        values.append(_value(connection, column["name"], name, column["type"], days))
    _numbers(connection, copies)
    connection.execute(
        sa.text(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM (SELECT * FROM {table}) o CROSS JOIN lab_number n WHERE n.n % :every = 0 "
            "ORDER BY n.n"
        ),
        {"copies": copies, "every": every},
    )


def _value(
    connection: sa.Connection, plain: str, name: str, kind: sa.types.TypeEngine[object], days: int
) -> str:
    postgresql = connection.dialect.name == "postgresql"
    if plain in _CLEARED:
        return "NULL"
    if plain in _REFERENCES:
        if postgresql:
            return f"md5(o.{name}::text || ':' || n.n)::uuid"
        return f"lab_copy_id(o.{name}, n.n)"
    if isinstance(kind, sa.DateTime) and plain != "total_run_time":
        if postgresql:
            return f"o.{name} - interval '1 day' * ({days} * (1 - n.n / (:copies + 1.0)))"
        return f"lab_older(o.{name}, {days} * (1 - n.n / (:copies + 1.0)))"
    return f"o.{name}"


def _numbers(connection: sa.Connection, copies: int) -> None:
    connection.execute(sa.text("DROP TABLE IF EXISTS lab_number"))
    connection.execute(
        sa.text(
            "CREATE TEMPORARY TABLE lab_number AS WITH RECURSIVE s(n) AS "
            "(SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :copies) SELECT n FROM s"
        ),
        {"copies": copies},
    )


def _copy_orphans(connection: sa.Connection, orphans: int) -> None:
    """Add logs of runs that are gone, as deletions on servers before 3.4.9 left them."""
    new_id = "gen_random_uuid()" if connection.dialect.name == "postgresql" else "lab_new_id()"
    connection.execute(
        sa.text(
            "INSERT INTO log (id, created, updated, name, level, flow_run_id, message, timestamp) "
            f"SELECT {new_id}, created, updated, name, level, {new_id}, message, timestamp "
            "FROM log LIMIT :orphans"
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
