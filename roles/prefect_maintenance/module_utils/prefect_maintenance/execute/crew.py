"""The sessions of a rewrite beside the one that copies: one counts meanwhile, all build indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

from ..database.connection import Database
from ..database.table_guard import cancel
from ..errors import ConnectionFailed
from .rewrite_job import Work, one_more_session

# Memory for all index builds together.
_MEMORY_MB = 256
# Between two attempts to end a count; one that comes between two statements is lost.
_AGAIN = 0.05


@dataclass(frozen=True)
class Crew:
    """Sessions that are at work for a rewrite.

    Attributes:
        size: how many there are, the one that copies included.
        free: those of them that have nothing to do.
    """

    size: int
    free: SimpleQueue[Database]


@contextmanager
def crew(work: Work, tasks: int) -> Iterator[Crew]:
    """Open as many sessions as so many tasks can use.

    As many are at work as PostgreSQL would give to one index. The one that copies comes to the
    free ones when it has copied.
    """
    allowed = 1 + int(work.copier.scalar("SHOW max_parallel_maintenance_workers"))
    more = [one_more_session(work.job) for _ in range(min(allowed, tasks) - 1)]
    free: SimpleQueue[Database] = SimpleQueue()
    with ExitStack() as opened:
        # The server takes its time to let somebody in, for one as for several at a time.
        with ThreadPoolExecutor(max(1, len(more))) as pool:
            opening = [pool.submit(opened.enter_context, session) for session in more]
        for session in opening:
            # A server that has no more places: the sessions that are there do it.
            if not isinstance(session.exception(), ConnectionFailed):
                free.put(session.result())
                opened.callback(work.guard.release, work.guard.add(session.result()))
        yield Crew(1 + free.qsize(), free)


@contextmanager
def counted(work: Work, at_work: Crew) -> Iterator[Callable[[], int]]:
    """Count the rows that the table had when its changes began to be written down.

    A free session counts while the block is at work; without one it is done before. What changed
    before its snapshot is written down in the same snapshot; nothing may be settled before that.

    Yields:
        Waits for the number and returns it.
    """
    if not work.job.count:
        yield lambda: 0
        return
    if at_work.free.empty():
        rows = _count_of(work, work.copier)()
        yield lambda: rows
        return
    session = at_work.free.get()
    driver, count = session.driver, _count_of(work, session)

    def beside() -> int:
        try:
            return count()
        finally:
            at_work.free.put(session)

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(beside)
        try:
            yield counting.result
        except BaseException:
            while not counting.done():
                cancel(driver)
                wait([counting], _AGAIN)
            raise


def _count_of(work: Work, session: Database) -> Callable[[], int]:
    """Take the snapshot of a count; the count itself is what is returned."""
    with ExitStack() as opened:
        opened.enter_context(session.snapshot())
        grown = int(session.scalar(f"SELECT COALESCE(sum(grown), 0) FROM {work.names.changes}"))
        snapshot = opened.pop_all()

    def count() -> int:
        with snapshot:
            return int(session.scalar(f"SELECT count(*) FROM {work.names.table}")) - grown

    return count


def build(work: Work, at_work: Crew, indexes: Sequence[str]) -> None:
    """Build several indexes at a time, each by one process.

    None waits for the others' part of it.
    """

    def build_one(index: str) -> None:
        database = at_work.free.get()
        try:
            with database.transaction():
                memory = _MEMORY_MB // at_work.size
                database.run(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
                database.run("SET LOCAL max_parallel_maintenance_workers = 0")
                database.ddl(index)
        finally:
            at_work.free.put(database)

    with ThreadPoolExecutor(at_work.size) as pool:
        building = [pool.submit(build_one, index) for index in indexes]
        try:
            for number, built in enumerate(as_completed(building), 1):
                built.result()
                work.go_on(number, len(indexes), "indexes")
        finally:
            for waiting in building:
                waiting.cancel()
