"""What the report knows of a table as its size is noted again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from prefect_maintenance.measure.sizes import TableSize
from prefect_maintenance.report.tables import TableReport

SIZE = TableSize(
    name="log",
    rows=10,
    rows_method="exact",
    heap_bytes=8192,
    toast_bytes=0,
    index_bytes=8192,
    bytes=16384,
    dead=0,
    bloat_bytes=0,
    bloat_method="exact",
    oldest=datetime(2026, 6, 1, tzinfo=UTC),
)


def test_the_oldest_row_stays_known_where_it_was_not_looked_for() -> None:
    before = TableReport("log").measured("before", SIZE)
    assert before.oldest_after == "2026-06-01T00:00:00Z"
    between = before.measured("after_delete", replace(SIZE, rows=5, oldest=None, ages=False))
    assert (between.rows_after_delete, between.oldest_after) == (5, before.oldest_after)
    assert between.measured("after", replace(SIZE, rows=0, oldest=None)).oldest_after is None
