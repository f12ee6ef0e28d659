"""The bytes of a heap that its live rows do not need."""

from __future__ import annotations

from ..database.connection import Database
from ..errors import PrivilegeError

_HAS_PGSTATTUPLE = "SELECT count(*) FROM pg_extension WHERE extname = 'pgstattuple'"

# Percent of a page that a rewrite fills; what it leaves for updates is no bloat.
_FILL = """
(SELECT COALESCE(max(o.option_value::int), 100) FROM pg_class c, pg_options_to_table(c.reloptions) o
 WHERE c.oid = to_regclass(:t) AND o.option_name = 'fillfactor')
"""

_PGSTATTUPLE = f"""
SELECT GREATEST(0, approx_free_space + dead_tuple_len - table_len * (100 - {_FILL}) / 100)
FROM pgstattuple_approx(to_regclass(:t))
"""

# The width of a row as the heap stores it: 23 bytes of header and the null bitmap, the columns
# with their alignment, 4 bytes of line pointer (PostgreSQL manual, Database Page Layout).
# Short variable-length values (below 127 bytes) are not aligned.
_HEAP_ESTIMATE = f"""
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


def free_in_heap(database: Database, name: str, rows: int) -> tuple[int, str]:
    """Return the bytes of the heap that its live rows do not need, and how that was found."""
    if database.scalar(_HAS_PGSTATTUPLE):
        try:
            with database.snapshot():
                free = database.scalar(_PGSTATTUPLE, t=name)
            return int(free), "pgstattuple_approx for the heap; its share taken for indexes, TOAST"
        except PrivilegeError:
            pass  # the estimate below says of itself that it is one
    heap, width, page, filled = database.rows(_HEAP_ESTIMATE, t=name)[0]
    if width is None:
        return 0, "unknown, because the table was never analysed; run ANALYZE and look again"
    needed = -(-rows * int(width) // ((page - 24) * filled // 100)) * page
    return max(0, heap - needed), "estimate from planner statistics, indexes and TOAST alike"
