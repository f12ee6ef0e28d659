"""A slow server holds no other of its wave up, and those that share an environment make one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import sqlalchemy as sa
from maintenance import engine_for, wait_until
from quick_python import quick_python
from rollout import Rollout

from lab.fleet import Fleet
from lab.postgres import Postgres

DAYS = 20
# However busy the machine is, what is waited for comes before that.
SECONDS = 400
OLDEST = "SELECT id FROM log ORDER BY timestamp LIMIT 1 FOR UPDATE"
HELD = """
SELECT pid FROM pg_stat_activity WHERE datname = 'slow' AND wait_event_type = 'Lock'
AND application_name LIKE 'prefect-maintenance%'
"""


def test_the_others_are_done_while_a_slow_server_is_at_work(
    servers: Fleet, cluster: Postgres, tmp_path: Path
) -> None:
    hosts = {name: servers.add(name, DAYS) for name in ("slow", "quick", "quicker")}
    made = tmp_path / "made"
    rollout = Rollout(
        tmp_path,
        hosts,
        **quick_python(tmp_path, pip=f"echo once >> {made}"),
        prefect_maintenance_serial="100%",
        prefect_maintenance_purge_strategy="delete",
        prefect_maintenance_lock_timeout=3600,
        prefect_maintenance_per_cluster=0,
    )
    engine = engine_for(hosts["slow"]["prefect_maintenance_db_url"])
    with engine.connect() as holder, (tmp_path / "shown").open("w") as shown:
        holder.execute(sa.text(OLDEST))
        run = subprocess.Popen(
            rollout.command(), env=rollout.environment(), cwd=tmp_path, stdout=shown,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            reports = [rollout.reports / f"{name}.json" for name in ("quick", "quicker")]
            wait_until(lambda: cluster.execute(HELD) or run.poll() is not None, SECONDS)
            wait_until(lambda: all(r.is_file() for r in reports) or run.poll() is not None, SECONDS)
            assert run.poll() is None, (tmp_path / "shown").read_text()
            assert not (rollout.reports / "slow.json").exists()
            holder.rollback()
            assert run.wait(SECONDS) == 0, (tmp_path / "shown").read_text()
        finally:
            run.kill()
            run.wait()
    engine.dispose()
    assert made.read_text() == "once\n"
    told = (tmp_path / "shown").read_text()
    assert rollout.statuses() == dict.fromkeys(hosts, "ok")
    assert told.count("3 servers: 3 ok") == 1
    assert told.index("3 servers: 3 ok") > told.rindex("Give the space back")


def test_a_server_that_begins_late_is_not_kept_back_by_one_that_failed_in_its_own_wave(
    servers: Fleet, tmp_path: Path
) -> None:
    hosts = {name: servers.add(name, DAYS) for name in ("wrong", "late")}
    hosts["wrong"]["prefect_maintenance_states"] = ["RUNNING"]
    rollout = Rollout(
        tmp_path, hosts,
        prefect_maintenance_serial="100%", prefect_maintenance_max_fail_percentage=0,
    )  # fmt: skip
    # With one fork the second begins when the first has ended.
    done = rollout.run("--forks", "1")
    assert done.returncode == 2
    assert rollout.statuses() == {"wrong": "failed", "late": "ok"}, done.stdout
