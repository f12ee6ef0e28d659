"""Bad input gets one clear line and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
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
from paces import paced
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.one_runner import LOCK_KEY, only_runner
from prefect_maintenance.errors import (
    ApiError,
    Busy,
    ConnectionFailed,
    Mismatch,
    PrivilegeError,
    SettingsError,
    StepFailed,
    Stopped,
    Unsupported,
)
from prefect_maintenance.pace.budget import Budget
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.request.database_url import parse_url
from prefect_maintenance.request.secrets import secrets_of
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.server.api import PrefectApi
from world import NOW, POLICY, dump, insert, make_world

from lab.postgres import PASSWORD, Postgres, free_port
from lab.server import PrefectServer

SMALL_BATCHES: dict[str, Any] = {"batch_size": 5, "purge_strategy": "delete"}


@pytest.fixture
def limited(cluster: Postgres, filled: str) -> Iterator[tuple[str, str]]:
    """A role that may connect to the filled database and nothing else, and its URL."""
    name = name_of(filled)
    cluster.execute("CREATE ROLE limited LOGIN PASSWORD 'p@ss:w/rd%#?'")
    yield name, cluster.url(name, "limited", "p@ss:w/rd%#?")
    cluster.execute("DROP OWNED BY limited", name)
    cluster.execute("DROP ROLE limited")


def test_a_wrong_password_is_named_without_being_shown(filled: str) -> None:
    refused("purge", request(filled.replace(PASSWORD, "wr0ng")), ConnectionFailed, "password")


def test_an_unreachable_host_is_named(filled: str) -> None:
    url = f"postgresql://u:secret@127.0.0.1:{free_port()}/prefect"
    assert "secret" not in refused("purge", request(url), ConnectionFailed, "cannot connect")


def test_a_missing_database_is_named(cluster: Postgres) -> None:
    refused("purge", request(cluster.url("nowhere")), ConnectionFailed, "nowhere", "does not exist")


def test_tls_that_the_server_does_not_speak_is_named(filled: str) -> None:
    refused("purge", request(f"{filled}?sslmode=require"), ConnectionFailed, "SSL", "sslmode")


def test_a_database_that_is_not_prefects_is_refused(cluster: Postgres) -> None:
    url = cluster.create_database("other")
    refused("purge", request(url), Unsupported, "not Prefect's")
    cluster.drop_database("other")


def test_a_missing_sqlite_file_is_not_created(tmp_path: Path) -> None:
    missing = tmp_path / "prefect.db"
    refused("purge", request(f"sqlite:///{missing}"), ConnectionFailed, str(missing))
    assert not missing.exists()


@pytest.mark.parametrize("url", ["mysql://u:p@h/d", "oracle://u:p@h/d"])
def test_other_dialects_are_refused_and_their_secrets_known(url: str) -> None:
    refused("purge", request(url), Unsupported, "postgresql and sqlite")
    assert secrets_of(Settings.parse(request(url), check=False)) == (url,)


def test_a_password_in_the_address_of_the_api_is_refused_unshown(filled: str) -> None:
    asked = request(filled, api_url="http://admin:hunter2@127.0.0.1:4200/api")
    assert "hunter2" not in refused("purge", asked, SettingsError, "into api_auth_string")


def test_what_is_no_url_is_not_echoed() -> None:
    text = refused("purge", request("user:hunter2@nowhere"), SettingsError, "not a database URL")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("postgresql+asyncpg://u:p%40ss%2F%25@h:5/d", "p@ss/%"),
        ("postgresql://u:p@ss@h:5/d", "p@ss"),
        ("postgresql://u:p#ss?x@h:5/d?ssl=require", "p#ss?x"),
    ],
)
def test_special_characters_in_a_password_are_understood(written: str, password: str) -> None:
    url = parse_url(written)
    assert (url.drivername, url.password, url.host) == ("postgresql+psycopg2", password, "h")


def test_an_unknown_revision_warns_and_the_known_tables_are_kept_lean(
    cluster: Postgres, filled: str
) -> None:
    name = name_of(filled)
    cluster.execute("UPDATE alembic_version SET version_num = 'f00000000000'", name)
    cluster.execute("CREATE TABLE brand_new (id int)", name)
    outcome = run_step("purge", request(filled))
    assert outcome.report.deleted["log"] > 0
    told = " ".join(outcome.report.warnings)
    assert "f00000000000" in told
    assert "brand_new" in told


def test_a_prefect_2_database_is_refused(cluster: Postgres, filled: str) -> None:
    name = name_of(filled)
    cluster.execute("ALTER TABLE automation_event_follower DROP COLUMN scope", name)
    refused("purge", request(filled), Unsupported, "older than 3")


def test_a_read_only_database_is_refused(cluster: Postgres, filled: str) -> None:
    name = name_of(filled)
    cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    refused("purge", request(filled), Unsupported, "read-only standby")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("retention_days", 0, "1 or more"),
        ("retention_days", -3, "1 or more"),
        ("retention_days", "soon", "whole number of days"),
        ("retention", {"logs": 0}, "retention.logs"),
        ("retention", {"logs": "x"}, "retention.logs"),
        ("retention", {"log": 7}, "unknown entity: log"),
        ("states", ["RUNNING"], "not terminal"),
        ("states", ["DONE"], "unknown state"),
        ("states", [], "list of terminal states"),
        ("reference_time", "yesterday", "ISO 8601"),
        ("lock_timeout", 0, "lock_timeout"),
        ("lock_timeout", True, "lock_timeout"),
        ("purge_strategy", "shred", "purge_strategy must be one of"),
        ("purge_strategy", 0, "purge_strategy must be one of"),
        ("batch_size", 0, "batch_size must be a whole number, 1 or more"),
        ("concurrency", 0, "concurrency must be a whole number, 1 or more"),
        ("vacuum", "", "vacuum must be one of"),
        ("run_delete_via", 0, "run_delete_via must be one of"),
        ("retention", 0, "retention must map entities to days"),
        ("retention", "", "retention must map entities to days"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(
    filled: str, option: str, value: Any, said: str
) -> None:
    before = dump(engine_for(filled))
    refused("purge", {**request(filled), "retention": {}, option: value}, SettingsError, said)
    assert dump(engine_for(filled)) == before


def test_a_role_that_may_not_delete_is_told_which_tables(
    cluster: Postgres, limited: tuple[str, str]
) -> None:
    name, url = limited
    cluster.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited", name)
    said = (
        "to purge: DELETE on log, events, event_resources, artifact_collection",
        "UPDATE on artifact_collection",
    )
    text = refused("purge", request(url), PrivilegeError, *said)
    assert "p@ss" not in text


def test_a_role_that_may_not_vacuum_fails_table_by_table(
    cluster: Postgres, limited: tuple[str, str]
) -> None:
    name, url = limited
    cluster.execute("GRANT SELECT, DELETE ON ALL TABLES IN SCHEMA public TO limited", name)
    refused("vacuum", request(url), StepFailed, "may not VACUUM log", "may not VACUUM artifact")


def test_the_other_runner_is_named_with_its_start(filled: str) -> None:
    before = dump(engine_for(filled))
    engine = engine_for(filled)
    with engine.connect() as other:
        other.execute(sa.text("SET application_name = 'the other one'"))
        other.execute(sa.text(f"SELECT pg_advisory_lock({LOCK_KEY})"))
        refused("purge", request(filled), Busy, "the other one", "since 20")
        assert run_step("purge", request(filled), check=True).report.deleted["log"] > 0
    assert dump(engine) == before
    assert run_step("purge", request(filled)).changed


def test_the_other_runner_is_named_on_sqlite(sqlite_database: str) -> None:
    with connect(sqlite_database, 5.0) as other, only_runner(other):
        refused("purge", request(sqlite_database), Busy, "prefect-maintenance", "since 20")
    run_step("purge", request(sqlite_database))
    folder = Path(sqlite_database.removeprefix("sqlite:///")).parent
    assert [p.name for p in folder.iterdir() if "lock" in p.name] == []


def test_a_lock_that_cannot_be_had_fails_that_table_after_the_others_were_done(
    filled: str,
) -> None:
    engine = engine_for(filled)
    with engine.begin() as other:
        other.execute(sa.text("LOCK TABLE log IN SHARE MODE"))
        text = refused("purge", request(filled, lock_timeout=0.05), StepFailed, "log: a lock")
        assert "events" not in text
    left = dump(engine)
    assert len(left["log"]) > 0
    assert all(row["occurred"] >= POLICY.cutoff("events") for row in left["events"].values())


def test_a_stop_between_two_batches_keeps_what_was_done(filled: str) -> None:
    before = dump(engine_for(filled))
    settings = Settings.parse(request(filled, **SMALL_BATCHES), check=False)
    signals = Signals()
    with at_first_batch("log", lambda: signals.note("SIGTERM"), signals) as pace:
        outcome = STEPS["purge"](settings, pace)
    assert isinstance(outcome.error, Stopped)
    assert "SIGTERM" in str(outcome.error)
    assert outcome.report.status == "partial"
    left = dump(engine_for(filled))
    assert outcome.report.deleted["log"] == len(before["log"]) - len(left["log"]) > 0
    assert run_step("purge", request(filled)).changed


def test_a_time_budget_ends_the_step_between_two_batches(filled: str) -> None:
    budget = Budget(0)

    def let_an_hour_pass() -> None:
        budget.seconds = 3600
        budget._began -= 3600

    asked = request(filled, **SMALL_BATCHES)
    due = run_step("purge", asked, check=True).report.deleted["log"]
    before = dump(engine_for(filled), ["log"])["log"]
    with (
        at_first_batch("log", let_an_hour_pass, budget) as pace,
        pytest.raises(Stopped, match="time budget of 3600 s was used up while at log"),
    ):
        run_step("purge", asked, pace=pace)
    assert 0 < len(before) - len(dump(engine_for(filled), ["log"])["log"]) < due


def test_the_pace_is_asked_between_any_two_batches(filled: str) -> None:
    happened: list[str] = []

    def note(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        table = re.match(r"DELETE FROM (log|events|event_resources)\b", statement.strip())
        if table and cursor.rowcount:
            happened.append(table[1])

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        run_step("purge", request(filled, **SMALL_BATCHES),
                 pace=paced(lambda _: happened.append("asked")))  # fmt: skip
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)
    batches = [n for n, what in enumerate(happened) if what != "asked"]
    assert len(batches) > 3
    assert all(happened[n + 1] == "asked" for n in batches)


def test_a_time_budget_that_is_used_up_lets_no_step_begin(filled: str) -> None:
    before = dump(engine_for(filled))
    budget = Budget(1)
    budget._began -= 2
    with pytest.raises(Stopped, match="time budget of 1 s"):
        run_step("purge", request(filled), pace=paced(None, budget))
    assert dump(engine_for(filled)) == before


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
    asked = request(shared_server, batch_size=51)
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
    asked = request(shared_server, batch_size=1)
    refused("delete", asked, StepFailed, "gave up after 3 failed batches in a row")
    assert len(asked_for) == 3
    assert dump(engine, ["flow_run"]) == before
