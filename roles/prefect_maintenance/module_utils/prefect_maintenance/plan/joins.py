"""How PostgreSQL joins where it cannot know how many rows it will find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..database.connection import Database


@contextmanager
def without(database: Database, *joins: str) -> Iterator[None]:
    """Keep the planner from ways to join, "hashjoin" or "mergejoin"; within a transaction."""
    told = joins if database.is_postgresql else ()
    for join in told:
        database.run(f"SET LOCAL enable_{join} = off")
    yield
    for join in told:
        database.run(f"SET LOCAL enable_{join} = on")
