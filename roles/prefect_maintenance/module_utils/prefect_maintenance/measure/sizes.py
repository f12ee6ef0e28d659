"""What is there: which Prefect, which database, which privileges, and how large everything is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..catalogue import BY_NAME, EXCLUDED, REVISIONS, TABLES
from ..database import privileges
from ..database.connection import Database
from ..errors import MaintenanceError, PrivilegeError, Unsupported
from ..request.policy import TERMINAL_STATES, UNFINISHED_STATES
from . import leftovers, statements

# An exact count of a table larger than this would take longer than the maintenance itself.
EXACT_BELOW_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Server:
    """The database that Prefect lives in.

    Attributes:
        unfinished: every state type that is not terminal, read from the database where it knows.
        unforced: tables whose rows can outlive their parent, because no foreign key is enforced.
        writable: false on a standby or where transactions are read-only.
        warnings: what a person should know before anything is deleted.
    """

    dialect: str
    version: str
    revision: str | None
    unfinished: tuple[str, ...]
    unforced: frozenset[str]
    writable: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TableSize:
    """One table as it lies on disk; bytes, rows, and how each was found out."""

    name: str
    rows: int
    rows_method: str
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    bytes: int
    dead: int
    bloat_bytes: int
    bloat_method: str
    oldest: datetime | None


def examine(database: Database) -> Server:
    """Make sure that this is a Prefect database that the tool knows.

    Raises:
        Unsupported: it is none, or one from before Prefect 3.
    """
    columns = _columns(database)
    missing = [table.name for table in TABLES if table.name not in columns]
    # Followers got a scope with Prefect 3.0.
    if "scope" not in columns.get("automation_event_follower", set()):
        missing.append("automation_event_follower.scope")
    if missing and _migrating(database):
        raise Unsupported(
            f"the database {database.url.database!r} is still being migrated by its Prefect "
            "server; wait until the server answers, and run again"
        )
    if "alembic_version" not in columns or not {"flow_run", "log", "deployment"} <= set(columns):
        raise Unsupported(
            f"the database {database.url.database!r} is not Prefect's: Prefect's tables are not "
            "there; check the database name in db_url, and that the server has been started once"
        )
    revision = database.scalar("SELECT version_num FROM alembic_version")
    if missing:
        raise Unsupported(
            f"the database at schema revision {revision} has no {', '.join(missing)}: it belongs "
            "to a Prefect older than 3, or its migration was interrupted; this tool supports "
            "Prefect 3.4 and newer: upgrade the server, or run: prefect server database upgrade"
        )
    warnings = []
    if revision not in REVISIONS[database.dialect]:
        warnings.append(
            f"unknown schema revision {revision}: only the tables that this tool knows are touched"
        )
    unknown = sorted(set(columns) - set(BY_NAME) - set(EXCLUDED))
    left = [name for name in unknown if leftovers.is_leftover(name)]
    if left:
        warnings.append(leftovers.described(left))
    unknown = [name for name in unknown if name not in left]
    if unknown:
        warnings.append(f"unknown tables are left alone: {', '.join(unknown)}")
    version = database.scalar(
        "SHOW server_version" if database.is_postgresql else "SELECT sqlite_version()"
    )
    return Server(
        dialect=database.dialect,
        version=str(version).split()[0],
        revision=revision,
        unfinished=_unfinished(database),
        unforced=_unforced(database),
        writable=_writable(database),
        warnings=tuple(warnings),
    )


def require_writable(database: Database, server: Server, step: str, tables: Iterable[str]) -> None:
    """Make sure that rows of the tables may be read and deleted, and collections re-pointed.

    Raises:
        Unsupported: the database is a standby or read-only.
        PrivilegeError: a privilege is missing; the text names the tables and the step.
    """
    if not server.writable:
        raise Unsupported(
            "the database is a read-only standby, or default_transaction_read_only is on; "
            "name the primary in db_url"
        )
    if database.is_postgresql:
        privileges.refuse(database, privileges.missing_on_rows(database, step, tables))


def database_bytes(database: Database) -> int:
    """Return the size of the whole database on disk, SQLite's side files included."""
    if database.is_postgresql:
        return int(database.scalar("SELECT pg_database_size(current_database())"))
    sides = (database.file.with_name(database.file.name + end) for end in ("", "-wal", "-shm"))
    return sum(side.stat().st_size for side in sides if side.exists())


def total_bytes(database: Database, table: str) -> int:
    """Return the size of one table on PostgreSQL, indexes and TOAST included."""
    return int(database.scalar("SELECT pg_total_relation_size(to_regclass(:t))", t=table))


def measure(
    database: Database, only: str | None = None, *, count: bool = True
) -> tuple[TableSize, ...]:
    """Measure every table of the catalogue, or only one.

    Args:
        database: where.
        only: the name of the one table.
        count: count the rows of tables that are not too large for it; else trust the planner's
            number where it has one.
    """
    names = [table.name for table in TABLES if only in (None, table.name)]
    if database.is_postgresql:
        return tuple(_measure_postgresql(database, name, count=count) for name in names)
    return _measure_sqlite(database, names)


def dead_tuples(database: Database, table: str) -> int:
    """Return the dead tuples of a table on PostgreSQL, as its statistics have them."""
    return int(database.rows(statements.POSTGRESQL_TABLE, t=table)[0][4])


def ordered(database: Database, table: str) -> float:
    """Return how closely the age of a table's rows follows their place on disk, from 0 to 1."""
    found = database.scalar(statements.CORRELATION, t=table, c=BY_NAME[table].age)
    return abs(float(found or 0.0))


def oldest(database: Database, table: str) -> datetime | None:
    """Return the age of a table's oldest row, for the tables that the policy dates."""
    if BY_NAME[table].entity is None:
        return None
    age = BY_NAME[table].age
    # Infinity and the years before Christ are no dates in Python.
    in_python = f"WHERE {age} >= '0001-01-02' AND {age} < '9999-12-31'"
    found = database.scalar(f"SELECT min({age}) FROM {table} {in_python}")
    if isinstance(found, str):
        found = datetime.fromisoformat(found).replace(tzinfo=UTC)
    return found if isinstance(found, datetime) else None


def growth(database: Database, since: datetime, limit: int = 10) -> list[dict[str, Any]]:
    """Return the deployments and flows whose runs make the most rows since an instant."""
    return [
        {
            "flow": flow,
            "deployment": deployment,
            "flow_runs": runs,
            "task_runs": tasks,
            "logs": logs,
        }
        for flow, deployment, runs, tasks, logs in database.rows(
            statements.GROWTH, since=since, limit=limit
        )
    ]


def _columns(database: Database) -> dict[str, set[str]]:
    if database.is_postgresql:
        found = database.rows(statements.POSTGRESQL_COLUMNS)
    else:
        found = database.rows(statements.SQLITE_COLUMNS)
    columns: dict[str, set[str]] = {}
    for table, column in found:
        columns.setdefault(table, set()).add(column)
    return columns


def _migrating(database: Database) -> bool:
    """Tell whether somebody is changing the schema: tables that a migration makes are locked."""
    return database.is_postgresql and bool(database.scalar(statements.SCHEMA_CHANGES))


def _unfinished(database: Database) -> tuple[str, ...]:
    if database.is_postgresql:
        known = [row[0] for row in database.rows(statements.STATE_TYPES)]
    else:
        known = [row[0] for row in database.rows(statements.SQLITE_STATE_TYPES) if row[0]]
    more = {name for name in known if name.isalpha()} - set(TERMINAL_STATES)
    if database.is_postgresql:
        return tuple(sorted(more))
    return tuple(sorted(more | set(UNFINISHED_STATES)))


def _unforced(database: Database) -> frozenset[str]:
    """Name the tables that need a sweep for orphans although Prefect declares a foreign key."""
    cascading = [table for table in TABLES if table.deleted_by == "cascade"]
    if not database.is_postgresql:
        return frozenset(table.name for table in cascading)
    forced = {row[0] for row in database.rows(statements.FORCED)}
    return frozenset(table.name for table in cascading) - forced


def _writable(database: Database) -> bool:
    if not database.is_postgresql:
        return True
    return not database.scalar(
        "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
    )


def _measure_postgresql(database: Database, name: str, *, count: bool) -> TableSize:
    heap, toast, index, estimate, dead = database.rows(statements.POSTGRESQL_TABLE, t=name)[0]
    total = heap + toast + index
    exact = total < EXACT_BELOW_BYTES and (count or not estimate)
    rows = database.scalar(f"SELECT count(*) FROM {name}") if exact else int(estimate)
    free, method = _free_in_heap(database, name, rows)
    # Nothing short of a full read tells how full indexes and TOAST are; they lose their rows
    # together with the heap, so the heap's share is taken for them too.
    bloat = free + int((index + toast) * free / heap) if heap else 0
    return TableSize(
        name=name,
        rows=rows,
        rows_method="exact" if exact else "estimate",
        heap_bytes=heap,
        toast_bytes=toast,
        index_bytes=index,
        bytes=total,
        dead=dead,
        bloat_bytes=bloat,
        bloat_method=method,
        oldest=oldest(database, name),
    )


def _free_in_heap(database: Database, name: str, rows: int) -> tuple[int, str]:
    """Return the bytes of the heap that its live rows do not need, and how that was found."""
    if database.scalar("SELECT count(*) FROM pg_extension WHERE extname = 'pgstattuple'"):
        try:
            with database.snapshot():
                free = database.scalar(statements.PGSTATTUPLE, t=name)
            return int(free), "pgstattuple_approx for the heap; its share taken for indexes, TOAST"
        except PrivilegeError:
            pass  # the estimate below says of itself that it is one
    heap, width, page, filled = database.rows(statements.HEAP_ESTIMATE, t=name)[0]
    if width is None:
        return 0, "unknown, because the table was never analysed; run ANALYZE and look again"
    needed = -(-rows * int(width) // ((page - 24) * filled // 100)) * page
    return max(0, heap - needed), "estimate from planner statistics, indexes and TOAST alike"


def _measure_sqlite(database: Database, names: Iterable[str]) -> tuple[TableSize, ...]:
    sizes_of = {}
    method = "exact, by dbstat"
    try:
        for name, payload, unused in database.rows(statements.SQLITE_DBSTAT):
            sizes_of[name] = (payload, unused)
    except MaintenanceError:
        method = "unknown, because this SQLite is built without dbstat"
    found = []
    for name in names:
        indexes = [r[0] for r in database.rows(statements.SQLITE_INDEXES, t=name)]
        heap, free = sizes_of.get(name, (0, 0))
        index = sum(sizes_of.get(i, (0, 0))[0] for i in indexes)
        free += sum(sizes_of.get(i, (0, 0))[1] for i in indexes)
        found.append(
            TableSize(
                name=name,
                rows=database.scalar(f"SELECT count(*) FROM {name}"),
                rows_method="exact",
                heap_bytes=heap,
                toast_bytes=0,
                index_bytes=index,
                bytes=heap + index,
                dead=0,
                bloat_bytes=free,
                bloat_method=method,
                oldest=oldest(database, name),
            )
        )
    return tuple(found)


def sqlite_free_bytes(database: Database) -> int:
    """Return the bytes of whole free pages in an SQLite file: exactly what VACUUM gives back."""
    pages = database.scalar("PRAGMA freelist_count")
    return int(pages) * int(database.scalar("PRAGMA page_size"))
