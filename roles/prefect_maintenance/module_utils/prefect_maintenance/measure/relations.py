"""What a table is besides its rows: indexes, rights, options; and what keeps it from a swap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..database.connection import Database

_FOLLOWED = """
SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal
  AND tgenabled = 'A' AND tgname LIKE '%\\_\\_maintenance\\_follow%'
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
     "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal "
     "AND tgname NOT LIKE '%\\_\\_maintenance\\_follow%'"),
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
    ("a subscription writes to it",
     "SELECT count(*) FROM pg_subscription_rel WHERE srrelid = to_regclass(:t)"),
    ("it belongs to an extension, or is a table of a composite type",
     "SELECT (SELECT count(*) FROM pg_depend WHERE classid = 'pg_class'::regclass "
     "AND objid = to_regclass(:t) AND deptype = 'e') "
     "+ (SELECT count(*) FROM pg_class WHERE oid = to_regclass(:t) AND reloftype <> 0)"),
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
    # It remembers the table by its number and asks for it by its name, in attempts too short to
    # be seen: from before its first one on it holds this lock, made of its own number and ours.
    ("pg_repack is at work on it",
     "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 16185446 "
     "AND objid::bigint = (to_regclass(:t)::oid::bigint + 2147483648) % 4294967296 "
     "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"),
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

_ALL_REFUSALS = f"SELECT {', '.join(f'({sql})' for _, sql in _REFUSALS)}"

# What is no part of the table itself and would stay with the old one: functions with a body that
# was parsed (BEGIN ATOMIC), policies of other tables, and whatever a newer PostgreSQL brings.
# Views, rules, triggers and foreign keys have words of their own above.
_DEPENDENTS = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:t)
  AND d.classid NOT IN ('pg_attrdef'::regclass, 'pg_type'::regclass, 'pg_trigger'::regclass,
      'pg_rewrite'::regclass, 'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass)
  AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
      SELECT 1 FROM pg_class i WHERE i.oid = d.objid AND i.relkind IN ('i', 't', 'S')))
  AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (
      SELECT 1 FROM pg_constraint k WHERE k.oid = d.objid
      AND (k.conrelid = to_regclass(:t) OR k.contype = 'f')))
  AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (
      SELECT 1 FROM pg_policy p WHERE p.oid = d.objid AND p.polrelid = to_regclass(:t)))
"""

# The head of a definition is the part that names index and table.
_INDEXES = """
SELECT i.relname, x.indisprimary,
       'CREATE ' || CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END
           || format('INDEX %I ON %I.%I USING', i.relname, n.nspname, t.relname),
       pg_get_indexdef(i.oid), i.oid, obj_description(i.oid, 'pg_class'),
       (SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = i.oid AND COALESCE(a.attstattarget, -1) <> -1),
       k.contype, s.spcname
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.conrelid = x.indrelid
LEFT JOIN pg_tablespace s ON s.oid = i.reltablespace
WHERE x.indrelid = to_regclass(:t) ORDER BY x.indisprimary DESC, i.relname
"""

# The settings of a column that PostgreSQL's manual knows (ALTER TABLE, attribute_option); builds
# of some vendors keep numbers of their own beside them, different for every table.
_SETTINGS = """
(SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%')
"""

_GRANTEES = """
SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
       ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(:t)
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
    """An index of the table, and how to make its like on the copy.

    Attributes:
        name: quoted.
        primary: whether it is the primary key's.
        unique: whether it is unique.
        method: the definition from the access method on.
        oid: its number, from which the names beside it are made.
        comment: what was said of it, quoted.
    """

    name: str
    primary: bool
    unique: bool
    method: str
    oid: int
    comment: str | None

    @property
    def temporary(self) -> str:
        """The name on the copy until the swap."""
        return f"maintenance_new_{self.oid}"

    @property
    def beside(self) -> str:
        """The name on the old table after the swap."""
        return f"maintenance_old_{self.oid}"

    def on(self, table: str) -> str:
        """Return the statement that makes the index on another table."""
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX {self.temporary} ON {table} USING{self.method}"


def refusals(database: Database, table: str) -> list[str]:
    """Return what keeps the table from being swapped, in words."""
    # All in one statement: under the lock of a swap every round trip counts.
    found = database.rows(_ALL_REFUSALS, t=table)[0]
    reasons = [why for (why, _), count in zip(_REFUSALS, found, strict=True) if count]
    for name, primary, head, definition, _, _, targets, kind, space in _indexes(database, table):
        # Only the primary key belongs to a constraint; others would lose theirs.
        own = targets or space or (kind is not None and not primary)
        if own or not definition.startswith(head):
            reasons.append(f"its index {name} has properties of its own")
    reasons += (f"{row[0]} depends on it" for row in database.rows(_DEPENDENTS, t=table))
    return reasons


def indexes(database: Database, table: str) -> list[Index]:
    """Return the indexes of a table, the primary key first."""
    return [
        Index(
            name=_identifier(name),
            primary=primary,
            unique=head.startswith("CREATE UNIQUE"),
            method=definition.removeprefix(head),
            oid=oid,
            comment=None if comment is None else _literal(comment),
        )
        for name, primary, head, definition, oid, comment, *_ in _indexes(database, table)
    ]


def schema_of(database: Database, table: str) -> str:
    """Return the schema in which a table is found, quoted."""
    return str(
        database.scalar(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = "
            "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:t))",
            t=table,
        )
    )


def files(database: Database, table: str) -> int:
    """Return the number of the file that holds a table's rows; another means others moved them."""
    return int(database.scalar("SELECT pg_relation_filenode(to_regclass(:t))", t=table))


def followed(database: Database, table: str) -> int:
    """Count the triggers that follow changes in every session, whatever its replication role."""
    return int(database.scalar(_FOLLOWED, t=table))


def copy_attributes(database: Database, table: str, copy: str) -> list[str]:
    """Return the statements that give the copy what LIKE does not: owner, rights, options.

    The copy is there already.
    """
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
        statements.append(f"COMMENT ON TABLE {copy} IS {_literal(comment)}")
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
    # Default privileges may have given the copy more than the table has.
    given = {row[0] for row in database.rows(_GRANTEES, t=copy)}
    if granted or given:
        statements += (f"REVOKE ALL ON {copy} FROM {grantee}" for grantee in {owner, *given})
        if not granted:
            statements.append(f"GRANT ALL ON {copy} TO {owner}")
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
    definitions = (
        f"{head.startswith('CREATE UNIQUE')}{definition.removeprefix(head)}{comment}"
        for _, _, head, definition, _, comment, *_ in _indexes(database, table)
    )
    return {**found, "indexes": "; ".join(sorted(definitions))}


def _indexes(database: Database, table: str) -> list[Any]:
    return database.rows(_INDEXES, t=table)


def _identifier(name: str) -> str:
    """Quote a name from the catalogs (PostgreSQL manual, Identifiers and Key Words)."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """Quote a text, whatever standard_conforming_strings says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
