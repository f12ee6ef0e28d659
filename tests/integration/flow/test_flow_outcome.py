"""The flow as it is run: what a dry run leaves alone, and what its artifact says of a failure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maid import MAID, as_maid
from maintenance import engine_for, fill, name_of, run_step
from schemas import faults
from unfinished import Unfinished
from world import SAME, TABLES, Dump, Policy, dump

from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import PrefectServer

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils"
# What a process of the worker does; a test may put something in between two steps.
RUN = """
import json, os, sys
from pathlib import Path
from prefect_maintenance.run import line
from prefect_maintenance.flow import maintenance

def before(step, act):
    original = line.STEPS[step]
    def carry_out(*arguments):
        act()
        return original(*arguments)
    line.STEPS[step] = carry_out

{between}
print("REPORT", json.dumps(maintenance(**json.loads(sys.argv[1]))))
"""


@dataclass(frozen=True)
class Ended:
    """How a run of the flow ended: its report when it succeeded, its artifact, what it said."""

    report: dict[str, Any] | None
    artifact: str
    output: str

    def row(self, table: str) -> str:
        """Return the line of a table in the artifact."""
        return next(line for line in self.artifact.splitlines() if line.startswith(f"| {table} |"))


@dataclass(frozen=True)
class Site:
    """A server with a backlog, and the folder with the credentials of its flow."""

    server: PrefectServer
    folder: Path

    def run(self, *, between: str = "", db_url: str = "", **parameters: Any) -> Ended:
        """Run the flow as a worker's process does, and return how it ended."""
        credentials = self.folder / "credentials.json"
        credentials.touch(0o600)
        told = {"db_url": db_url or self.server.db_url, "api_url": self.server.api_url}
        credentials.write_text(json.dumps(told))
        asked = {"retention_days": 15, "vacuum": "plain", **parameters}
        done = subprocess.run(
            [self.server.python, "-c", RUN.format(between=between), json.dumps(asked)],
            env={
                **self.server.environment(),
                "PYTHONPATH": str(ENGINE),
                "PREFECT_MAINTENANCE_CREDENTIALS": str(credentials),
                "PREFECT_MAINTENANCE_STOP_FILE": str(self.folder / "stop"),
                "STOP_FILE": str(self.folder / "stop"),
                "PREFECT_MAINTENANCE_TEXTFILE_DIR": str(self.metrics.parent),
                "PREFECT_MAINTENANCE_HOST": "prefect-1",
            },
            capture_output=True,
            text=True,
        )
        said = [x[7:] for x in done.stdout.splitlines() if x.startswith("REPORT ")]
        assert bool(said) == (done.returncode == 0), done.stderr[-3000:]
        reports = [json.loads(line) for line in said]
        assert [faults(report) for report in reports] in ([], [[]])
        return Ended(reports[0] if reports else None, self._artifact(), done.stderr)

    @property
    def metrics(self) -> Path:
        """The file for Prometheus."""
        return self.folder / "collector" / "prefect_maintenance.prom"

    def rows(self) -> Dump:
        engine = engine_for(self.server.db_url)
        found = dump(engine, TABLES)
        engine.dispose()
        return found

    def _artifact(self) -> str:
        engine = engine_for(self.server.db_url)
        newest = (
            "SELECT data FROM artifact WHERE key = 'prefect-maintenance' "
            "ORDER BY created DESC LIMIT 1"
        )
        with engine.begin() as connection:
            found = connection.execute(sa.text(newest)).scalar()
            connection.execute(sa.text("DELETE FROM artifact WHERE key = 'prefect-maintenance'"))
        engine.dispose()
        return "" if found is None else str(found)


@pytest.fixture
def site(shared_server: PrefectServer, tmp_path: Path) -> Site:
    # Seen from half an hour ahead, minutes between two runs do not change what goes.
    policy = Policy(datetime.now(UTC) + timedelta(minutes=30), SAME)
    fill(shared_server.db_url, policy, seed=5)
    site = Site(shared_server, tmp_path)
    site.metrics.parent.mkdir()
    return site


@pytest.fixture
def maid(site: Site, cluster: Postgres) -> Iterator[str]:
    """The URL of a role that may do everything but vacuum one table."""
    name = name_of(site.server.db_url)
    run_step("role", {"db_url": site.server.db_url, **MAID})
    if int(cluster.execute("SHOW server_version_num")[0][0]) >= 170000:
        cluster.execute("REVOKE MAINTAIN ON events FROM maid", name)
    yield as_maid(cluster, site.server.db_url)["db_url"]
    cluster.execute("DROP OWNED BY maid", name)
    cluster.execute("DROP ROLE maid")


def survived(before: Dump, after: Dump) -> bool:
    """Tell whether every row is there as it was; a run adds rows of its own."""
    return all(after[t].get(i) == row for t in TABLES for i, row in before[t].items())


def last_status(site: Site) -> str:
    """Return how the last run ended, as the metrics have it."""
    sign = 'prefect_maintenance_last_run_status{host="prefect-1",status="'
    lines = site.metrics.read_text().splitlines()
    (status,) = [x for x in lines if x.startswith(sign) and x.endswith("} 1")]
    return status.removeprefix(sign).partition('"')[0]


def dead_run(site: Site) -> str:
    """Add a run that has been unfinished for too long, and return its id."""
    engine = engine_for(site.server.db_url)
    runs = Unfinished(engine)
    dead = runs.run("dead", days=40)
    runs.add()
    engine.dispose()
    return dead


def test_a_dry_run_says_what_would_go_and_changes_none_of_it(site: Site) -> None:
    dead = dead_run(site)
    before = site.rows()
    checked = site.run(dry_run=True, vacuum="auto", max_rows=1, stuck={"RUNNING": 30})
    assert survived(before, site.rows())
    assert checked.report is not None
    assert (checked.report["check_mode"], checked.report["status"]) == (True, "ok")
    assert "# Maintenance, check only: ok" in checked.artifact
    assert "rows** would go" in checked.artifact
    foretold = {t: n for t, n in checked.report["deleted"].items() if t in before and n}
    assert foretold["log"] > 0
    assert f"| {foretold['log']:,} |" in checked.row("log")
    # Both steps together, once: the purge is told that the deletion follows.
    total = sum(checked.report["deleted"].values())
    assert checked.report["refused"].startswith(f"{total:,} rows would go, more than max_rows (1)")
    assert checked.report["refused"].count("would go") == 1
    assert not site.metrics.exists()
    assert dead in {run["id"] for run in checked.report["stuck"] if run["why_not"] is None}

    site.run(stuck={"RUNNING": 30})
    assert last_status(site) == "ok"
    assert 'last_success_timestamp_seconds{host="prefect-1"}' in site.metrics.read_text()
    after = site.rows()
    gone = {t: len(set(before[t]) - set(after[t])) for t in foretold}
    assert gone == foretold
    assert after["flow_run"][dead]["state_type"] == "CRASHED"


def test_what_the_role_may_not_do_fails_the_first_step_before_anything_goes(
    site: Site, maid: str
) -> None:
    before = site.rows()
    refused = site.run(db_url=maid)
    assert refused.report is None
    assert "to vacuum: " in refused.output
    assert survived(before, site.rows())
    # Who leaves the step out needs no right for it.
    done = site.run(db_url=maid, vacuum="none")
    assert done.report is not None
    assert not survived(before, site.rows())


def test_a_table_that_could_not_be_rewritten_stands_as_failed_in_the_artifact(site: Site) -> None:
    engine = engine_for(site.server.db_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "SELECT gen_random_uuid(), 'l', 20, 'm', now() - (n % 10 > 0)::int "
                "* interval '90 days' FROM generate_series(1, 20000) n"
            )
        )
    reader = engine.connect()
    reader.execute(sa.text("SELECT count(*) FROM log"))
    try:
        ended = site.run(
            vacuum="full", vacuum_min_bytes=0, purge_strategy="delete", lock_timeout=0.5
        )
    finally:
        reader.close()
        engine.dispose()
    assert ended.report is None
    assert "# Maintenance: partial" in ended.artifact
    assert "FAILED" in ended.row("log")
    assert "VACUUM FULL" not in ended.row("log")
    assert "FAILED" not in ended.row("events")
    assert "## Failures" in ended.artifact
    assert "the lock on log could not be had" in ended.artifact


STOP = """before({step!r}, Path(os.environ["STOP_FILE"]).touch)"""
FAULT = """before({step!r}, lambda: 1 / 0)"""
KILLED = """
def end():
    raise KeyboardInterrupt
before({step!r}, end)
"""


@pytest.mark.parametrize(
    ("how", "step", "told", "status"),
    [
        (STOP, "purge", "stopped by the file", "failed"),
        (STOP, "delete", "stopped by the file", "partial"),
        (FAULT, "delete", "ZeroDivisionError: division by zero; report this fault", "partial"),
        (KILLED, "delete", "ended by KeyboardInterrupt", "partial"),
    ],
    ids=("stopped before", "stopped after", "fault", "killed"),
)
def test_a_run_that_ends_between_two_steps_is_partial_only_when_rows_went(
    site: Site, how: str, step: str, told: str, status: str
) -> None:
    ended = site.run(between=how.format(step=step))
    assert ended.report is None
    assert f"# Maintenance: {status}" in ended.artifact
    assert told in ended.artifact
    deleted = ended.row("log").split("|")[3].strip()
    assert (deleted != "0") == (status == "partial")
    assert last_status(site) == status
    assert "last_success" not in site.metrics.read_text()


def test_a_run_outside_of_its_windows_is_no_failure_and_deletes_nothing(site: Site) -> None:
    before, later = site.rows(), datetime.now(UTC) + timedelta(hours=12)
    ended = site.run(windows=[{"cron": f"0 {later:%H} * * *", "duration": "1h"}])
    assert ended.report is not None, "the run would stand as failed"
    assert survived(before, site.rows())
    assert "# Maintenance: partial" in ended.artifact
    opens = f"which opens {later:%Y-%m-%d %H}:00 UTC"
    for step in ("purge", "delete", "vacuum"):
        assert f"{step}: no window was open while at the beginning" in ended.artifact
        assert opens in ended.output
    assert last_status(site) == "partial"
    assert "last_success" not in site.metrics.read_text()
