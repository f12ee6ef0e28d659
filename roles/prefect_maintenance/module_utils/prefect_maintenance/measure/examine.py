"""Whether this is Prefect's database, of which Prefect, and whether it may be written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from ..catalogue import BY_NAME, EXCLUDED, REVISIONS, SINCE_PREFECT_3, TABLES, TELLTALES
from ..database import privileges
from ..database.connection import Database
from ..errors import Unsupported
from ..request.policy import UNFINISHED_STATES
from ..request.rules import TERMINAL_STATES
from . import leftovers

_VERSION, _SQLITE_VERSION = "SHOW server_version", "SELECT sqlite_version()"
_REVISION = "SELECT version_num FROM alembic_version"

_POSTGRESQL_COLUMNS = """
SELECT c.relname, a.attname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN ('r', 'p')
"""

# Also of tables that nobody but their maker can see yet.
_SCHEMA_CHANGES = """
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.granted
  AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
"""

_SQLITE_COLUMNS = """
SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'
"""

_STATE_TYPES = """
SELECT e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
WHERE t.typname = 'state_type' AND t.typnamespace = to_regnamespace(quote_ident(current_schema()))
"""

_SQLITE_STATE_TYPES = "SELECT DISTINCT state_type FROM flow_run"

_FORCED = """
SELECT DISTINCT c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'f' AND k.convalidated AND k.confdeltype = 'c'
  AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))
"""

_READ_ONLY = (
    "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
)


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


def examine(database: Database) -> Server:
    """Make sure that this is a Prefect database that the tool knows.

    Raises:
        Unsupported: it is none, or one from before Prefect 3.
    """
    columns = _columns(database)
    revision = _known_revision(database, columns)
    version = database.scalar(_VERSION if database.is_postgresql else _SQLITE_VERSION)
    return Server(
        dialect=database.dialect,
        version=str(version).split()[0],
        revision=revision,
        unfinished=_unfinished(database),
        unforced=_unforced(database),
        writable=_writable(database),
        warnings=tuple(_warnings(database, revision, columns)),
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


def _known_revision(database: Database, columns: Mapping[str, Set[str]]) -> str | None:
    """Return the revision of the schema.

    Raises:
        Unsupported: the schema is not Prefect's, or not that of Prefect 3.
    """
    missing = [table.name for table in TABLES if table.name not in columns]
    newer, column = SINCE_PREFECT_3
    if column not in columns.get(newer, set()):
        missing.append(f"{newer}.{column}")
    if missing and _migrating(database):
        raise Unsupported(
            f"the database {database.url.database!r} is still being migrated by its Prefect "
            "server; wait until the server answers, and run again"
        )
    if not set(columns) >= TELLTALES:
        raise Unsupported(
            f"the database {database.url.database!r} is not Prefect's: Prefect's tables are not "
            "there; check the database name in db_url, and that the server has been started once"
        )
    revision: str | None = database.scalar(_REVISION)
    if missing:
        raise Unsupported(
            f"the database at schema revision {revision} has no {', '.join(missing)}: it belongs "
            "to a Prefect older than 3, or its migration was interrupted; this tool supports "
            "Prefect 3.4 and newer: upgrade the server, or run: prefect server database upgrade"
        )
    return revision


def _warnings(
    database: Database, revision: str | None, columns: Mapping[str, Set[str]]
) -> list[str]:
    """Say what of the schema is unknown, or was left by a run that was killed."""
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
    return warnings


def _columns(database: Database) -> dict[str, set[str]]:
    if database.is_postgresql:
        found = database.rows(_POSTGRESQL_COLUMNS)
    else:
        found = database.rows(_SQLITE_COLUMNS)
    columns: dict[str, set[str]] = {}
    for table, column in found:
        columns.setdefault(table, set()).add(column)
    return columns


def _migrating(database: Database) -> bool:
    """Tell whether somebody is changing the schema: tables that a migration makes are locked."""
    return database.is_postgresql and bool(database.scalar(_SCHEMA_CHANGES))


def _unfinished(database: Database) -> tuple[str, ...]:
    if database.is_postgresql:
        known = [row[0] for row in database.rows(_STATE_TYPES)]
    else:
        known = [row[0] for row in database.rows(_SQLITE_STATE_TYPES) if row[0]]
    more = {name for name in known if name.isalpha()} - set(TERMINAL_STATES)
    if database.is_postgresql:
        return tuple(sorted(more))
    return tuple(sorted(more | set(UNFINISHED_STATES)))


def _unforced(database: Database) -> frozenset[str]:
    """Name the tables that need a sweep for orphans although Prefect declares a foreign key."""
    cascading = [table for table in TABLES if table.deleted_by == "cascade"]
    if not database.is_postgresql:
        return frozenset(table.name for table in cascading)
    forced = {row[0] for row in database.rows(_FORCED)}
    return frozenset(table.name for table in cascading) - forced


def _writable(database: Database) -> bool:
    if not database.is_postgresql:
        return True
    return not database.scalar(_READ_ONLY)
