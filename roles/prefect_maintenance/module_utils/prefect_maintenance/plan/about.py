"""About how many rows of a large table go by their age, where that is enough to begin.

What a rewrite removes it counts itself. So a real run need not read every row that goes before
it begins: some pages tell that most rows go, and about how many.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue import Table
from ..database.connection import Database
from ..request.policy import Cutoffs
from .rules import Rules

# A smaller table is counted in a moment.
_LARGE = 64 * 2**20
# So many pages tell the rows to a few percent, however large the table is.
_PAGES, _PAGE = 1000, 8192
# What is far from where deletes take less than a rewrite, so that a few percent decide nothing.
_MOST = 0.75

_HEAP = "SELECT pg_relation_size(to_regclass(:t))"
_SAMPLE = """
SELECT count(*) FILTER (WHERE {goes}), count(*)
FROM {table} x TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)
"""


@dataclass(frozen=True)
class About:
    """About how many rows of a table are old enough to go, and how many are not."""

    old: int
    young: int


def about(database: Database, rules: Rules, table: Table, cutoffs: Cutoffs) -> About | None:
    """Estimate from a sample how many rows go by their age; None where they are to be counted.

    Args:
        database: where.
        rules: the policy as SQL; each that dates the rows of the table says what it makes go.
        table: it is purged by age.
        cutoffs: the instants to count from.
    """
    dated = rules.dated_by(table)
    heap = database.scalar(_HEAP, t=table.name) if database.is_postgresql and not dated else 0
    if heap < _LARGE:
        return None
    percent = min(100.0, 100.0 * _PAGES * _PAGE / heap)
    sql = _SAMPLE.format(goes=dated.goes("x"), table=table.name)
    values = {**rules.values(table, cutoffs), "percent": percent}
    old, seen = database.rows(sql, **values)[0]
    if not seen or old < _MOST * seen:
        return None
    return About(*(round(rows * 100 / percent) for rows in (old, seen - old)))
