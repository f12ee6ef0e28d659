"""A play whose reclaim fails, or ends without an answer: what its files say was done."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from maintenance import engine_for, name_of
from schemas import report_at
from sites import Site, module_at_work
from tools import BIN

from lab.environments import ROOT
from lab.postgres import Postgres

# Nine in ten logs are old, and together they are worth a rewrite.
FILL = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm', now() - (n % 10 > 0)::int * interval '90 days'
FROM generate_series(1, 20000) n
"""
AT_WORK = """
SELECT application_name FROM pg_stat_activity
WHERE datname = %s AND query LIKE 'VACUUM (FULL) log%%'
"""


@pytest.fixture
def read(site: Site) -> Iterator[Site]:
    """A site whose logs somebody reads until the end, so that no VACUUM FULL gets its lock."""
    engine = engine_for(site.server.db_url)
    with engine.begin() as connection:
        connection.execute(sa.text(FILL))
    site.variables = {
        "prefect_maintenance_vacuum": "full",
        "prefect_maintenance_vacuum_min_bytes": 0,
        "prefect_maintenance_purge_strategy": "delete",
    }
    with engine.connect() as reader:
        reader.execute(sa.text("SELECT count(*) FROM log"))
        yield site
    engine.dispose()


def test_a_failed_reclaim_is_reported_as_done_neither_on_the_screen_nor_in_a_file(
    read: Site,
) -> None:
    read.variables["prefect_maintenance_lock_timeout"] = 0.5
    done = read.play("maintain")
    assert done.returncode != 0
    assert "the lock on log could not be had" in done.stdout
    report, fleet = read.report(), read.fleet()
    log = next(table for table in report["tables"] if table["name"] == "log")
    assert log["reclaim"] == "none"
    assert "could not be had" in log["error"]
    assert not [line for line in done.stdout.splitlines() if line.startswith("    log: a rewrite")]
    assert (report["status"], fleet["hosts"][0]["status"]) == ("partial", "partial")


def test_a_step_that_is_killed_leaves_the_status_that_the_engine_gave_the_run(
    read: Site, cluster: Postgres
) -> None:
    read.variables["prefect_maintenance_lock_timeout"] = 600
    running = subprocess.Popen(
        read.command("maintain"), env=read.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    name = name_of(read.server.db_url)
    os.kill(module_at_work(cluster, running, AT_WORK, (name,)), signal.SIGKILL)
    output = running.communicate()[0]
    assert running.returncode != 0
    report, fleet = read.report(), read.fleet()
    assert report["deleted"]["log"] > 0
    assert "Give the space back" in report["errors"][0], output
    assert (report["status"], fleet["hosts"][0]["status"]) == ("partial", "partial")


def test_a_server_that_is_lost_between_two_steps_is_reported_with_what_was_done(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [BIN / "ansible-playbook", Path(__file__).with_name("lost_connection.yml"),
         "-i", "lost,", "-c", "local", "-e", f"prefect_maintenance_report_dir={tmp_path}"],
        cwd="/", env={**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = report_at(tmp_path / "lost.json")
    assert (report["status"], report["deleted"]) == ("partial", {"log": 3})
    assert report["errors"] == ["the connection to the server was lost: no route to host"]
    (need,) = report["verdict"]["needs"]
    assert need["text"] == report["errors"][0]
    assert "purged" in done.stdout
