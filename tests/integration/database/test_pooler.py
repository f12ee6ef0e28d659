"""A pool that shares sessions is refused in one line; one that does not is as good as none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, run_step, wait_until
from prefect_maintenance.database import connection
from prefect_maintenance.database.one_runner import only_runner
from prefect_maintenance.errors import Busy, Unsupported
from rewriting import fill_logs, ids

from lab import pooler
from lab.postgres import Postgres

LOGS = (
    "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), 'l', 20, 'm', "
    "now() - interval '90 days' FROM generate_series(1, 10) n"
)
ADVISORY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if pooler.program() is None:
        pytest.skip("pgbouncer cannot be had here")


@pytest.fixture
def old_logs(database: str) -> str:
    """A database with ten old logs."""
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as opened:
        opened.execute(sa.text(LOGS))
    engine.dispose()
    return database


@pytest.fixture
def shared_pool(cluster: Postgres) -> Iterator[int]:
    with pooler.pooler(cluster, "transaction") as port:
        yield port


def through(cluster: Postgres, url: str, port: int) -> str:
    return url.replace(f":{cluster.port}/", f":{port}/")


def logs(url: str) -> int:
    with engine_for(url).connect() as opened:
        return int(opened.execute(sa.text("SELECT count(*) FROM log")).scalar_one())


@pytest.mark.parametrize("check", [False, True])
def test_a_pool_in_transaction_mode_is_refused_and_no_lock_is_left(
    cluster: Postgres, old_logs: str, shared_pool: int, check: bool
) -> None:
    asked = {"db_url": through(cluster, old_logs, shared_pool)}
    for _ in range(2):
        for step in ("bloat_info", "purge", "vacuum"):
            with pytest.raises(Unsupported, match="pool in transaction mode") as refused:
                run_step(step, asked, check=check)
            assert "\n" not in str(refused.value)
    assert cluster.execute(ADVISORY) == [(0,)]
    assert logs(old_logs) == 10
    # Nothing of ours reached the sessions that others get from the pool.
    with engine_for(asked["db_url"]).connect() as other:
        assert other.execute(sa.text("SHOW lock_timeout")).scalar_one() == "0"
    assert run_step("purge", {"db_url": old_logs}).changed


@pytest.mark.parametrize("size", [1, 20])
def test_a_pool_in_session_mode_is_as_good_as_none(
    cluster: Postgres, old_logs: str, size: int
) -> None:
    with pooler.pooler(cluster, "session", size) as port:
        asked = {"db_url": through(cluster, old_logs, port)}
        assert run_step("purge", asked).report.deleted["log"] == 10
        assert not run_step("purge", asked).changed
    assert cluster.execute(ADVISORY) == [(0,)]


def test_two_runners_are_never_at_work_whichever_way_they_connect(
    cluster: Postgres, old_logs: str
) -> None:
    with pooler.pooler(cluster, "session") as port:
        ways = (old_logs, through(cluster, old_logs, port))
        for first, second in (ways, ways[::-1]):
            with (
                connection.connect(first, 5) as held,
                only_runner(held),
                pytest.raises(Busy, match="another maintenance run is at work"),
            ):
                run_step("purge", {"db_url": second})
    assert logs(old_logs) == 10


def test_a_lock_that_a_shared_session_took_all_the_same_is_not_left_behind(
    cluster: Postgres, old_logs: str, shared_pool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "require_own_session", lambda *_: None)
    url = through(cluster, old_logs, shared_pool)
    with connection.connect(url, 5) as opened:
        stranger = engine_for(url).connect()
        real = connection.Database.scalar

        def come_between(database: connection.Database, sql: str, **values: object) -> object:
            """Let a stranger take the session right after it took the lock."""
            found = real(database, sql, **values)
            if "pg_try_advisory_lock" in sql:
                stranger.execute(sa.text("SELECT 1"))
            return found

        monkeypatch.setattr(connection.Database, "scalar", come_between)
        with pytest.raises(Unsupported), only_runner(opened):
            pytest.fail("a shared session held the place")
        stranger.invalidate()
    # The session ends as soon as its process has seen the signal.
    wait_until(lambda: cluster.execute(ADVISORY) == [(0,)])


def test_a_table_is_rewritten_through_a_pool_in_session_mode(
    cluster: Postgres, database: str
) -> None:
    young = fill_logs(cluster, database, 3000)
    with pooler.pooler(cluster, "session") as port:
        asked = {"db_url": through(cluster, database, port), "purge_strategy": "rewrite"}
        outcome = run_step("purge", asked)
    assert next(t.strategy for t in outcome.report.tables if t.name == "log") == "rewrite"
    assert outcome.report.warnings == ()
    assert set(ids(cluster, database)) == young
