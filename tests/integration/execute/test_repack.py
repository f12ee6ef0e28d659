"""What `vacuum: repack` does with a real pg_repack, and pg_repack beside a rewrite of ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import psycopg2
import pytest
from maintenance import engine_for, run_step, table, wait_until
from old_logs import ROWS, reclaiming, with_old_logs
from prefect_maintenance.errors import StepFailed
from prefect_maintenance.pace.governors import Stop
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome
from world import dump

from lab import debian, seeds
from lab.postgres import PASSWORD, Postgres
from lab.server import migrate
from tests.hostile.cases import PARTIES, chosen, play
from tests.hostile.stage import OPTIONS, Theatre

# Seconds that somebody may wait for a step on a machine that does much else.
PATIENCE = 10.0
QUEUED = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'log'::regclass"
LEFT = """
SELECT relname FROM pg_class WHERE relnamespace = 'repack'::regnamespace
  AND relname ~ '^(log|table)_[0-9]+$'
UNION SELECT tgname FROM pg_trigger WHERE tgname = 'repack_trigger'
"""


@pytest.fixture(scope="module")
def debians() -> Iterator[Postgres]:
    """A cluster of the system's PostgreSQL, which has the extension."""
    program = debian.pg_repack()
    if program is None:
        pytest.skip(
            "no PostgreSQL of this system has pg_repack; as root: apt-get install "
            "postgresql-15-repack, or your system's version"
        )
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{program.parent}:{path}"
    try:
        seeds.make(program.parts[-3])
        with Postgres(program.parts[-3], OPTIONS) as cluster:
            migrate(cluster.create_database("migrated"))
            yield cluster
    finally:
        os.environ["PATH"] = path


@pytest.fixture
def purged(debians: Postgres) -> Iterator[str]:
    """A database whose logs were purged by deletes, and that only pg_repack can shrink online."""
    url = with_old_logs(debians.create_database("purged", "migrated"))
    debians.execute("CREATE EXTENSION pg_repack", "purged")
    debians.execute("CREATE TABLE other (log_id uuid REFERENCES log (id))", "purged")
    run_step("purge", reclaiming(url))
    debians.execute("ANALYZE log", "purged")
    yield url
    debians.drop_database("purged")


def logs(url: str) -> dict[str, Any]:
    engine = engine_for(url)
    found = dump(engine, ["log"])["log"]
    engine.dispose()
    return found


def way(outcome: Outcome) -> str:
    return str(table(outcome).reclaim)


def size(cluster: Postgres) -> int:
    return int(cluster.execute("SELECT pg_total_relation_size('log')", "purged")[0][0])


def file(cluster: Postgres) -> Any:
    return cluster.execute("SELECT pg_relation_filenode('log')", "purged")


@contextmanager
def held(cluster: Postgres, statement: str = "SELECT 1") -> Iterator[Callable[[], None]]:
    """Be in a transaction that pg_repack waits for after its copy; yields what ends it."""
    holder = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname="purged"
    )
    try:
        with holder.cursor() as cursor:
            cursor.execute(statement)
        yield holder.rollback
    finally:
        holder.close()


def copied(cluster: Postgres) -> bool:
    return any(str(name).startswith("table_") for (name,) in cluster.execute(LEFT, "purged"))


def child_called(name: str) -> int:
    """Return the process of this name that this process has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if (fields["Name"].strip(), int(fields["PPid"])) == (name, os.getpid()):
                return int(status.parent.name)
    raise ProcessLookupError(name)


@contextmanager
def repacking(
    cluster: Postgres, url: str, pace: Pace | None = None, lock_timeout: float = 60
) -> Iterator[Callable[[], Outcome]]:
    """Be where pg_repack has copied all rows and waits; yields who waits for the step's outcome."""
    asked = Settings.parse(reclaiming(url, vacuum="repack", lock_timeout=lock_timeout), check=False)
    with ThreadPoolExecutor(1) as pool, held(cluster):
        running = pool.submit(STEPS["vacuum"], asked, pace or Pace())
        wait_until(lambda: copied(cluster) or running.done())
        yield lambda: running.result(timeout=120)


def test_a_table_that_others_refer_to_is_repacked_row_for_row(
    debians: Postgres, purged: str
) -> None:
    before, bytes_before, file_before = logs(purged), size(debians), file(debians)
    foretold = run_step("vacuum", reclaiming(purged, vacuum="repack"), check=True)
    assert (way(foretold), file(debians)) == ("repack", file_before)

    done = run_step("vacuum", reclaiming(purged, vacuum="repack"))
    assert len(before) == ROWS // 10
    assert logs(purged) == before
    assert (way(done), done.changed) == ("repack", True)
    assert size(debians) < bytes_before / 4
    assert done.answers["bytes_given_back"] >= bytes_before - size(debians) - 500_000
    assert debians.execute(LEFT, "purged") == []
    debians.execute("INSERT INTO other SELECT id FROM log LIMIT 1", "purged")

    file_after = file(debians)
    again = run_step("vacuum", reclaiming(purged, vacuum="repack"))
    assert (way(again), again.changed, file(debians)) == ("plain", False, file_after)


def test_a_session_ended_in_the_middle_leaves_every_row_and_nothing_beside_the_table(
    debians: Postgres, purged: str
) -> None:
    before, file_before = logs(purged), file(debians)
    with repacking(debians, purged) as ended:
        debians.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'purged' AND application_name = 'pg_repack'"
        )
        told = ended().error
    assert "terminating connection" in str(told)
    assert (logs(purged), file(debians)) == (before, file_before)
    assert debians.execute(LEFT, "purged") == []


def test_what_a_killed_pg_repack_leaves_is_told_with_the_statements_that_remove_it(
    debians: Postgres, purged: str
) -> None:
    before, file_before, bytes_before = logs(purged), file(debians), size(debians)
    with repacking(debians, purged) as ended:
        os.kill(child_called("pg_repack"), signal.SIGKILL)
        outcome = ended()
    told = str(outcome.error)
    assert "signal 9 ended it" in told
    assert (outcome.changed, way(outcome)) == (False, "none")
    assert (logs(purged), file(debians)) == (before, file_before)
    assert len(debians.execute(LEFT, "purged")) == 3

    with pytest.raises(StepFailed, match="already has a trigger") as next_run:
        run_step("vacuum", reclaiming(purged, vacuum="repack"))
    advice = [f"{verb} EXTENSION pg_repack" for verb in ("DROP", "CREATE")]
    for statement in (f"{advice[0]} CASCADE", advice[1]):
        assert statement in told
        assert statement in str(next_run.value)
        debians.execute(statement, "purged")
    assert debians.execute(LEFT, "purged") == []
    assert logs(purged) == before
    assert way(run_step("vacuum", reclaiming(purged, vacuum="repack"))) == "repack"
    assert size(debians) < bytes_before / 4


def test_a_killed_runs_pg_repack_ends_by_itself_with_every_row(
    debians: Postgres, purged: str
) -> None:
    before, file_before = logs(purged), file(debians)
    asked = reclaiming(purged, vacuum="repack", lock_timeout=60)
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; from maintenance import run_step; "
        f"run_step('vacuum', {asked!r})"
    )
    with held(debians), subprocess.Popen([sys.executable, "-c", code]) as ours:
        wait_until(lambda: copied(debians))
        ours.kill()
        ours.wait()
        assert copied(debians)
    wait_until(lambda: debians.execute(LEFT, "purged") == [])
    assert logs(purged) == before
    assert file(debians) != file_before


def test_a_governor_that_wants_the_end_gets_it_and_nothing_is_left(
    debians: Postgres, purged: str
) -> None:
    before, file_before, wants = logs(purged), file(debians), Event()
    pace = Pace(governors=(lambda _: Stop("the window closes") if wants.is_set() else None,))
    with repacking(debians, purged, pace) as ended:
        wants.set()
        outcome = ended()
    assert str(outcome.error) == "the window closes"
    assert (logs(purged), file(debians)) == (before, file_before)
    assert debians.execute(LEFT, "purged") == []


def test_it_waits_for_an_older_transaction_no_longer_than_for_a_lock_and_names_it(
    debians: Postgres, purged: str
) -> None:
    before, file_before = logs(purged), file(debians)
    with repacking(debians, purged, lock_timeout=1) as ended:
        outcome = ended()
    assert "pg_repack waited 1 s for a transaction that is older than its copy of log" in str(
        outcome.error
    )
    assert (logs(purged), file(debians)) == (before, file_before)
    assert debians.execute(LEFT, "purged") == []


@pytest.fixture
def losing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the first pg_repack end as one does that has lost a lock; returns where it counts."""
    real, attempts = shutil.which("pg_repack"), tmp_path / "attempts"
    script = tmp_path / "pg_repack"
    script.write_text(
        f"#!/bin/sh\n"
        f'case "$1" in --version) exec {real} --version;; esac\n'
        f"echo once >> {attempts}\n"
        f'if [ $(wc -l < {attempts}) -gt 1 ]; then exec {real} "$@"; fi\n'
        f"echo 'ERROR: query failed: ERROR:  current transaction is aborted' >&2; exit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return attempts


def test_one_that_lost_a_lock_is_begun_once_more(
    debians: Postgres, purged: str, losing: Path
) -> None:
    before, file_before = logs(purged), file(debians)
    done = run_step("vacuum", reclaiming(purged, vacuum="repack"))
    assert losing.read_text().split() == ["once", "once"]
    assert (way(done), done.changed) == ("repack", True)
    assert logs(purged) == before
    assert file(debians) != file_before


def test_no_limit_of_the_role_ends_its_waits(debians: Postgres, purged: str) -> None:
    debians.execute("ALTER ROLE postgres IN DATABASE purged SET lock_timeout = '1ms'")
    row = "SELECT 1 FROM log LIMIT 1 FOR UPDATE"
    with held(debians, row) as let_go, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_step, "vacuum", reclaiming(purged, vacuum="repack"))
        wait_until(lambda: debians.execute(QUEUED, "purged") or running.done())
        let_go()
        assert way(running.result(timeout=120)) == "repack"


@pytest.fixture(scope="module")
def theatre(debians: Postgres) -> Theatre:
    found = Theatre(debians)
    found.fill("migrated")
    return found


@pytest.mark.parametrize("number", [0, 1], ids=["midway", "before-the-swap"])
@pytest.mark.parametrize("stage", ["purge by rewrite", "vacuum by rewrite"])
def test_rows_are_right_when_pg_repack_acts_beside_a_rewrite(
    theatre: Theatre, stage: str, number: int
) -> None:
    calm, party = theatre.stage(stage), PARTIES["pg_repack"]
    result = play(theatre, calm, party, chosen(calm, party, number), PATIENCE)
    assert result.came
    assert result.failures == (), f"at {result.place}; the step: {result.error or 'ended'}"
