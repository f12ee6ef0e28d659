"""Real parts for the tests, started once and shared: a cluster, servers, empty databases."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from golden import Golden
from prefect_maintenance.report.report import Report
from schemas import faults

from lab import end_orderly, environments
from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

PREFECT = os.environ.get("LAB_PREFECT", environments.NEWEST)
POSTGRES = os.environ.get("LAB_POSTGRES", environments.POSTGRES)

StartServer = Callable[..., PrefectServer]


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "write the files in tests/golden anew instead of comparing with them"
    parser.addoption("--rewrite-golden", action="store_true", help=told)


def pytest_configure() -> None:
    end_orderly()


@pytest.fixture(scope="session")
def faults_of_reports() -> Iterator[list[str]]:
    """What the reports that are made in this process have against the published schema."""
    found: list[str] = []
    made = Report.as_json

    def noted(report: Report) -> dict[str, Any]:
        told = made(report)
        found.extend(faults(told))
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Report, "as_json", noted)
        yield found


@pytest.fixture(autouse=True)
def reports_are_as_published(faults_of_reports: list[str]) -> Iterator[None]:
    """Fail a test whose reports are not what the schema says."""
    yield
    found = faults_of_reports.copy()
    faults_of_reports.clear()
    assert found == []


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares texts with the files in tests/golden."""
    return Golden(rewrite=bool(request.config.getoption("--rewrite-golden")))


@pytest.fixture(scope="session")
def prefect_version() -> str:
    return PREFECT


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    with Postgres(POSTGRES) as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Postgres) -> str:
    """A database with Prefect's schema that nobody connects to, to be copied."""
    url = cluster.create_database("migrated")
    migrate(url, PREFECT)
    return "migrated"


@pytest.fixture
def database(cluster: Postgres, template: str) -> Iterator[str]:
    """The URL of a fresh database with Prefect's schema."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield cluster.create_database(name, template)
    cluster.drop_database(name)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{path}", PREFECT)
    return path


@pytest.fixture
def sqlite_database(migrated_file: Path, tmp_path: Path) -> str:
    """The URL of a fresh SQLite database with Prefect's schema."""
    path = tmp_path / "prefect.db"
    shutil.copy(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def start_server_for_session() -> Iterator[StartServer]:
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(
            PrefectServer(url, options.pop("version", PREFECT), **options)
        )


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers that end with the test."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(
            PrefectServer(url, options.pop("version", PREFECT), **options)
        )


@pytest.fixture(scope="session")
def shared_server(
    cluster: Postgres, template: str, start_server_for_session: StartServer
) -> PrefectServer:
    """One server on PostgreSQL for tests that clear the tables they use."""
    return start_server_for_session(cluster.create_database("shared", template))


@pytest.fixture(scope="session")
def shared_sqlite_server(
    migrated_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    start_server_for_session: StartServer,
) -> PrefectServer:
    """One server on SQLite for tests that clear the tables they use."""
    path = tmp_path_factory.mktemp("served") / "prefect.db"
    shutil.copy(migrated_file, path)
    return start_server_for_session(f"sqlite:///{path}")
