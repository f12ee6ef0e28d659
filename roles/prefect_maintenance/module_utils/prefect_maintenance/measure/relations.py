"""What a table is besides its rows: indexes, rights, options; the shape that a swap must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..database.connection import Database

_FOLLOWED = """
SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal
  AND tgenabled = 'A' AND tgname LIKE '%\\_\\_maintenance\\_follow%'
"""

_SCHEMA = """
SELECT quote_ident(nspname) FROM pg_namespace
WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:t))
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

_ATTRIBUTES = """
SELECT quote_ident(pg_get_userbyid(c.relowner)), array_to_string(c.reloptions, ', '),
       (SELECT string_agg('toast.' || o, ', ') FROM pg_class t, unnest(t.reloptions) o
        WHERE t.oid = c.reltoastrelid),
       obj_description(c.oid, 'pg_class'),
       (SELECT quote_ident(t.spcname) FROM pg_tablespace t WHERE t.oid = c.reltablespace)
FROM pg_class c WHERE c.oid = to_regclass(:t)
"""

_TARGETS = """
SELECT quote_ident(attname), attstattarget FROM pg_attribute
WHERE attrelid = to_regclass(:t) AND attnum > 0 AND attstattarget >= 0
"""

_COLUMN_SETTINGS = f"""
SELECT quote_ident(attname), {_SETTINGS} FROM pg_attribute a
WHERE attrelid = to_regclass(:t) AND attnum > 0 AND {_SETTINGS} IS NOT NULL
"""

_RIGHTS = """
SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
       a.privilege_type, a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(:t)
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
        for name, primary, head, definition, oid, comment, *_ in index_rows(database, table)
    ]


def schema_of(database: Database, table: str) -> str:
    """Return the schema in which a table is found, quoted."""
    return str(database.scalar(_SCHEMA, t=table))


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
    owner, options, toast, comment, space = database.rows(_ATTRIBUTES, t=table)[0]
    statements = [f"ALTER TABLE {copy} OWNER TO {owner}"]
    if space:
        statements.append(f"ALTER TABLE {copy} SET TABLESPACE {space}")
    if options:
        statements.append(f"ALTER TABLE {copy} SET ({options})")
    if comment:
        statements.append(f"COMMENT ON TABLE {copy} IS {_literal(comment)}")
    if toast:
        statements.append(f"ALTER TABLE {copy} SET ({toast})")
    for column, target in database.rows(_TARGETS, t=table):
        statements.append(f"ALTER TABLE {copy} ALTER COLUMN {column} SET STATISTICS {target}")
    for column, settings in database.rows(_COLUMN_SETTINGS, t=table):
        statements.append(f"ALTER TABLE {copy} ALTER COLUMN {column} SET ({settings})")
    return [*statements, *_copy_rights(database, table, copy, owner)]


def _copy_rights(database: Database, table: str, copy: str, owner: str) -> list[str]:
    granted = database.rows(_RIGHTS, t=table)
    # Default privileges may have given the copy more than the table has.
    given = {row[0] for row in database.rows(_GRANTEES, t=copy)}
    statements: list[str] = []
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
        for _, _, head, definition, _, comment, *_ in index_rows(database, table)
    )
    return {**found, "indexes": "; ".join(sorted(definitions))}


def index_rows(database: Database, table: str) -> list[Any]:
    """Return what PostgreSQL's catalogs say of a table's indexes, the primary key's first."""
    # A definition is asked of the catalogs as they are now: who replaced an index meanwhile has
    # left none of the old one, and one that is missing changes the table's shape.
    return [row for row in database.rows(_INDEXES, t=table) if row[3] is not None]


def _identifier(name: str) -> str:
    """Quote a name from the catalogs (PostgreSQL manual, Identifiers and Key Words)."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """Quote a text, whatever standard_conforming_strings says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
