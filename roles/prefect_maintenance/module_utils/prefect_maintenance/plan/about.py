"""About how many rows of a large table go by their age, where that is enough to begin.

What a rewrite removes it counts itself. So a real run need not read every row that goes before
it begins: some pages tell that most rows go, and about how many.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue import Table
from ..database.connection import Database
from ..measure.growth import pages_of, share_of
from ..request.policy import Cutoffs
from .rules import Rules

# A smaller table is counted in a moment.
_LARGE = 64 * 2**20
# So many pages tell the rows to a few percent, however large the table is.
_PAGES = 1000
# What is far from where deletes take less than a rewrite, so that a few percent decide nothing.
_MOST = 0.75

_HEAP = "SELECT pg_relation_size(to_regclass(:t))"
SHARE = "SELECT count(*) FILTER (WHERE {goes}), count(*) FROM {sample}"


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
    sample = pages_of(table.name, heap, "x", _PAGES)
    sql = SHARE.format(goes=dated.goes("x"), sample=sample)
    old, seen = database.rows(sql, **rules.values(table, cutoffs))[0]
    if not seen or old < _MOST * seen:
        return None
    return About(*(round(rows / share_of(heap, _PAGES)) for rows in (old, seen - old)))
