"""Cutoffs are never counted from a time that is still to come for the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, refused, run_step
from prefect_maintenance.database.clock import ClocksDiffer
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request import instants

BY_SQL = {"run_delete_via": "sql"}
STEPS = ("bloat_info", "purge", "delete", "vacuum")
LOG = (
    "INSERT INTO log (id, name, level, message, timestamp) VALUES "
    "('00000000-0000-4000-8000-000000000001', 'l', 20, 'of this moment', :at)"
)


@pytest.fixture(params=["database", "sqlite_database"])
def young(request: pytest.FixtureRequest) -> str:
    """A database with one log of this moment."""
    url = str(request.getfixturevalue(request.param))
    engine = engine_for(url)
    clear(engine)
    at: Any = instants.now()
    if engine.dialect.name == "sqlite":
        at = at.strftime("%Y-%m-%d %H:%M:%S.%f")
    with engine.begin() as connection:
        connection.execute(sa.text(LOG), {"at": at})
    return url


def logs(url: str) -> int:
    with engine_for(url).connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM log")).scalar_one())


@pytest.mark.parametrize("minutes", [-60 * 24 * 40, -3, 3, 60 * 24 * 40])
def test_a_target_whose_clock_is_not_the_databases_is_refused_by_every_step(
    database: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = instants.now
    monkeypatch.setattr(instants, "now", lambda: real() + timedelta(minutes=minutes))
    for step in STEPS:
        said = refused(step, {"db_url": database, **BY_SQL}, ClocksDiffer)
        assert f"{instants.now():%Y-%m-%d}" in said
        assert f"{real():%Y-%m-%d}" in said


@pytest.mark.parametrize("minutes", [-1, 1])
def test_a_minute_between_the_clocks_is_no_reason_to_refuse(
    young: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = instants.now
    monkeypatch.setattr(instants, "now", lambda: real() + timedelta(minutes=minutes))
    assert not run_step("purge", {"db_url": young}).changed
    assert logs(young) == 1


def test_a_reference_time_in_the_future_is_refused_and_nothing_goes(young: str) -> None:
    ahead = (instants.now() + timedelta(days=40)).isoformat()
    for step in STEPS:
        for asked in ({"reference_time": ahead}, {"report": {"reference_time": ahead}}):
            told = {"db_url": young, **BY_SQL, **asked}
            refused(step, told, SettingsError, "lies in the future")
    assert logs(young) == 1
