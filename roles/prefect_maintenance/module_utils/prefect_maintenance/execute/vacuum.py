"""VACUUM and ANALYZE of one table, whose warning that they skipped it is a failure."""

from __future__ import annotations

import time

from ..database.connection import Database
from ..errors import PrivilegeError


class _Heard:
    """Takes PostgreSQL's notices; a list would be emptied by SQLAlchemy before we look at it."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def append(self, notice: str) -> None:
        self.notices.append(notice)


def vacuum(database: Database, sql: str) -> float:
    """Carry out a VACUUM or ANALYZE, which lets readers and writers pass; returns its seconds.

    Raises:
        LockTimeout: somebody else vacuums the table or changes its shape.
        PrivilegeError: the role may not.
    """
    return database.retry_on_lock(lambda: unskipped(database, sql))


def unskipped(database: Database, sql: str) -> float:
    """Carry out a statement and return its seconds; that PostgreSQL skipped it is a failure.

    Raises:
        PrivilegeError: the role may not, which PostgreSQL only warns of.
    """
    heard = _Heard()
    database.driver.notices = heard
    started = time.monotonic()
    database.run(sql)
    seconds = time.monotonic() - started
    # Before PostgreSQL 16 it says: skipping "log" --- only table or database owner can vacuum it.
    skipped = [notice for notice in heard.notices if "skipping" in notice]
    if skipped:
        raise PrivilegeError(skipped[0].strip().removeprefix("WARNING:").strip())
    return seconds
