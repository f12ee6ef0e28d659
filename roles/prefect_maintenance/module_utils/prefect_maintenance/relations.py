"""What a table is besides its rows: indexes, rights, options; and what keeps it from a swap."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .connection import Database

FOLLOWED = """
SELECT count(*) FROM pg_trigger
WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal
  AND tgname LIKE '%\\_\\_maintenance\\_follow%'
"""

LEFT_OVER = """
SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE :pattern)
     + (SELECT count(*) FROM pg_proc WHERE proname LIKE :pattern)
"""

# A transaction that keeps one snapshot throughout may come to the table after the swap and would
# see none of the copy's rows. One that is idle and has a snapshot is such a one. One that is at
# work may be: it is not when its snapshot is younger than the copy, or when it is a single
# statement, which has locked its tables before it took the snapshot.
OLD_SNAPSHOT = """
SELECT COALESCE(NULLIF(application_name, ''), 'a session') || ' as ' || usename || ', pid ' || pid
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND backend_type = 'client backend' AND backend_xmin IS NOT NULL
  AND (state LIKE 'idle in transaction%'
       OR (state = 'active' AND xact_start < query_start
           AND age(backend_xmin) > age(CAST(CAST(:copied AS text) AS xid))))
LIMIT 1
"""

# Logical decoding would lose sight of the table; a slot may be dropped by the server when more is
# written than it may hold back (max_slot_wal_keep_size), and one that nobody reads holds back all
# that a rewrite writes; a standby that is behind already would only fall further. Slots can be
# seen by everybody; of standbys a role without pg_read_all_stats sees only that they are there.
REPLICAS = """
SELECT 'replication slot ' || slot_name || ' decodes the changes of this database'
FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
UNION ALL
SELECT 'replication slot ' || slot_name || ' can bear only '
       || pg_size_pretty(safe_wal_size) || ' more WAL'
FROM pg_replication_slots WHERE safe_wal_size < :wal
UNION ALL
SELECT 'replication slot ' || slot_name || ' is read by nobody and holds back '
       || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) || ' of WAL'
FROM pg_replication_slots
WHERE NOT active AND pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > :lag
UNION ALL
SELECT 'standby ' || COALESCE(NULLIF(application_name, ''), host(client_addr)) || ' is '
       || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) || ' behind'
FROM pg_stat_replication
WHERE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > :lag
UNION ALL
SELECT 'how far the standby of pid ' || pid || ' is behind is hidden from the role in db_url; '
       || 'as a superuser: GRANT pg_read_all_stats TO ' || quote_ident(current_user)
FROM pg_stat_replication WHERE state IS NULL
"""

_HOLDERS = """
SELECT DISTINCT COALESCE(NULLIF(a.application_name, ''), 'a session') || ' as ' || a.usename
       || ' since ' || to_char(a.xact_start, 'HH24:MI:SS')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass(:t) AND l.granted AND l.pid <> pg_backend_pid()
"""

# Each names something that a swap would lose or break.
_REFUSALS = (
    ("it is partitioned or inherited",
     "SELECT count(*) FROM pg_inherits WHERE to_regclass(:t) IN (inhrelid, inhparent)"),
    ("it is no ordinary, permanent table",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) "
     "AND NOT (relkind = 'r' AND relpersistence = 'p' AND NOT relispartition)"),
    ("a foreign key leads to or from it",
     "SELECT count(*) FROM pg_constraint WHERE contype = 'f' "
     "AND to_regclass(:t) IN (conrelid, confrelid)"),
    ("it has triggers",
     "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal"),
    ("it has rules, or a view stands on it",
     "SELECT count(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
     "WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
     "AND d.refobjid = to_regclass(:t)"),
    ("it has row security",
     "SELECT count(*) FROM pg_class c WHERE c.oid = to_regclass(:t) AND (c.relrowsecurity "
     "OR EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid))"),
    ("it is published",
     "SELECT (SELECT count(*) FROM pg_publication WHERE puballtables) "
     "+ (SELECT count(*) FROM pg_publication_rel WHERE prrelid = to_regclass(:t))"),
    ("it has a replica identity of its own",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) AND relreplident <> 'd'"),
    ("it has extended statistics",
     "SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = to_regclass(:t)"),
    ("it has a security label",
     "SELECT count(*) FROM pg_seclabel WHERE objoid = to_regclass(:t)"),
    ("it has rights on single columns",
     "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(:t) AND attacl IS NOT NULL"),
    ("a column owns a sequence",
     "SELECT count(*) FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
     "WHERE d.refobjid = to_regclass(:t) AND d.deptype IN ('a', 'i')"),
    ("it is clustered on an index, or an index is not valid",
     "SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(:t) "
     "AND (indisclustered OR NOT indisvalid OR indisreplident)"),
    ("a function or type depends on its row type",
     "SELECT count(*) FROM pg_class c JOIN pg_depend d ON d.refobjid = c.reltype "
     "WHERE c.oid = to_regclass(:t) AND d.deptype = 'n'"),
    ("it has no primary key on a uuid column id",
     "SELECT 1 - count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
     "AND a.attnum = i.indkey[0] WHERE i.indrelid = to_regclass(:t) AND i.indisprimary "
     "AND i.indnkeyatts = 1 AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype"),
    ("the role in db_url does not own it",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) "
     "AND NOT pg_has_role(relowner, 'USAGE')"),
    ("the role in db_url, or the owner, lacks CREATE on the schema",
     "SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) AND NOT ("
     "has_schema_privilege(relnamespace, 'CREATE') "
     "AND has_schema_privilege(relowner, relnamespace, 'CREATE'))"),
)  # fmt: skip

_INDEXES = """
SELECT i.relname, x.indisprimary, pg_get_indexdef(i.oid), obj_description(i.oid, 'pg_class'),
       (SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = i.oid AND COALESCE(a.attstattarget, -1) <> -1),
       k.contype, t.spcname
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = i.oid
LEFT JOIN pg_tablespace t ON t.oid = i.reltablespace
WHERE x.indrelid = to_regclass(:t) ORDER BY x.indisprimary DESC, i.relname
"""

# The settings of a column that PostgreSQL's manual knows (ALTER TABLE, attribute_option); builds
# of some vendors keep numbers of their own beside them, different for every table.
_SETTINGS = """
(SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%')
"""

# Everything of the table itself, without its name, as text that can be compared.
_SHAPE = f"""
SELECT
  (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
          attstorage, attcompression, attcollation, COALESCE(attstattarget, -1),
          {_SETTINGS},
          pg_get_expr(d.adbin, d.adrelid), attidentity, attgenerated,
          col_description(a.attrelid, a.attnum)), '; ' ORDER BY attnum)
   FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
  (SELECT string_agg(concat_ws(' ', contype, CASE WHEN contype = 'p' THEN '' ELSE conname END,
          pg_get_constraintdef(k.oid)), '; ' ORDER BY contype, pg_get_constraintdef(k.oid))
   FROM pg_constraint k WHERE k.conrelid = c.oid AND contype <> 't') AS constraints,
  pg_get_userbyid(c.relowner) AS owner,
  (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(COALESCE(c.relacl,
          acldefault('r', c.relowner))) a) AS rights,
  (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(c.reloptions) o) AS options,
  (SELECT string_agg(o, ',' ORDER BY o) FROM pg_class t, unnest(t.reloptions) o
   WHERE t.oid = c.reltoastrelid) AS toast_options,
  c.reltablespace::text AS tablespace,
  c.relam::text AS access_method,
  obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c WHERE c.oid = to_regclass(:t)
"""


@dataclass(frozen=True)
class Index:
    """An index of the table, and how to make its like on the copy."""

    name: str
    primary: bool
    definition: str
    likeness: tuple[str, ...]

    @property
    def temporary(self) -> str:
        """The name until the swap."""
        return f"n__{self.name}"[:63]

    def on(self, table: str) -> str:
        """Return the statement that makes the index on another table."""
        return _HEAD.sub(
            lambda m: f"CREATE {m['unique'] or ''}INDEX {self.temporary} ON {table} USING",
            self.definition,
            count=1,
        )


_HEAD = re.compile(r"^CREATE (?P<unique>UNIQUE )?INDEX \S+ ON \S+ USING")


def refusals(database: Database, table: str) -> list[str]:
    """Return what keeps the table from being swapped, in words."""
    reasons = [why for why, sql in _REFUSALS if database.scalar(sql, t=table)]
    for name, primary, definition, _, targets, kind, space in database.rows(_INDEXES, t=table):
        plain = re.fullmatch(r"[a-z_][a-z0-9_]{0,59}", name) and _HEAD.match(definition)
        # Only the primary key belongs to a constraint; others would lose theirs.
        if not plain or targets or space or (kind is not None and not primary):
            reasons.append(f"its index {name} has properties of its own")
    return reasons


def indexes(database: Database, table: str) -> list[Index]:
    """Return the indexes of a table, the primary key first."""
    found = []
    for name, primary, definition, comment, *_ in database.rows(_INDEXES, t=table):
        index = Index(name, primary, definition, ())
        if comment:
            said = comment.replace("'", "''")
            told = (f"COMMENT ON INDEX {index.temporary} IS E'{_escaped(said)}'",)
            index = Index(name, primary, definition, told)
        found.append(index)
    return found


def likeness(database: Database, table: str, copy: str) -> list[str]:
    """Return the statements that give the copy what LIKE does not: owner, rights, options."""
    owner, options, comment, space = database.rows(
        "SELECT quote_ident(pg_get_userbyid(relowner)), array_to_string(reloptions, ', '), "
        "obj_description(oid, 'pg_class'), (SELECT quote_ident(spcname) FROM pg_tablespace t "
        "WHERE t.oid = reltablespace) FROM pg_class WHERE oid = to_regclass(:t)",
        t=table,
    )[0]
    statements = [f"ALTER TABLE {copy} OWNER TO {owner}"]
    if space:
        statements.append(f"ALTER TABLE {copy} SET TABLESPACE {space}")
    if options:
        statements.append(f"ALTER TABLE {copy} SET ({options})")
    if comment:
        said = _escaped(comment.replace("'", "''"))
        statements.append(f"COMMENT ON TABLE {copy} IS E'{said}'")
    toast = database.scalar(
        "SELECT string_agg('toast.' || o, ', ') FROM pg_class c JOIN pg_class t "
        "ON t.oid = c.reltoastrelid, unnest(t.reloptions) o WHERE c.oid = to_regclass(:t)",
        t=table,
    )
    if toast:
        statements.append(f"ALTER TABLE {copy} SET ({toast})")
    for column, target in database.rows(
        "SELECT quote_ident(attname), attstattarget FROM pg_attribute "
        "WHERE attrelid = to_regclass(:t) AND attnum > 0 AND attstattarget >= 0",
        t=table,
    ):
        statements.append(f"ALTER TABLE {copy} ALTER COLUMN {column} SET STATISTICS {target}")
    for column, settings in database.rows(
        f"SELECT quote_ident(attname), {_SETTINGS} FROM pg_attribute a "
        f"WHERE attrelid = to_regclass(:t) AND attnum > 0 AND {_SETTINGS} IS NOT NULL",
        t=table,
    ):
        statements.append(f"ALTER TABLE {copy} ALTER COLUMN {column} SET ({settings})")
    granted = database.rows(
        "SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) "
        "END, a.privilege_type, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE c.oid = to_regclass(:t)",
        t=table,
    )
    if granted:
        statements.append(f"REVOKE ALL ON {copy} FROM {owner}")
    for grantee, right, grantable in granted:
        option = " WITH GRANT OPTION" if grantable else ""
        statements.append(f"GRANT {right} ON {copy} TO {grantee}{option}")
    return statements


def shape(database: Database, table: str) -> dict[str, str]:
    """Return everything about a table that must be the same after a swap, as texts by name.

    Nothing when there is no such table.
    """
    names = ("columns", "constraints", "owner", "rights", "options", "toast options",
             "tablespace", "access method", "comment")  # fmt: skip
    there = database.rows(_SHAPE, t=table)
    if not there:
        return {}
    found = {name: str(value) for name, value in zip(names, there[0], strict=True)}
    definitions = (_HEAD.sub("", row[2]) + str(row[3]) for row in database.rows(_INDEXES, t=table))
    return {**found, "indexes": "; ".join(sorted(definitions))}


def holders(database: Database, table: str) -> str:
    """Name the sessions that hold a lock on a table."""
    found = [row[0] for row in database.rows(_HOLDERS, t=table)]
    return "held by " + ", ".join(found) if found else "the holder has gone just now"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\x3a")
