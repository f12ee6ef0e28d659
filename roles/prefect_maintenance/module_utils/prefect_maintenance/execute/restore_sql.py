"""The statements of a restore, for either database."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue import BY_NAME
from ..database.connection import Database

LAID_DOWN = "prefect_maintenance_laid_down"
# Rows that a check would have put into a table.
_FORETOLD = "prefect_maintenance_foretold_{table}"

_POSTGRESQL_REFERENCES = """
SELECT a.attname, f.relname FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_class f ON f.oid = c.confrelid
WHERE c.contype = 'f' AND c.conrelid = to_regclass(:t) AND NOT a.attnotnull
"""
_SQLITE_REFERENCES = """
SELECT k."from", k."table" FROM pragma_foreign_key_list(:t) k
JOIN pragma_table_info(:t) c ON c.name = k."from" WHERE NOT c."notnull"
"""
_POSTGRESQL_REQUIRED = _POSTGRESQL_REFERENCES.replace("NOT a.attnotnull", "a.attnotnull")
_SQLITE_REQUIRED = _SQLITE_REFERENCES.replace('NOT c."notnull"', 'c."notnull"')

_THERE = "EXISTS (SELECT 1 FROM {table} t WHERE t.id = s.id)"
_NAMED = "EXISTS (SELECT 1 FROM {table} p WHERE p.id = s.{column})"
_FORETOLD_THERE = "EXISTS (SELECT 1 FROM {foretold} p WHERE p.id = s.{column})"

# The collection of a key points to its newest artifact, and was archived as it then was.
_NEWER = f"""
EXISTS (SELECT 1 FROM {LAID_DOWN} s JOIN artifact n ON n.id = s.latest_id
        WHERE s.id = artifact_collection.id AND s.latest_id <> artifact_collection.latest_id
          AND NOT EXISTS (SELECT 1 FROM artifact o WHERE o.id = artifact_collection.latest_id
                          AND (o.created, o.id) >= (n.created, n.id)))
"""


@dataclass(frozen=True)
class Reference:
    """A column that names a row of another table, or of its own."""

    column: str
    table: str


@dataclass(frozen=True)
class Change:
    """A statement that changes rows, and the one that counts them without a change."""

    change: str
    count: str


@dataclass(frozen=True)
class Statements:
    """What is carried out for one chunk of a table's rows.

    Attributes:
        prepare: makes the temporary tables, the first of them empty.
        left_out: counts rows that are not there, and whose parent is not there either.
        put: inserts the others.
        foretell: counts them in a check, and remembers them.
        turn: lets a row that repeats another one repeat what was archived.
        complete: fills columns of rows that are there, once what they name is there too.
        listed: the columns.
    """

    prepare: tuple[str, ...]
    left_out: str
    put: str
    foretell: str
    turn: Change
    complete: tuple[Change, ...]
    listed: str


def references(database: Database, table: str) -> list[Reference]:
    """Return the columns that may be empty and else must name a row that is there."""
    sql = _POSTGRESQL_REFERENCES if database.is_postgresql else _SQLITE_REFERENCES
    named = [Reference(*row) for row in database.rows(sql, t=table)]
    parents = {parent.column for parent in BY_NAME[table].parents if parent.enforced}
    return [one for one in named if one.column not in parents]


def statements(database: Database, table: str, columns: tuple[str, ...]) -> Statements:
    """Write the statements for rows of a table."""
    listed = ", ".join(f'"{name}"' for name in columns)
    empty = {one.column: one for one in references(database, table)}
    values = ", ".join(
        f"CASE WHEN {_NAMED.format(table=empty[name].table, column=name)} THEN s.{name} END"
        if name in empty
        else f's."{name}"'
        for name in columns
    )
    there = _THERE.format(table=table)
    real = _parents_there(database, table, foretold=False)
    foretold = _parents_there(database, table, foretold=True)
    own = _FORETOLD.format(table=table)
    tables = (table, *(parent.table for parent in BY_NAME[table].parents if parent.enforced))
    made = [_FORETOLD.format(table=name) for name in tables]
    foretelling = [
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} AS SELECT id FROM {of} WHERE 1 = 0"
        for name, of in zip(made, tables, strict=True)
    ]
    foretelling += [f"CREATE INDEX IF NOT EXISTS {name}_at ON {name} (id)" for name in made]
    return Statements(
        prepare=(
            f"DROP TABLE IF EXISTS {LAID_DOWN}",
            f"CREATE TEMPORARY TABLE {LAID_DOWN} AS SELECT {listed} FROM {table} WHERE 1 = 0",
            f"CREATE INDEX {LAID_DOWN}_at ON {LAID_DOWN} (id)",
            *foretelling,
        ),
        left_out=f"SELECT count(*) FROM {LAID_DOWN} s WHERE NOT {there} AND NOT ({foretold})",
        put=(
            f"INSERT INTO {table} ({listed}) SELECT {values} FROM {LAID_DOWN} s "
            f"WHERE {real} ON CONFLICT DO NOTHING"
        ),
        foretell=(
            f"INSERT INTO {own} SELECT DISTINCT s.id FROM {LAID_DOWN} s WHERE NOT {there} "
            f"AND ({foretold}) AND NOT EXISTS (SELECT 1 FROM {own} o WHERE o.id = s.id)"
        ),
        turn=Change(
            f"UPDATE {table} SET ({listed}) = (SELECT {listed} FROM {LAID_DOWN}) WHERE {_NEWER}",
            f"SELECT count(*) FROM {table} WHERE {_NEWER}",
        ),
        complete=tuple(_complete(table, one) for name, one in empty.items() if name in columns),
        listed=listed,
    )


def _complete(table: str, reference: Reference) -> Change:
    """Write what fills an empty column of rows that are there with what was archived."""
    column = reference.column
    named = _NAMED.format(table=reference.table, column=column)
    where = f"{column} IS NULL AND id IN (SELECT s.id FROM {LAID_DOWN} s WHERE {named})"
    value = f"SELECT s.{column} FROM {LAID_DOWN} s WHERE s.id = {table}.id LIMIT 1"
    return Change(
        f"UPDATE {table} SET {column} = ({value}) WHERE {where}",
        f"SELECT count(*) FROM {table} WHERE {where}",
    )


def _parents_there(database: Database, table: str, *, foretold: bool) -> str:
    """Row `s` names only rows that are there, or that a check would have put there."""
    sql = _POSTGRESQL_REQUIRED if database.is_postgresql else _SQLITE_REQUIRED
    needed = [Reference(*row) for row in database.rows(sql, t=table)]
    columns = {one.column for one in needed}
    needed += [
        Reference(parent.column, parent.table)
        for parent in BY_NAME[table].parents
        if parent.enforced and parent.column not in columns
    ]
    told = ["1 = 1"]
    for one in needed:
        there = _NAMED.format(table=one.table, column=one.column)
        if foretold and one.table in BY_NAME:
            put = _FORETOLD.format(table=one.table)
            there += f" OR {_FORETOLD_THERE.format(foretold=put, column=one.column)}"
        told.append(f"(s.{one.column} IS NULL OR {there})")
    return " AND ".join(told)
