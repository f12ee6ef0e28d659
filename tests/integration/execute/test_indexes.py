"""Indexes that are INVALID or bloated are built anew beside everybody's work, once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from maintenance import name_of, run_step, table, wait_until
from old_logs import reclaiming, with_old_logs
from paces import paced
from prefect_maintenance.database.connection import connect
from prefect_maintenance.execute.reindex import rebuild
from prefect_maintenance.measure.indexes import invalid
from prefect_maintenance.measure.leftovers import remove
from prefect_maintenance.plan.indexes import plan_indexes
from prefect_maintenance.request.settings import Settings
from psycopg2.errors import LockNotAvailable, UniqueViolation

from lab.postgres import PASSWORD, Postgres

HALF_MADE = "CREATE INDEX CONCURRENTLY half_made ON log (level, id)"
FILES = """
SELECT c.relname, pg_relation_filenode(c.oid) FROM pg_index x JOIN pg_class c ON c.oid = indexrelid
WHERE indrelid = 'log'::regclass ORDER BY 1
"""
UNSOUND = """
SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
WHERE NOT (x.indisvalid AND x.indisready)
"""
SIZE = "SELECT pg_indexes_size('log')"


@pytest.fixture
def logs(database: str, cluster: Postgres) -> str:
    """A database with logs that only a long lock could rewrite; returns its name."""
    with_old_logs(database)
    cluster.execute("CREATE TABLE other (log_id uuid REFERENCES log (id))", name_of(database))
    return name_of(database)


def asked(database: str, **more: Any) -> dict[str, Any]:
    return reclaiming(database, **{"vacuum": "rewrite", **more})


@contextmanager
def interrupted(cluster: Postgres, name: str) -> Iterator[None]:
    """Hold a snapshot that whoever builds an index concurrently has to wait for."""
    holder = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=name
    )
    try:
        with holder.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1 FROM log LIMIT 1")
        yield
    finally:
        holder.close()


def given_up(cluster: Postgres, name: str, statement: str) -> list[tuple[Any, ...]]:
    """Leave an INVALID index behind, as a statement does that waits for too long; returns it."""
    cluster.execute(f"ALTER DATABASE \"{name}\" SET lock_timeout = '20ms'")
    with interrupted(cluster, name), pytest.raises(LockNotAvailable):
        cluster.execute(statement, name)
    cluster.execute(f'ALTER DATABASE "{name}" RESET lock_timeout')
    return cluster.execute(UNSOUND, name)


def test_bloated_indexes_of_a_table_that_stays_are_built_anew_once_and_as_foretold(
    database: str, logs: str, cluster: Postgres
) -> None:
    run_step("purge", asked(database))
    cluster.execute("ANALYZE log", logs)
    files, before = cluster.execute(FILES, logs), cluster.execute(SIZE, logs)[0][0]
    foretold = run_step("vacuum", asked(database), check=True)
    assert foretold.changed
    assert cluster.execute(FILES, logs) == files

    done = run_step("vacuum", asked(database))
    assert (done.changed, table(done).reclaim) == (True, "plain")
    assert done.report.plan.indexes == foretold.report.plan.indexes
    built = {one.index for one in done.report.plan.indexes}
    assert {one.index for one in done.report.indexes if one.done} == built
    assert {name for name, file in cluster.execute(FILES, logs) if (name, file) not in files} == (
        built
    )
    came_back = before - cluster.execute(SIZE, logs)[0][0]
    assert sum(one.bytes_back for one in done.report.indexes) == came_back
    assert done.report.plan.bytes_back["log"] == pytest.approx(came_back, rel=0.1)
    assert cluster.execute(UNSOUND, logs) == []

    files = cluster.execute(FILES, logs)
    again = run_step("vacuum", asked(database))
    assert (again.changed, again.report.plan.indexes) == (False, ())
    assert cluster.execute(FILES, logs) == files


def test_an_index_that_was_built_right_now_is_never_bloated_whatever_its_keys(
    database: str, logs: str, cluster: Postgres
) -> None:
    for column in ("level", "name", "(level, timestamp)", "(left(message, 3))", "task_run_id"):
        cluster.execute(f"CREATE INDEX ON log {column if '(' in column else f'({column})'}", logs)
    cluster.execute("CREATE INDEX ON log (id) INCLUDE (name, message)", logs)
    cluster.execute("CREATE INDEX ON log (id) WITH (fillfactor = 20)", logs)
    cluster.execute("CREATE INDEX ON log (id) WHERE level < 30", logs)
    cluster.execute("ANALYZE log", logs)
    planned = run_step("vacuum", asked(database, vacuum_min_bytes=0), check=True)
    assert planned.report.plan.indexes == ()


def test_what_gives_nothing_back_by_rewriting_only_says_so(
    database: str, logs: str, cluster: Postgres
) -> None:
    run_step("purge", asked(database))
    files = cluster.execute(FILES, logs)
    outcome = run_step("vacuum", asked(database, vacuum="plain"))
    assert not outcome.changed
    assert cluster.execute(FILES, logs) == files
    assert {(one.done, one.bytes_back) for one in outcome.report.indexes} == {(False, 0)}
    assert all("vacuum is plain" in one.why for one in outcome.report.indexes)
    assert any("is bloated" in line for line in outcome.summary)


def test_an_index_that_somebody_left_half_made_is_made_whole(
    database: str, logs: str, cluster: Postgres
) -> None:
    assert given_up(cluster, logs, HALF_MADE) == [("half_made",)]
    [seen] = run_step("bloat_info", asked(database)).report.indexes
    assert (seen.table, seen.index, seen.problem, seen.done) == (
        "log",
        "half_made",
        "invalid",
        False,
    )
    assert run_step("vacuum", asked(database), check=True).changed
    done = run_step("vacuum", asked(database))
    assert done.changed
    assert [(one.index, one.done) for one in done.report.indexes if one.problem == "invalid"] == [
        ("half_made", True)
    ]
    assert cluster.execute(UNSOUND, logs) == []
    assert not run_step("vacuum", asked(database)).changed


def test_what_an_interrupted_reindex_left_is_removed_before_the_step_begins(
    database: str, logs: str, cluster: Postgres
) -> None:
    left = given_up(cluster, logs, "REINDEX INDEX CONCURRENTLY pk_log")
    assert left == [("pk_log_ccnew",)]
    seen = run_step("bloat_info", asked(database)).report
    assert [(one.index, one.done) for one in seen.indexes] == [("pk_log_ccnew", False)]
    outcome = run_step("vacuum", asked(database, report=seen.as_json()))
    assert ("pk_log_ccnew", True) in [(one.index, one.done) for one in outcome.report.indexes]
    assert cluster.execute(UNSOUND, logs) == []


def test_an_index_that_is_being_built_is_left_to_its_builder(
    database: str, logs: str, cluster: Postgres
) -> None:
    building = "SELECT 1 FROM pg_stat_progress_create_index WHERE datname = %s"
    with ThreadPoolExecutor(1) as pool, connect(database, 5.0) as ours:
        with interrupted(cluster, logs):
            builder = pool.submit(cluster.execute, HALF_MADE, logs)
            wait_until(lambda: cluster.execute(building, values=[logs]))
            assert wait_until(lambda: cluster.execute(UNSOUND, logs)) == [("half_made",)]
            assert invalid(ours, "log") == ()
        builder.result()
    assert cluster.execute(UNSOUND, logs) == []


def test_an_index_that_cannot_be_had_is_told_and_nothing_is_left_beside_it(
    database: str, logs: str, cluster: Postgres
) -> None:
    with pytest.raises(UniqueViolation):
        cluster.execute("CREATE UNIQUE INDEX CONCURRENTLY no_two ON log (level)", logs)
    outcome = run_step("vacuum", asked(database, vacuum_min_bytes=2**40))
    assert not outcome.changed
    [told] = [text for text in outcome.report.warnings if "no_two" in text]
    assert "was not built anew" in told
    assert cluster.execute(UNSOUND, logs) == [("no_two",)]
    [need] = [n for n in outcome.report.as_json()["verdict"]["needs"] if "INVALID" in n["text"]]
    assert need["do"] == "REINDEX INDEX CONCURRENTLY public.no_two"


def test_an_index_that_somebody_drops_meanwhile_keeps_none_of_the_others_from_being_built(
    database: str, logs: str, cluster: Postgres
) -> None:
    dropped = 'DROP INDEX IF EXISTS ix_log__timestamp, "ix_log__level"'
    with connect(database, 5.0) as ours:
        before = dict(cluster.execute(FILES, logs))
        pace = paced(lambda progress: cluster.execute(dropped, logs))
        done = rebuild(ours, "log", 5.0, pace)
    after = dict(cluster.execute(FILES, logs))
    assert set(before) - set(after) == {"ix_log__timestamp", "ix_log__level"}
    assert set(done.indexes) == {name for name in after if after[name] != before[name]}
    assert len(done.indexes) == len(after)
    assert sorted(done.warnings) == [
        f"index {name} of log was not built anew: somebody dropped it meanwhile"
        for name in ("ix_log__level", "ix_log__timestamp")
    ]


def test_whoever_holds_a_snapshot_keeps_indexes_as_they_are_and_waits_for_nothing(
    database: str, logs: str, cluster: Postgres
) -> None:
    run_step("purge", asked(database))
    with interrupted(cluster, logs):
        outcome = run_step("vacuum", asked(database, lock_timeout=0.2))
        cluster.execute("INSERT INTO log (name, level, message, timestamp) "
                        "VALUES ('n', 1, 'm', now())", logs)  # fmt: skip
    assert not outcome.changed
    [told] = [text for text in outcome.report.warnings if "not built anew" in text]
    assert "keeps a snapshot" in told
    assert run_step("vacuum", asked(database)).changed
    assert cluster.execute(UNSOUND, logs) == []


def test_what_lies_beside_the_long_values_goes_once_the_owner_may_name_it(
    database: str, logs: str, cluster: Postgres
) -> None:
    left = given_up(cluster, logs, "REINDEX TABLE CONCURRENTLY log")
    toast = {name for (name,) in left if name.startswith("pg_toast_")}
    cluster.execute("CREATE ROLE keeper LOGIN PASSWORD 'kept'")
    cluster.execute("ALTER TABLE log OWNER TO keeper", logs)
    wanted = Settings.parse(asked(database), check=True).reclaim
    with connect(cluster.url(logs, "keeper", "kept"), 5.0) as owner:
        remove(owner, "log", 5.0)
        assert {name for (name,) in cluster.execute(UNSOUND, logs)} == toast
        [seen] = plan_indexes(owner, wanted, {}, ())
        assert (seen.action, seen.do) == (
            "none", f"DROP INDEX CONCURRENTLY pg_toast.{next(iter(toast))}"
        )  # fmt: skip
        assert "GRANT USAGE ON SCHEMA pg_toast" in seen.why
        cluster.execute("GRANT USAGE ON SCHEMA pg_toast TO keeper", logs)
        assert [one.action for one in plan_indexes(owner, wanted, {}, ())] == ["drop"]
        remove(owner, "log", 5.0)
    assert cluster.execute(UNSOUND, logs) == []
    cluster.execute("ALTER TABLE log OWNER TO postgres", logs)
    cluster.execute("DROP OWNED BY keeper", logs)
    cluster.execute("DROP ROLE keeper")
