"""The SQL that measures: columns, sizes, dead tuples, bloat, growth."""

from __future__ import annotations

POSTGRESQL_COLUMNS = """
SELECT c.relname, a.attname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN ('r', 'p')
"""

# Also of tables that nobody but their maker can see yet.
SCHEMA_CHANGES = """
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.granted
  AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
"""

SQLITE_COLUMNS = """
SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'
"""

STATE_TYPES = """
SELECT e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
WHERE t.typname = 'state_type' AND t.typnamespace = to_regnamespace(quote_ident(current_schema()))
"""

SQLITE_STATE_TYPES = "SELECT DISTINCT state_type FROM flow_run"

FORCED = """
SELECT DISTINCT c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'f' AND k.convalidated AND k.confdeltype = 'c'
  AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))
"""

POSTGRESQL_TABLE = """
SELECT pg_table_size(c.oid) - COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0),
       COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0),
       pg_indexes_size(c.oid),
       GREATEST(c.reltuples, 0),
       pg_stat_get_dead_tuples(c.oid)
FROM pg_class c WHERE c.oid = to_regclass(:t)
"""

# Percent of a page that a rewrite fills; what it leaves for updates is no bloat.
_FILL = """
(SELECT COALESCE(max(o.option_value::int), 100) FROM pg_class c, pg_options_to_table(c.reloptions) o
 WHERE c.oid = to_regclass(:t) AND o.option_name = 'fillfactor')
"""

PGSTATTUPLE = f"""
SELECT GREATEST(0, approx_free_space + dead_tuple_len - table_len * (100 - {_FILL}) / 100)
FROM pgstattuple_approx(to_regclass(:t))
"""

ANALYSED = "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema() AND tablename = :t"

CORRELATION = """
SELECT correlation FROM pg_stats
WHERE schemaname = current_schema() AND tablename = :t AND attname = :c AND NOT inherited
"""

# The width of a row as the heap stores it: 23 bytes of header and the null bitmap, the columns
# with their alignment, 4 bytes of line pointer (PostgreSQL manual, Database Page Layout).
# Short variable-length values (below 127 bytes) are not aligned.
HEAP_ESTIMATE = f"""
WITH RECURSIVE col AS (
    SELECT row_number() OVER (ORDER BY a.attnum) AS n,
           count(*) OVER () AS columns,
           s.avg_width, s.null_frac,
           CASE WHEN a.attlen < 0 AND s.avg_width < 127 THEN 1
                ELSE CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END
           END AS align
    FROM pg_attribute a
    LEFT JOIN pg_stats s ON s.schemaname = current_schema() AND s.tablename = :t
                        AND s.attname = a.attname AND NOT s.inherited
    WHERE a.attrelid = to_regclass(:t) AND a.attnum > 0 AND NOT a.attisdropped
),
laid(n, width) AS (
    SELECT CAST(0 AS bigint), CAST(0 AS double precision)
    UNION ALL
    SELECT col.n, CASE WHEN col.avg_width IS NULL THEN NULL
        ELSE laid.width * col.null_frac
             + (ceil(laid.width / col.align) * col.align + col.avg_width) * (1 - col.null_frac) END
    FROM laid JOIN col ON col.n = laid.n + 1
)
SELECT pg_relation_size(to_regclass(:t)),
       (SELECT ceil((24 + ceil((max(columns) / 8.0 - 1) / 8.0) * 8 + laid.width) / 8.0) * 8 + 4
        FROM col),
       current_setting('block_size')::int,
       {_FILL}
FROM laid ORDER BY n DESC LIMIT 1
"""

SQLITE_DBSTAT = "SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name"

SQLITE_INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = :t"

GROWTH = """
WITH recent AS (
    SELECT r.id, r.flow_id, r.deployment_id FROM flow_run r WHERE r.created >= :since
),
task AS (SELECT t.flow_run_id, count(*) AS n FROM task_run t
         JOIN recent r ON r.id = t.flow_run_id GROUP BY t.flow_run_id),
line AS (SELECT l.flow_run_id, count(*) AS n FROM log l
         JOIN recent r ON r.id = l.flow_run_id GROUP BY l.flow_run_id)
SELECT f.name, d.name, count(*), CAST(COALESCE(sum(task.n), 0) AS bigint),
       CAST(COALESCE(sum(line.n), 0) AS bigint)
FROM recent r
JOIN flow f ON f.id = r.flow_id
LEFT JOIN deployment d ON d.id = r.deployment_id
LEFT JOIN task ON task.flow_run_id = r.id
LEFT JOIN line ON line.flow_run_id = r.id
GROUP BY f.name, d.name
ORDER BY 5 DESC, 3 DESC
LIMIT :limit
"""
