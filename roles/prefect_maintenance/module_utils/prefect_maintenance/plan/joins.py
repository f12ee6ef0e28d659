"""How PostgreSQL joins and groups where it cannot know how many rows or groups it will find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..database.connection import Database


@contextmanager
def without(database: Database, *ways: str) -> Iterator[None]:
    """Keep the planner from "hashjoin", "mergejoin" or "sort"; within a transaction."""
    told = ways if database.is_postgresql else ()
    for way in told:
        database.run(f"SET LOCAL enable_{way} = off")
    yield
    for way in told:
        database.run(f"SET LOCAL enable_{way} = on")
