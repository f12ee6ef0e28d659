"""One rewrite: what is to be done, and the sessions that are at work for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..database.connection import Database, connect
from ..database.table_guard import Guard
from ..errors import MaintenanceError
from ..events import Progress
from ..measure import obstacles
from ..measure.leftovers import Names
from ..pace.pace import Pace
from ..plan.holds import Holds

# Flow runs whose rows stay: as they were before the lock, and those that came under it.
LIVE, REVIVED = "prefect_maintenance_live", "prefect_maintenance_revived"


@dataclass(frozen=True)
class Grown:
    """By how many rows the copy grew, and the table beside which it lies; less than 0: it shrank.

    Counted from nothing on, the difference of both is what the copy has left out.
    """

    copy: int = 0
    table: int = 0

    def __add__(self, more: Grown) -> Grown:
        """Return the growth of two times together."""
        return Grown(self.copy + more.copy, self.table + more.table)


class Refused(MaintenanceError):
    """The table has something that a swap would not carry over; it is purged by deletes."""


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        keeps: conditions on `x`, exclusive of each other; a row that meets one is kept. The
            first is the one that most rows meet.
        within: condition on `x` that an index answers and that all rows of the first meet; nothing
            where they may be of any age.
        bound: values of the conditions.
        age: the column that dates the rows.
        lock_timeout: seconds in which each lock must be had, in attempts of some milliseconds.
        max_lock: seconds for which the swap may keep everybody out.
        pace: asked between two pieces of the copy whether to go on.
        expected: rows that are to go, as planned.
        stays: rows that are to stay, about, where they were not counted.
        count: whether the rows that go are to be counted.
        live: condition on a flow run `f` whose rows stay; nothing where age alone decides.
        missed: conditions on `x`: rows of such runs, which are in `LIVE`.
        woken: selects runs whose rows stay by now; it may leave out what was so an hour ago.
        revived: conditions on `x`: rows of the runs in `REVIVED`.
        holds: what keeps flow runs; where it lists them, the keeps ask for them in that list.
        prepare: lays down in another session what the conditions look up.
    """

    database: Database
    table: str
    keeps: tuple[str, ...]
    within: str
    bound: dict[str, object]
    age: str
    lock_timeout: float
    max_lock: float
    pace: Pace
    expected: int = 0
    stays: int | None = None
    count: bool = False
    live: str = ""
    missed: tuple[str, ...] = ()
    woken: str = ""
    revived: tuple[str, ...] = ()
    holds: Holds = field(default_factory=Holds)
    prepare: Callable[[Database], None] = lambda _session: None


@dataclass(frozen=True)
class Work:
    """A rewrite at work: its names, the session that copies, and who holds the table."""

    job: Rewrite
    names: Names
    copier: Database
    guard: Guard

    def go_on(self, done: int, total: int | None, unit: str = "rows") -> None:
        """Tell how far the rewrite is; ask the pace, and whether the table is still held."""
        self.job.pace(Progress(self.job.table, done, total, unit))
        self.guard.check()


@contextmanager
def one_more_session(job: Rewrite) -> Iterator[Database]:
    """Open a session that does a part of a rewrite, and close it afterwards.

    Its commits wait for no disk: that of the swap comes after them in the WAL, and waits for all.

    Raises:
        ConnectionFailed: there is no place for it.
    """
    with connect(job.database.url, job.lock_timeout, job.database.events) as session:
        session.run("SET synchronous_commit = off")
        yield session


def require_whole(job: Rewrite, table: str | None = None) -> None:
    """Make sure that a swap would carry everything over.

    Raises:
        Refused: it would not.
    """
    if reasons := obstacles.refusals(job.database, table or job.table):
        raise Refused(f"{job.table} cannot be swapped: {', '.join(reasons)}")
