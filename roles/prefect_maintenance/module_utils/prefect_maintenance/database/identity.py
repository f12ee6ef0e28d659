"""What tells a database from every other, copies of it included."""

from __future__ import annotations

from .connection import Database

_MAY = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
_CLUSTER = "SELECT system_identifier FROM pg_control_system()"
_OWN = "SELECT oid FROM pg_database WHERE datname = current_database()"


def identity(database: Database) -> str:
    """Return a short text that is the same for the same database as long as it lives.

    A copy beside it, or one that was restored elsewhere, has another.
    """
    if not database.is_postgresql:
        return f"SQLite {database.file}"
    cluster = database.scalar(_CLUSTER) if database.scalar(_MAY) else "unknown"
    return f"PostgreSQL {cluster}/{database.scalar(_OWN)}"
