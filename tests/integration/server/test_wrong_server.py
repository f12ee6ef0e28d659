"""An API that is down, is another's, or refuses: one clear line, and no row goes that must not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import (
    FLOW,
    at_first_batch,
    clear,
    engine_for,
    fill,
    name_of,
    refused,
    request,
    run_all,
    run_step,
)
from prefect_maintenance.errors import (
    ApiError,
    ConnectionFailed,
    Mismatch,
    SettingsError,
    StepFailed,
)
from prefect_maintenance.server.api import PrefectApi
from world import NOW, POLICY, dump, insert, make_world

from lab.postgres import Postgres, free_port
from lab.server import PrefectServer


def test_a_password_in_the_address_of_the_api_is_refused_unshown(filled: str) -> None:
    asked = request(filled, api_url="http://admin:hunter2@127.0.0.1:4200/api")
    assert "hunter2" not in refused("purge", asked, SettingsError, "into api_auth_string")


def test_an_api_that_is_down_is_named_and_nothing_goes(filled: str) -> None:
    before = dump(engine_for(filled))
    url = f"http://127.0.0.1:{free_port()}/api"
    for step in ("purge", "delete"):
        asked = request(filled, api_url=url, batch_size=50)
        refused(step, asked, ConnectionFailed, "cannot reach the Prefect API", url)
    assert dump(engine_for(filled)) == before


def test_an_address_that_is_not_the_apis_is_named(
    shared_server: PrefectServer, filled: str
) -> None:
    before = dump(engine_for(filled))
    url = shared_server.api_url.removesuffix("/api")
    refused("purge", request(filled, api_url=url), ApiError, "api_url", "ends in /api")
    assert dump(engine_for(filled)) == before


def test_an_api_of_another_server_is_found_out_before_anything_goes(
    shared_server: PrefectServer, cluster: Postgres, filled: str
) -> None:
    name = name_of(filled)
    cluster.execute("UPDATE block_type SET id = gen_random_uuid()", name)
    before = dump(engine_for(filled))
    for step in ("purge", "delete"):
        for check in (True, False):
            asked = request(filled, api_url=shared_server.api_url, batch_size=50)
            refused(step, asked, Mismatch, "different servers", check=check)
    assert dump(engine_for(filled)) == before


def test_even_a_copy_of_the_right_database_is_found_out(
    shared_server: PrefectServer, cluster: Postgres, filled: str
) -> None:
    name = name_of(filled)
    cluster.execute("DELETE FROM block_type", name)
    source, target = engine_for(shared_server.db_url), engine_for(filled)
    with source.connect() as there, target.begin() as here:
        for row in there.execute(sa.text("SELECT id, name, slug FROM block_type")).mappings():
            here.execute(
                sa.text("INSERT INTO block_type (id, name, slug) VALUES (:id, :name, :slug)"),
                dict(row),
            )
    before = dump(target)
    asked = request(filled, api_url=shared_server.api_url)
    refused("purge", asked, Mismatch, "different servers")
    assert dump(target) == before
    with source.connect() as there:
        left = there.execute(sa.text("SELECT count(*) FROM variable")).scalar_one()
    assert left == 0, "the mark was left behind"


def test_batches_that_the_api_would_refuse_are_refused_at_once(
    shared_server: PrefectServer,
) -> None:
    asked = request(shared_server, batch_size=51, run_delete_via="api")
    refused("delete", asked, SettingsError, "between 1 and 50")


def test_an_api_that_asks_for_credentials_is_named_and_accepts_them(
    cluster: Postgres, template: str, start_server: Any
) -> None:
    url = cluster.create_database("guarded", template)
    secret = "admin:s3cr3t-auth"
    server = start_server(
        url,
        environment={
            "PREFECT_SERVER_API_AUTH_STRING": secret,
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_API_AUTH_STRING": secret,
        },
    )
    fill(url, seed=5)
    asked = request(url, api_url=server.api_url, batch_size=50)
    wrong = {**asked, "api_auth_string": "admin:wr0ng"}
    assert "wr0ng" not in refused("delete", wrong, ConnectionFailed, "credentials")
    refused("delete", asked, ConnectionFailed, "credentials")
    outcomes = run_all(server, {**POLICY.request(), "api_auth_string": secret})
    assert outcomes[2].report.deleted["flow_run"] > 0


def test_a_run_that_is_retried_between_plan_and_deletion_survives(
    shared_server: PrefectServer,
) -> None:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    old = NOW - timedelta(days=60)
    world = make_world(POLICY, 1, flow=FLOW, size=0, foreign_keys=True)
    for _ in range(8):
        world.run("flow_run", "flow_runs", flow_id=FLOW)
        ages = dict.fromkeys(("end_time", "state_timestamp", "start_time"), old)
        world.rows["flow_run"][-1].update(state_type="FAILED", **ages)
    insert(engine, world)
    # Runs of the same age are deleted in the order of their ids, so the last one goes last.
    retried = max(row["id"] for row in world.rows["flow_run"])

    def retry_one() -> None:
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE flow_run SET state_type = 'RUNNING', end_time = NULL "
                        "WHERE id = CAST(:id AS uuid)"),
                {"id": retried},
            )  # fmt: skip

    asked = request(shared_server, batch_size=2)
    with at_first_batch("flow_run", retry_one) as pace:
        outcome = run_step("delete", asked, pace=pace)
    assert set(dump(engine)["flow_run"]) == {retried}
    assert outcome.report.deleted["flow_run"] == 7


def test_deletions_that_keep_failing_end_with_an_error(
    shared_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that answers 500 to deletions alone cannot be had; its answer is put in instead.
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with engine.begin() as connection:
        # Such as the API can guard: what it cannot would go in the database.
        connection.execute(
            sa.text(
                "INSERT INTO flow_run (id, flow_id, name, state_type, end_time) "
                "SELECT gen_random_uuid(), CAST(:flow AS uuid), 'r', 'COMPLETED', "
                "CAST(:now AS timestamptz) - interval '900 days' FROM generate_series(1, 10)"
            ),
            {"flow": FLOW, "now": POLICY.now},
        )
    before = dump(engine, ["flow_run"])
    asked_for = []

    def broken(self: PrefectApi, ids: list[str], *_: Any, **__: Any) -> None:
        asked_for.append(ids)
        raise ApiError("the Prefect API answered 500 to POST")

    monkeypatch.setattr(PrefectApi, "delete_runs", broken)
    asked = request(shared_server, batch_size=1, run_delete_via="api")
    refused("delete", asked, StepFailed, "gave up after 3 failed batches in a row")
    assert len(asked_for) == 3
    assert dump(engine, ["flow_run"]) == before
