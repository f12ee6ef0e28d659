"""What keeps a table from being compacted, and the column whose updates move its rows.

An update that changes nothing writes the row anew, and that on an earlier page when its own has no
room. Nobody may notice: no trigger or rule of strangers fires, no subscriber hears of it, and no
key changes, so that foreign keys are neither checked nor cascaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..database.connection import Database

# Each names something that would notice an update, or hide a row from it. The columns that a
# trigger is for do not matter: it may be changed while we are at work.
_NOTICED = (
    # Bit 4 of tgtype is UPDATE.
    ("a trigger of its fires at updates",
     "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal "
     "AND tgenabled <> 'D' AND tgtype & 16 <> 0"),
    ("it has rules",
     "SELECT count(*) FROM pg_rewrite WHERE ev_class = to_regclass(:t)"),
    ("row security may hide rows of it",
     "SELECT count(*) WHERE row_security_active(CAST(to_regclass(:t) AS oid))"),
)  # fmt: skip
_REFUSALS = (
    *_NOTICED,
    ("it is no ordinary, permanent table",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) "
     "AND NOT (relkind = 'r' AND relpersistence = 'p' AND NOT relispartition)"),
    ("it is inherited, or inherits",
     "SELECT count(*) FROM pg_inherits WHERE to_regclass(:t) IN (inhrelid, inhparent)"),
    ("its rows are not stored in PostgreSQL's usual way",
     "SELECT count(*) FROM pg_class c JOIN pg_am m ON m.oid = c.relam "
     "WHERE c.oid = to_regclass(:t) AND m.amname <> 'heap'"),
    ("it is published, and subscribers would be sent every row",
     "SELECT count(*) FROM pg_publication_tables p JOIN pg_class c ON c.relname = p.tablename "
     "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname "
     "WHERE c.oid = to_regclass(:t)"),
    ("a logical replication slot decodes the changes of this database",
     "SELECT count(*) FROM pg_replication_slots "
     "WHERE slot_type = 'logical' AND database = current_database()"),
    ("an update computes a column of it anew",
     "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(:t) AND attgenerated = 's' "
     "AND NOT attisdropped"),
    ("its rows may not meet a constraint that is not validated",
     "SELECT count(*) FROM pg_constraint WHERE conrelid = to_regclass(:t) "
     "AND contype IN ('c', 'n') AND NOT convalidated"),
    ("the role in db_url does not own it",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) "
     "AND NOT pg_has_role(relowner, 'USAGE')"),
)  # fmt: skip

# In no index, neither as a column nor in what it computes or selects by, and in no key; `created`
# first, then what needs no bytes elsewhere.
_COLUMN = """
SELECT quote_ident(a.attname) FROM pg_attribute a
WHERE a.attrelid = to_regclass(:t) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' AND a.attidentity = ''
  AND has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
  AND NOT EXISTS (SELECT 1 FROM pg_index x WHERE x.indrelid = a.attrelid
                  AND (a.attnum = ANY (x.indkey) OR EXISTS (
                      SELECT 1 FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
                        AND d.refclassid = 'pg_class'::regclass
                        AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum)))
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k
                  WHERE (k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey)
                         AND k.contype IN ('p', 'u', 'f', 'x'))
                     OR (k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey)))
ORDER BY a.attname <> 'created', a.attlen < 0, a.attnum LIMIT 1
"""


def refusals(database: Database, table: str) -> tuple[str, ...]:
    """Return what keeps a table from being compacted, in words; nothing when it can be."""
    reasons = _found(database, table, _REFUSALS)
    if movable_by(database, table) is None:
        reasons += ("each of its columns is part of a key or of an index",)
    return reasons


def noticed(database: Database, table: str) -> tuple[str, ...]:
    """Return what would notice an update right now: those of the refusals that come quickly."""
    return _found(database, table, _NOTICED)


def _found(database: Database, table: str, asked: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    found = database.rows(f"SELECT {', '.join(f'({sql})' for _, sql in asked)}", t=table)[0]
    return tuple(why for (why, _), count in zip(asked, found, strict=True) if count)


def movable_by(database: Database, table: str) -> str | None:
    """Return the column, quoted, whose update touches no index and no key; None without one."""
    found = database.scalar(_COLUMN, t=table)
    return None if found is None else str(found)
