"""Settings of a session of PostgreSQL that hold for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .connection import Database

# Where losing the last transactions in a crash loses nothing that the next run does not do again:
# they need not wait for the disk.
NOT_ON_DISK: Mapping[str, str] = {"synchronous_commit": "off"}


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
