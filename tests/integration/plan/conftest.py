"""Each way in which rows that are purged by age go, and a database for it."""

from __future__ import annotations

import pytest
from bulk import WAYS


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """On SQLite, or on PostgreSQL by deletes or by a rewrite."""
    return str(request.param)


@pytest.fixture
def purged(way: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database on which that way is open."""
    return str(request.getfixturevalue("sqlite_database" if way == "sqlite" else "database"))
