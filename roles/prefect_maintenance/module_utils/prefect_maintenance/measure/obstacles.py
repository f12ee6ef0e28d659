"""What keeps a table from a swap, and what of the replicas makes a rewrite unwise."""

from __future__ import annotations

from ..database.connection import Database
from .relations import index_rows

# Bytes of WAL by which a standby may be behind when a rewrite begins.
LAG = 256 * 2**20

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


def refusals(database: Database, table: str) -> list[str]:
    """Return what keeps the table from being swapped, in words."""
    # All in one statement: under the lock of a swap every round trip counts.
    found = database.rows(_ALL_REFUSALS, t=table)[0]
    reasons = [why for (why, _), count in zip(_REFUSALS, found, strict=True) if count]
    for name, primary, head, definition, _, _, targets, kind, space in index_rows(database, table):
        # Only the primary key belongs to a constraint; others would lose theirs.
        own = targets or space or (kind is not None and not primary)
        if own or not definition.startswith(head):
            reasons.append(f"its index {name} has properties of its own")
    reasons += (f"{row[0]} depends on it" for row in database.rows(_DEPENDENTS, t=table))
    return reasons


def obstacles(database: Database, table: str, kept_bytes: int) -> tuple[str, ...]:
    """Say what keeps a table from being rewritten, its disk apart; nothing when it can be.

    Args:
        database: on PostgreSQL.
        table: its name.
        kept_bytes: about so large will the copy be.
    """
    reasons = [*refusals(database, table)]
    reasons += (row[0] for row in database.rows(REPLICAS, wal=2 * kept_bytes, lag=LAG))
    return tuple(reasons)
