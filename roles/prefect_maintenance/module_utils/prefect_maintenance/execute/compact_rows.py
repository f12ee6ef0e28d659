"""Move the rows at the end of a table to the free space before it, one chunk of pages at a time.

An update writes a row anew: on its own page while that has room, then on the first page that the
free space map names. So a chunk is updated again and again until none of its rows is left in it.
Meanwhile a second session keeps an old snapshot open: without it, PostgreSQL would clear the dead
versions off the pages between two updates, and the rows would move round and round in them.

The second session also locks the table against changes of its shape, and looks under that lock
whether somebody would notice the updates. Both end with the chunk; so does every row's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..database.connection import Database
from ..database.lock_attempts import ATTEMPT_MS, attempt_ms, hold, repeat
from ..database.set_for import NOT_ON_DISK, set_for
from ..errors import MaintenanceError
from ..events import Progress
from ..measure import compactable
from ..pace.pace import Pace

# More rows at a time are hardly faster, and are locked for longer. Pages with few rows are emptied
# together, because it takes as many statements to fill up the room of one as that of a hundred.
_ROWS, _PAGES = 500, 100
# A page has no room for more rows than this (MaxHeapTuplesPerPage), so a chunk is empty before.
_ROUNDS = 300
# Pages that are looked at for rows at a time.
_WINDOW = 2000

_ROWS_OF_PAGES = """
SELECT CAST((CAST(CAST(x.ctid AS text) AS point))[0] AS bigint) AS page, count(*)
FROM ONLY {table} x WHERE x.ctid >= CAST(:low AS tid) AND x.ctid < CAST(:high AS tid)
GROUP BY page ORDER BY page DESC
"""

# A row that somebody else has locked stays where it is.
_MOVE = """
WITH moved AS (
    UPDATE ONLY {table} SET {column} = {column} WHERE ctid = ANY (ARRAY(
        SELECT x.ctid FROM ONLY {table} x
        WHERE x.ctid >= CAST(:low AS tid) AND x.ctid < CAST(:high AS tid)
        FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING ctid
)
SELECT count(*), count(*) FILTER (WHERE ctid >= CAST(:low AS tid) AND ctid < CAST(:high AS tid)),
       count(*) FILTER (WHERE ctid >= CAST(:high AS tid))
FROM moved
"""

# Who waits to change the table's shape waits for the second session, and the first one for them:
# it gives way.
_SETTINGS = {**NOT_ON_DISK, "lock_timeout": f"{ATTEMPT_MS}ms"}


class NotCompacted(MaintenanceError):
    """The table cannot be compacted, or not now; where its rows lie is all that changed."""


@dataclass(frozen=True)
class Mover:
    """What moves the rows of one table.

    Attributes:
        database: moves them.
        guard: keeps the old snapshot meanwhile.
        column: whose updates touch no index and no key.
        lock_timeout: seconds in which the table's lock must be had.
        pace: asked between two chunks whether to go on.
    """

    database: Database
    guard: Database
    table: str
    column: str
    lock_timeout: float
    pace: Pace


@dataclass(frozen=True)
class Moved:
    """Rows that were moved, and whether the free space before the last of them was used up."""

    rows: int
    full: bool


def move(mover: Mover, pages: int, target: int) -> Moved:
    """Move the rows from the end of a table down to a page; ends where nothing is free below.

    Args:
        mover: of which table.
        pages: of the table.
        target: the first page whose rows are moved.

    Raises:
        NotCompacted: somebody would notice it by now.
        LockTimeout: somebody else has kept the table locked.
        Stopped: between two chunks.
    """
    rows = 0
    with set_for(mover.database, _SETTINGS):
        for low, high in _chunks(mover, pages, target):
            mover.pace(Progress(mover.table, pages - high, pages - target, "pages"))
            empty = partial(_emptied, mover, low, high)
            moved, above = repeat(mover.database, mover.table, mover.lock_timeout, empty)
            rows += moved
            if 2 * above > moved:
                return Moved(rows, full=True)
    return Moved(rows, full=False)


def _chunks(mover: Mover, pages: int, target: int) -> Iterator[tuple[int, int]]:
    """Yield the first page of each chunk that has rows and the one behind its last, end first."""
    for high in range(pages, target, -_WINDOW):
        low = max(target, high - _WINDOW)
        found = mover.database.rows(
            _ROWS_OF_PAGES.format(table=mover.table), low=f"({low},0)", high=f"({high},0)"
        )
        pieces: list[tuple[int, int, int]] = []
        for page, rows in found:
            if pieces and pieces[-1][2] + rows <= _ROWS and pieces[-1][1] - page <= _PAGES:
                pieces[-1] = (page, pieces[-1][1], pieces[-1][2] + rows)
            else:
                pieces.append((page, page + 1, rows))
        yield from ((first, end) for first, end, _ in pieces)


def _emptied(mover: Mover, low: int, high: int) -> tuple[int, int]:
    """Move what can be moved out of some pages; returns the rows, and how many went behind them."""
    table = mover.table
    asked = attempt_ms(mover.guard, table, mover.lock_timeout)
    with mover.guard.snapshot():
        hold(mover.guard, table, asked)
        if reasons := compactable.noticed(mover.guard, table):
            raise NotCompacted(f"{table} cannot be compacted any more: {', '.join(reasons)}")
        move_all = _MOVE.format(table=table, column=mover.column)
        bounds = {"low": f"({low},0)", "high": f"({high},0)"}
        moved = behind = 0
        for _ in range(_ROUNDS):
            rows, inside, above = mover.database.rows(move_all, **bounds)[0]
            moved, behind = moved + rows - inside, behind + above
            if not inside:
                break
        return moved, behind
