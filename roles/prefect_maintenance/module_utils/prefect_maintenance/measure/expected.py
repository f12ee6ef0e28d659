"""How many rows the planner expects, which takes it no look at any of them."""

from __future__ import annotations

from typing import Any

from ..database.connection import Database

_EXPLAIN = "EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} x WHERE {where}"


def expected_rows(database: Database, table: str, where: str = "TRUE", **values: Any) -> float:
    """Return how many rows `x` of a table fulfil a condition on PostgreSQL, one at least."""
    told = database.scalar(_EXPLAIN.format(table=table, where=where), **values)
    return max(1.0, float(told[0]["Plan"]["Plan Rows"]))
