"""End what keeps everybody out of a table for longer than it may; nothing is lost by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Cancelled, HeldTooLong
from .connection import Database
from .table_guard import cancel

# A cancellation that comes between two statements is lost, so it is sent again.
_AGAIN = 0.02


@contextmanager
def statement_at_most(database: Database, what: str, seconds: float) -> Iterator[None]:
    """Let the server end a statement inside, also when this process is gone by then.

    Args:
        database: whose statements are bounded.
        what: the statement, for the text.
        seconds: that it may take.

    Raises:
        HeldTooLong: it was ended.
    """
    database.run(f"SET statement_timeout = '{max(1, int(1000 * seconds))}ms'")
    began = time.monotonic()
    try:
        yield
    except Cancelled:
        if time.monotonic() - began < seconds:
            raise
        raise _too_long(what, seconds) from None
    finally:
        if not database.connection.invalidated:
            database.run("SET statement_timeout = 0")


@contextmanager
def transaction_at_most(database: Database, what: str, seconds: float) -> Iterator[None]:
    """End the statements inside when all of them together take longer.

    No round trip is added to them, because each keeps everybody out for longer.

    Args:
        database: in a transaction, which the caller then rolls back.
        what: is done, for the text.
        seconds: that it may take.

    Raises:
        HeldTooLong: it took longer.
    """
    over, late, driver = threading.Event(), threading.Event(), database.driver

    def watch() -> None:
        if over.wait(seconds):
            return
        late.set()
        while not over.is_set():
            cancel(driver)
            over.wait(_AGAIN)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except Cancelled:
        if not late.is_set():
            raise
    finally:
        over.set()
        watcher.join()
    if late.is_set():
        raise _too_long(what, seconds)


def _too_long(what: str, seconds: float) -> HeldTooLong:
    return HeldTooLong(
        f"{what} would have kept everybody out for longer than {seconds:g} s; raise max_lock, or "
        "run in a quieter hour"
    )
