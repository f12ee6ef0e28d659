"""Bad input gets one clear line and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import (
    engine_for,
    name_of,
    refused,
    request,
    run_step,
)
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.one_runner import LOCK_KEY, only_runner
from prefect_maintenance.errors import (
    Busy,
    ConnectionFailed,
    PrivilegeError,
    SettingsError,
    StepFailed,
    Unsupported,
)
from prefect_maintenance.request.database_url import parse_url
from prefect_maintenance.request.secrets import secrets_of
from prefect_maintenance.request.settings import Settings
from world import POLICY, dump

from lab.postgres import PASSWORD, Postgres, free_port


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
        ("rules", [{"tags": ["gdpr"]}], "keep of rule 1 is missing"),
        ("event_rules", [{"events": ["e"], "keep": {"last": 0}}], "keep.last of rule 1 must be"),
        ("log_rules", [{"keep": "forever"}], "a match of rule 1 is missing"),
        ("hold_tags", "keep", "hold_tags must be a list"),
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
