"""How these tests begin: from migrated databases, and with what takes longest."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, fill

from lab import environments, seeds

# Two processes take one file after the other. A long one at the end would leave one of them idle.
LONGEST = (
    "test_fleet",
    "test_playbooks",
    "test_dist",
    "test_hostile_sample",
    "test_schedule",
    "test_awx",
    "test_rewrite_neighbours",
    "test_rewrite_faults",
    "test_lab",
    "test_schedule_rights",
    "test_repack",
    "test_vault",
    "test_deployments",
)


def pytest_configure() -> None:
    # What the role installs for a test is used once; most of it would be compiled for nothing.
    os.environ.setdefault("PIP_COMPILE", "0")


@pytest.fixture(scope="session", autouse=True)
def seeded() -> None:
    """Let every cluster begin as a copy of one that was migrated once."""
    if os.environ.get("LAB_PREFECT", environments.NEWEST) == environments.NEWEST:
        seeds.make(os.environ.get("LAB_POSTGRES", environments.POSTGRES))


@pytest.fixture(params=["database", "sqlite_database"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """An empty database without a server."""
    engine = engine_for(str(request.getfixturevalue(request.param)))
    clear(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def filled(database: str) -> str:
    """A database with a world of which some must go, without a server."""
    fill(database, seed=11)
    return database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
