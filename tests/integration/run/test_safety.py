"""What must hold around a maintenance: no write in a check, no loss for others, TLS, a standby."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, clear, engine_for, fill, name_of, refused, request, run_step
from paces import paced
from prefect_maintenance.errors import ConnectionFailed, Unsupported
from prefect_maintenance.events import Progress
from tls_front import tls_front
from world import POLICY, dump

from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'old', 20, 'm', now() - interval '90 days' - n * interval '1 second'
FROM generate_series(1, :rows) n
"""


def test_a_check_gets_no_transaction_id_and_a_standby_is_refused() -> None:
    with Postgres(options={"autovacuum": "off"}) as alone:
        url = alone.create_database("alone")
        migrate(url)
        engine = engine_for(url)
        fill(engine, seed=5, size=40)
        before = dump(engine)
        engine.dispose()
        next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
        was = alone.execute(next_id)
        for step in ("bloat_info", "purge", "vacuum"):
            run_step(step, request(url), check=True)
        # Whoever writes a row needs a transaction id, so no new one means no write at all.
        assert alone.execute(next_id) == was
        assert dump(engine) == before

        alone.stop()
        (alone.data / "standby.signal").touch()
        alone.start()
        refused("purge", request(url), Unsupported, "read-only standby")
        refused("vacuum", request(url), Unsupported, "read-only standby")
        assert run_step("bloat_info", request(url)).answers["tables"]


def test_a_live_writer_loses_nothing_while_a_purge_runs(database: str) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(LOGS), {"rows": 200_000})
    written: list[str] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            ids = [str(uuid.uuid4()) for _ in range(50)]
            with engine.begin() as connection:
                connection.execute(
                    sa.text(
                        "INSERT INTO log (id, name, level, message, timestamp) "
                        "VALUES (CAST(:id AS uuid), 'new', 20, 'm', now())"
                    ),
                    [{"id": one} for one in ids],
                )
            written.extend(ids)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        outcome = run_step("purge", {"db_url": database, "batch_size": 2000})
    finally:
        done.set()
        writer.join()
    assert outcome.report.deleted["log"] == 200_000
    assert len(written) > 0
    assert set(dump(engine, ["log"])["log"]) == set(written)


@pytest.mark.parametrize("analysed", ["never", "when it was empty"])
def test_no_batch_is_larger_than_asked_when_the_statistics_are_old(
    database: str, analysed: str
) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ALTER TABLE log SET (autovacuum_enabled = off)"))
        if analysed == "when it was empty":
            connection.execute(sa.text(LOGS), {"rows": 5000})
            connection.execute(sa.text("DELETE FROM log"))
            connection.execute(sa.text("VACUUM (ANALYZE, TRUNCATE off) log"))
        connection.execute(sa.text(LOGS), {"rows": 20_000})
    seen: list[int] = []

    def note(progress: Progress) -> None:
        seen.append(progress.done - sum(seen))

    asked = {"db_url": database, "batch_size": 500, "purge_strategy": "delete"}
    outcome = run_step("purge", asked, pace=paced(note))
    assert outcome.report.deleted["log"] == 20_000
    assert max(seen) < 2 * 500


def test_an_interrupted_purge_is_finished_by_the_next_run(cluster: Postgres, database: str) -> None:
    engine = engine_for(database)
    fill(engine, seed=5)
    with engine.begin() as connection:
        connection.execute(sa.text(LOGS), {"rows": 2000})
    name = name_of(database)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = %s AND application_name LIKE 'prefect-maintenance%%'"
    )

    def cut_off() -> None:
        cluster.execute(kill, "postgres", [name])

    before = dump(engine)
    asked = {"db_url": database, "batch_size": 50, "purge_strategy": "delete"}
    due = run_step("purge", asked, check=True).report.deleted
    with (
        at_first_batch("log", cut_off) as pace,
        pytest.raises(ConnectionFailed, match="lost"),
    ):
        run_step("purge", asked, pace=pace)
    left = dump(engine)
    gone = {table: len(before[table]) - len(left[table]) for table in before}
    assert 0 < gone["log"] < 1000
    # Whatever else went was to go, in tables that come before the log.
    assert {table: rows for table, rows in gone.items() if rows and table != "log"} == {
        table: due[table] for table in ("events", "event_resources") if gone[table]
    }
    rest = {table: rows - gone[table] for table, rows in due.items()}
    assert run_step("purge", asked).report.deleted == rest
    assert not run_step("purge", asked).changed


def test_a_private_authority_and_headers_of_ones_own_work(
    shared_server: PrefectServer, tmp_path: Path
) -> None:
    clear(engine_for(shared_server.db_url))
    with tls_front(tmp_path, shared_server) as front:
        asked = request(shared_server.db_url, api_url=front.url, batch_size=50)
        refused("delete", asked, ConnectionFailed, "cannot reach", "CERTIFICATE_VERIFY_FAILED")
        trusted = {**asked, "api_ca_cert": str(front.ca), "api_headers": {"X-Site": "berlin"}}
        outcome = run_step("delete", trusted)
        assert outcome.report.server["version"] == shared_server.version
        assert any(b"x-site: berlin" in data.lower() for data in front.seen)
        unchecked = {**asked, "api_validate_certs": False}
        assert run_step("delete", unchecked).report.status == "ok"


def test_an_authority_that_cannot_be_read_is_named(shared_server: PrefectServer) -> None:
    missing = "/nowhere/ca.pem"
    asked = request(shared_server.db_url, api_url="https://localhost:1/api", api_ca_cert=missing)
    refused("purge", asked, ConnectionFailed, missing)


@contextmanager
def in_the_middle(statement: str, act: Callable[[], object]) -> Iterator[None]:
    """Act after each statement of a step that begins so, before its transaction is over."""

    def after(_: object, __: object, sql: str, *___: object) -> None:
        if sql.lstrip().startswith(statement):
            act()

    sa.event.listen(sa.Engine, "after_cursor_execute", after)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", after)


@pytest.mark.parametrize("which", ["shared_server", "shared_sqlite_server"])
def test_the_servers_reads_go_on_while_a_transaction_of_the_purge_is_open(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: PrefectServer = request.getfixturevalue(which)
    fill(server.db_url, seed=5)
    seen: list[int] = []

    def read() -> None:
        if seen:
            return
        # Whoever waits for a lock of the purge gets no answer before the purge goes on.
        for what in ("logs/filter", "flow_runs/count", "task_runs/count", "artifacts/count"):
            asked = urllib.request.Request(
                f"{server.api_url}/{what}",
                data=b"{}",
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                found = json.load(answer)
                seen.append(found if isinstance(found, int) else len(found))

    asked = {"db_url": server.db_url, **POLICY.request(), "purge_strategy": "delete"}
    with in_the_middle("DELETE FROM log", read):
        outcome = run_step("purge", {**asked, "batch_size": 20})
    assert outcome.report.deleted["log"] > 0
    assert len(seen) == 4
    assert min(seen) > 0
