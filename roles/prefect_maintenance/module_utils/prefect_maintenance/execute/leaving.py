"""What leaves the database with objects: counted before they go, and when they went late."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..catalogue import FLOW_RUN, Table
from ..database.connection import Database
from ..plan.hanging import count_leaving
from ..plan.words import listed

_SURVIVORS = "SELECT CAST(x.id AS VARCHAR) FROM {table} x WHERE x.id IN {ids}"


def leaving(
    database: Database, table: Table, ids: Iterable[str], *, trailers: bool = True
) -> dict[str, int]:
    """Count by table what leaves the database with objects of a table."""
    row = database.rows(count_leaving(table, listed(ids), trailers=trailers))[0]
    return dict(row._asdict())


def survivors(database: Database, table: Table, ids: Collection[str]) -> set[str]:
    """Return which of some objects of a table are still there."""
    if not ids:
        return set()
    return {row[0] for row in database.rows(_SURVIVORS.format(table=table.name, ids=listed(ids)))}


@dataclass
class Unanswered:
    """Flow runs of calls that failed: the server may be about to delete them all the same.

    It does not notice that nobody waits for its answer any more.
    """

    _rows: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def add(self, database: Database, runs: Iterable[str]) -> None:
        """Note runs that a call has left, each with what would leave with it."""
        for run in runs:
            self._rows[run] = leaving(database, FLOW_RUN, [run])

    def took(self, runs: Iterable[str]) -> None:
        """Forget runs that are counted elsewhere."""
        for run in runs:
            self._rows.pop(run, None)

    def gone(self, database: Database) -> tuple[dict[str, int], list[str]]:
        """Return what left with those that are gone by now, by table, and which; each once."""
        left = survivors(database, FLOW_RUN, self._rows)
        runs = [run for run in self._rows if run not in left]
        rows: dict[str, int] = {}
        for run in runs:
            for table, count in self._rows.pop(run).items():
                rows[table] = rows.get(table, 0) + count
        return rows, runs
