"""Databases with rows to purge or to reclaim the space of."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from compacting import RUNS
from maintenance import engine_for
from old_logs import with_old_logs
from prefect_maintenance.execute import copy
from rewriting import ROWS, fill_logs
from unfinished import Unfinished

from lab.family import fill
from lab.postgres import Postgres
from lab.server import PrefectServer


@pytest.fixture
def young(cluster: Postgres, database: str) -> set[str]:
    """The ids of the logs that a purge of the database must leave."""
    return fill_logs(cluster, database, ROWS)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a rewrite copy the rows of a test in more than one piece."""
    monkeypatch.setattr(copy, "_PIECE", 500)


@pytest.fixture(scope="session")
def filled_family(cluster: Postgres, template: str) -> str:
    """The name of a database from which nine in ten flow runs are gone, the oldest."""
    cluster.create_database("family", template)
    fill(cluster, "family", RUNS)
    return "family"


@pytest.fixture
def family(cluster: Postgres, filled_family: str) -> Iterator[str]:
    """A copy of that database."""
    name = f"f_{uuid.uuid4().hex[:12]}"
    yield cluster.create_database(name, filled_family)
    cluster.drop_database(name)


@pytest.fixture(params=["database", "sqlite_database"])
def url(request: pytest.FixtureRequest) -> str:
    """A database with logs of which nine in ten are old."""
    return with_old_logs(str(request.getfixturevalue(request.param)))


@pytest.fixture(params=["shared_server", "shared_sqlite_server"])
def either_server(request: pytest.FixtureRequest) -> PrefectServer:
    """A server on PostgreSQL, and one on SQLite."""
    server: PrefectServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def unfinished(either_server: PrefectServer) -> Iterator[Unfinished]:
    """Runs to be made in the database of either server."""
    engine = engine_for(either_server.db_url)
    yield Unfinished(engine)
    engine.dispose()
