"""What an interrupted rewrite or compaction leaves beside a table: found, named and removed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from ..catalogue import TABLES
from ..database.connection import Database
from ..database.table_guard import take
from ..errors import GaveWay, MaintenanceError
from . import relations

_COPY, _OLD = "__maintenance_new", "__maintenance_old"
_CHANGES, _FOLLOW = "__maintenance_changes", "__maintenance_follow"
# How PostgreSQL names the new index and the old one of an interrupted REINDEX CONCURRENTLY.
_BESIDE = "_cc(new|old)[0-9]*$"

_ANY = f"""
SELECT (SELECT count(*) FROM pg_class WHERE relkind = 'r'
        AND relname ~ '({_COPY}|{_OLD}|{_CHANGES})$')
     + (SELECT count(*) FROM pg_proc WHERE proname ~ '{_FOLLOW}$')
     + (SELECT count(*) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE NOT x.indisvalid AND i.relname ~ '{_BESIDE}')
"""
# Somebody else who builds one just now holds the table's lock, so that it cannot be dropped. The
# owner of a table may drop one of its TOAST table by its name, and that takes USAGE of the schema.
_INDEXES = f"""
SELECT format('%I.%I', n.nspname, i.relname) FROM pg_class t
JOIN pg_index x ON x.indrelid IN (t.oid, t.reltoastrelid)
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE t.oid = to_regclass(:t) AND NOT x.indisvalid AND i.relname ~ '{_BESIDE}'
  AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY i.relname
"""
_RELATIONS = """
SELECT c.relname FROM pg_class c WHERE c.relname = ANY (:names) AND c.relkind = 'r'
  AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:t))
"""
_FUNCTIONS = """
SELECT p.proname FROM pg_proc p WHERE p.proname = :name
  AND p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:t))
"""
_TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal AND tgname = ANY (:names)
"""
# Of a table; those of constraints go with it alone.
_DROPPABLE = """
SELECT string_agg(format('%I.%I', n.nspname, i.relname), ', ')
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass(:t)
  AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = x.indexrelid)
"""


@dataclass(frozen=True)
class Names:
    """What a rewrite makes beside a table; texts ready to stand in a statement.

    Attributes:
        table: the table itself, with its schema, quoted.
        schema: its schema, quoted.
        bare: the table's name without its schema.
    """

    table: str
    schema: str
    bare: str

    @property
    def copy(self) -> str:
        """The table that takes the place of the old one."""
        return f"{self.schema}.{self.bare}{_COPY}"

    @property
    def old(self) -> str:
        """The old table after the swap."""
        return f"{self.schema}.{self.bare}{_OLD}"

    @property
    def old_name(self) -> str:
        """The same without its schema, as RENAME wants it."""
        return f"{self.bare}{_OLD}"

    @property
    def changes(self) -> str:
        """The ids of rows that changed since the copy began, and by how many it grew with each."""
        return f"{self.schema}.{self.bare}{_CHANGES}"

    @property
    def function(self) -> str:
        """The function of the triggers that follow."""
        return f"{self.schema}.{self.bare}{_FOLLOW}"

    @property
    def triggers(self) -> tuple[str, str]:
        """The triggers of rows, and of TRUNCATE."""
        return f"{self.bare}{_FOLLOW}", f"{self.bare}{_FOLLOW}_all"


def beside(database: Database, table: str) -> Names:
    """Name what a rewrite makes beside a table of the catalogue."""
    schema = relations.schema_of(database, table)
    return Names(f"{schema}.{table}", schema, table)


def is_leftover(relation: str) -> bool:
    """Tell whether a table is one that a rewrite made beside a table of the catalogue."""
    return any(
        relation == f"{table.name}{end}" for table in TABLES for end in (_COPY, _OLD, _CHANGES)
    )


def remove_all(database: Database, lock_timeout: float) -> list[str]:
    """Remove what killed runs left beside any table; returns why something had to stay.

    Args:
        database: nobody else is at work on it.
        lock_timeout: seconds in which each lock must be had.
    """
    if not database.is_postgresql or not database.scalar(_ANY):
        return []
    told = []
    for table in TABLES:
        try:
            remove(database, table.name, lock_timeout)
        except MaintenanceError as error:
            told.append(f"what a killed run left beside {table.name} cannot be removed: {error}")
    return told


def remove(database: Database, table: str, lock_timeout: float) -> None:
    """Remove what an interrupted rewrite or compaction left beside a table.

    Raises:
        LockTimeout: a table could not be locked in the time allowed.
        PrivilegeError: it belongs to somebody else.
    """
    names = beside(database, table)
    if database.rows(_TRIGGERS, t=table, names=list(names.triggers)):
        _unfollow(database, names, lock_timeout)
    there = [f"{table}{end}" for end in (_COPY, _CHANGES, _OLD)]
    for relation in database.rows(_RELATIONS, t=table, names=there):
        database.ddl(f"DROP TABLE IF EXISTS {names.schema}.{relation[0]}")
    if database.rows(_FUNCTIONS, t=table, name=f"{table}{_FOLLOW}"):
        database.ddl(f"DROP FUNCTION IF EXISTS {names.function}()")
    for index in database.rows(_INDEXES, t=table):
        database.ddl(f"DROP INDEX CONCURRENTLY IF EXISTS {index[0]}")


def drop_old_indexes(database: Database, names: Names) -> None:
    """Drop what of the old table's indexes does not have to wait for the table.

    Raises:
        LockTimeout: the table could not be locked.
    """
    if indexes := database.scalar(_DROPPABLE, t=names.old):
        database.ddl(f"DROP INDEX IF EXISTS {indexes}")


def _unfollow(database: Database, names: Names, lock_timeout: float) -> None:
    """Take the triggers away; whoever else wants the table goes first."""
    until = time.monotonic() + lock_timeout
    while True:
        try:
            with database.transaction():
                take(database, names.table, "ACCESS EXCLUSIVE", lock_timeout)
                drop_triggers(database, names)
            return
        except GaveWay:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def drop_triggers(database: Database, names: Names) -> None:
    """Follow changes no more; the transaction has locked the table."""
    for trigger in names.triggers:
        database.ddl(f"DROP TRIGGER IF EXISTS {trigger} ON {names.table}")


def described(tables: Iterable[str]) -> str:
    """Say what tables that `is_leftover` knows are."""
    return (
        f"an interrupted rewrite left {', '.join(sorted(tables))}; "
        "the next purge or vacuum removes that first"
    )
