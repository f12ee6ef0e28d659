"""Another party retries, holds and re-parents runs at every request and every statement."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from maintenance import engine_for, request, run_step, with_defaults
from prefect_maintenance.execute.ways import BySql
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import open_api
from takers import (
    OLD,
    YOUNG,
    Party,
    at_every_deletion,
    between,
    fill_with_what_goes,
    nothing_in_use_is_lost,
)
from world import NOW, POLICY, dump

from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

OLD_SERVER = "3.4.25"
BY_SQL = {"run_delete_via": "sql"}
asked = partial(request, batch_size=5)


@pytest.fixture
def old_server(cluster: Postgres, start_server: Callable[..., PrefectServer]) -> PrefectServer:
    """A server whose API deletes one run a request, whatever the run's state is."""
    url = cluster.create_database(f"old_{uuid.uuid4().hex[:8]}")
    migrate(url, OLD_SERVER)
    return start_server(url, version=OLD_SERVER)


@pytest.mark.parametrize("which", ["shared_server", "old_server"])
def test_what_is_taken_into_use_at_a_request_stays_with_all_that_hangs_on_it(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: PrefectServer = request.getfixturevalue(which)
    engine = engine_for(server.db_url)
    filled = fill_with_what_goes(engine)
    party = Party(engine, list(filled.strays))
    with between(server, party.act) as api_url:
        outcome = run_step("delete", asked(server.db_url, api_url=api_url))
    nothing_in_use_is_lost(engine, filled, party)
    assert outcome.report.deleted["flow_run"] > 0
    engine.dispose()


@pytest.mark.parametrize("way", ["api", "sql"])
def test_what_is_taken_into_use_at_a_statement_stays_with_all_that_hangs_on_it(
    shared_server: PrefectServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, rows_a_batch=4, runs_a_batch=4)
    engine = engine_for(shared_server.db_url)
    filled = fill_with_what_goes(engine)
    party = Party(engine, list(filled.strays))
    with at_every_deletion(party):
        run_step("delete", asked(shared_server, run_delete_via=way))
    nothing_in_use_is_lost(engine, filled, party)
    assert party.hung
    assert len(party.kept["flow_run"]) > 5
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "state_type = 'RUNNING'",
        "end_time = :young",
        "end_time = NULL",
        "parent_task_run_id = (SELECT id FROM task_run LIMIT 1)",
    ],
)
def test_a_server_that_deletes_runs_is_told_each_thing_that_keeps_one(
    shared_server: PrefectServer, change: str
) -> None:
    engine = engine_for(shared_server.db_url)
    fill_with_what_goes(engine)
    free = (
        "SELECT id FROM flow_run r WHERE state_type = 'COMPLETED' AND parent_task_run_id IS NULL "
        "AND end_time < :young AND NOT EXISTS (SELECT 1 FROM task_run t WHERE t.flow_run_id = r.id)"
        " ORDER BY id LIMIT 2"
    )
    with engine.begin() as connection:
        rows = connection.execute(sa.text(free), {"young": NOW - timedelta(days=15)})
        stays, goes = (str(row) for (row,) in rows)
        connection.execute(
            sa.text(f"UPDATE flow_run SET {change} WHERE id = :id"),
            {"id": stays, **({"young": YOUNG} if ":young" in change else {})},
        )
    with open_api(Api(shared_server.api_url)) as api:
        assert api.delete_runs([stays, goes], ["COMPLETED"], NOW - timedelta(days=15))
    left = dump(engine, ["flow_run"])["flow_run"]
    assert stays in left
    assert goes not in left
    engine.dispose()


def test_a_run_on_which_somebody_is_hanging_a_subflow_stays_until_that_is_done(
    database: str,
) -> None:
    engine = engine_for(database)
    filled = fill_with_what_goes(engine)
    with engine.begin() as holder:
        task, parent = holder.execute(
            sa.text(
                "SELECT t.id, CAST(f.id AS varchar) FROM task_run t JOIN flow_run f "
                "ON f.id = t.flow_run_id WHERE f.end_time = :old ORDER BY t.id LIMIT 1"
            ),
            {"old": OLD},
        ).one()
        hang = "UPDATE flow_run SET parent_task_run_id = :task WHERE id = :id"
        holder.execute(sa.text(hang), {"task": task, "id": filled.strays[0]})
        asked = {"db_url": database, **POLICY.request(), **BY_SQL, "lock_timeout": 0.5}
        outcome = run_step("delete", asked)
        left = set(dump(engine, ["flow_run"])["flow_run"])
        tree = next(tree for tree in filled.trees if parent in tree)
        assert left & {run for each in filled.trees for run in each} == tree
    assert any("rows stay" in warning for warning in outcome.report.warnings)
    engine.dispose()
