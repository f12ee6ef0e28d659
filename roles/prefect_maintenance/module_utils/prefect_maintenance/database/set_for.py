"""Settings of a session of PostgreSQL that hold for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .connection import Database

# Where losing the last transactions in a crash loses nothing that the next run does not do again:
# they need not wait for the disk.
NOT_ON_DISK: Mapping[str, str] = {"synchronous_commit": "off"}

# For statements that name the rows they want by a column whose values the planner takes for more
# frequent than they are: where one run has most of the logs, it would read all for the few of
# another. Not for statements that have to read some table as a whole: before PostgreSQL 18 that
# alone makes them so dear that all ways to the others look alike.
BY_INDEX: Mapping[str, str] = {"enable_seqscan": "off"}


@contextmanager
def set_for(database: Database, settings: Mapping[str, str]) -> Iterator[None]:
    """Let settings hold in the session until the end of the block; SQLite has none of them.

    Args:
        database: the session, outside of any transaction.
        settings: by their names, as they stand in SET.
    """
    told = settings if database.is_postgresql else {}
    before = {name: database.scalar(f"SHOW {name}") for name in told}
    for name, value in told.items():
        database.run(f"SET {name} = '{value}'")
    try:
        yield
    finally:
        if not database.connection.invalidated:
            for name, value in before.items():
                database.run(f"SET {name} = '{value}'")


def set_in_transaction(database: Database, settings: Mapping[str, str]) -> None:
    """Let settings hold until the end of the transaction; SQLite has none of them."""
    for name, value in settings.items() if database.is_postgresql else ():
        database.run(f"SET LOCAL {name} = '{value}'")
