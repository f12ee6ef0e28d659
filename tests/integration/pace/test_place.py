"""The wait for a place in the cluster ends, and says who holds it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from maintenance import name_of, run_step
from paces import paced
from prefect_maintenance.errors import Stopped
from prefect_maintenance.pace import cluster as places
from prefect_maintenance.pace.budget import Budget
from prefect_maintenance.pace.cluster import PLACE_KEY

from lab.postgres import Postgres


@pytest.fixture
def neighbour(cluster: Postgres) -> Iterator[str]:
    """A role that has nothing but a login."""
    name = f"neighbour_{uuid.uuid4().hex[:8]}"
    cluster.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    yield name
    cluster.execute(f"DROP ROLE {name}")


@contextmanager
def holding(cluster: Postgres, role: str, database: str, application: str) -> Iterator[Any]:
    """Hold the key of the places in a session."""
    session = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user=role, password="x",
        dbname=database, application_name=application,
    )  # fmt: skip
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({PLACE_KEY})")
        yield session
    finally:
        session.close()


def test_a_wait_without_a_time_budget_ends_and_names_the_holder(
    cluster: Postgres, database: str, neighbour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", 0.2)
    who = f"prefect-maintenance elsewhere as {neighbour} on database postgres, pid "
    with (
        holding(cluster, neighbour, "postgres", "prefect-maintenance elsewhere"),
        pytest.raises(Stopped, match=who) as stopped,
    ):
        run_step("purge", {"db_url": database})
    assert "\n" not in str(stopped.value)
    run_step("purge", {"db_url": database})


def test_a_wait_that_the_time_budget_ends_names_the_holder(
    cluster: Postgres, database: str, neighbour: str
) -> None:
    pace = paced(None, Budget(1))
    with (
        holding(cluster, neighbour, "postgres", "prefect-maintenance elsewhere"),
        pytest.raises(Stopped, match=f"budget of 1 s .* elsewhere as {neighbour}"),
    ):
        run_step("purge", {"db_url": database}, pace=pace)
    assert pace.events.waited["cluster"] >= 0.5


def test_a_stranger_in_another_database_who_has_the_key_takes_no_place(
    cluster: Postgres, database: str, neighbour: str
) -> None:
    with holding(cluster, neighbour, "postgres", "a stranger"):
        run_step("purge", {"db_url": database}, pace=paced(None, Budget(20)))


def test_a_stranger_in_our_database_who_has_the_key_is_waited_for_with_an_end(
    cluster: Postgres, database: str, neighbour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", 0.2)
    name = name_of(database)
    with (
        holding(cluster, neighbour, name, "a stranger"),
        pytest.raises(Stopped, match=f"a stranger as {neighbour} on database {name}"),
    ):
        run_step("purge", {"db_url": database})
