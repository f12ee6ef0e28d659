"""The maintenance as a scheduled deployment: installed by the role, run by a real worker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from listener import triggered
from maintenance import engine_for, fill, wait_until
from oracle import survivors
from scheduled import AUTH, DEPLOYMENT, KEY_HEADER, Scheduled, command, of_worker
from sites import recap
from world import SAME, TABLES, Dump, Policy, dump

from lab.postgres import PASSWORD, Postgres
from lab.server import PrefectServer

SECRETS = (PASSWORD, AUTH, AUTH.split(":")[1], KEY_HEADER)
AT_WORK = """
SELECT pid FROM pg_stat_activity
WHERE datname = 'scheduled' AND application_name LIKE 'prefect-maintenance%'
"""
NAME = "prefect-maintenance"
DONE = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


@pytest.fixture(scope="module")
def site(
    cluster: Postgres,
    template: str,
    start_server_for_session: Callable[..., PrefectServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scheduled:
    """A server that asks for credentials, with the deployment installed twice."""
    server = start_server_for_session(
        cluster.create_database("scheduled", template),
        environment={"PREFECT_SERVER_API_AUTH_STRING": AUTH},
    )
    site = Scheduled(server, tmp_path_factory.mktemp("scheduled"))
    site.variables["prefect_maintenance_automation"] = True
    # The unit needs root and systemd; containers have both. What it names is laid down by hand.
    first = site.play("schedule", "-vvv")
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-2000:]
    for secret in SECRETS:
        assert secret not in first.stdout + first.stderr
    lay_down_the_workers_environment(site)
    return site


def lay_down_the_workers_environment(site: Scheduled) -> None:
    rendered = subprocess.run(
        [*site.command("schedule")[:1], str(Path(__file__).with_name("render_worker.yml")), "-i",
         "localhost,", "-c", "local", "-e", json.dumps(site.variables),
         "-e", f"api_url={site.server.api_url}", "-e", f"dest={site.home}",
         "-e", f"ansible_python_interpreter={sys.executable}"],
        env=site.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stdout[-2000:]


@pytest.fixture
def backlog(site: Scheduled) -> Policy:
    """Fill the database with a world of which some must go."""
    policy = Policy(datetime.now(UTC), SAME)
    fill(site.server.db_url, policy, seed=5)
    return policy


def test_the_second_run_of_the_play_changes_nothing(site: Scheduled) -> None:
    with site.api() as api:
        before = api.find(DEPLOYMENT)
    watching = site.automations()
    assert set(watching) == {f"{NAME}: a run failed", f"{NAME}: no run completed in time"}
    again = site.play("schedule")
    assert recap(again.stdout)["changed"] == 0, again.stdout
    assert "runs next at" in again.stdout
    with site.api() as api:
        after = api.find(DEPLOYMENT)
    assert (after["id"], after["updated"]) == (before["id"], before["updated"])
    assert after["schedules"] == before["schedules"]
    assert site.automations() == watching


def test_a_worker_leaves_what_the_policy_keeps_and_tells_people_about_it(
    site: Scheduled, backlog: Policy
) -> None:
    engine = engine_for(site.server.db_url)
    before = dump(engine)
    run = site.start_run()
    seen: set[str] = set()
    with site.worker():
        while site.state(run)["state_type"] not in DONE:
            seen |= {command(process) for process in of_worker(site.home)}
        done = site.wait(run, DONE)
        assert done["state_type"] == "COMPLETED", site.worker_log()
        # A run sends its last lines after its state, so its process must live until they are there.
        logs = site.logs(run, "rows deleted")
    assert any("prefect.engine" in shown for shown in seen), seen
    assert done["name"].startswith("maintenance-20")
    after = dump(engine)
    engine.dispose()
    compare(before, after)
    with site.api() as api:
        artifacts = api.ask("POST", "/artifacts/filter", json={})
        tasks = api.ask("POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}})
    report = next(a for a in artifacts if a["key"] == "prefect-maintenance")
    assert "rows** deleted" in report["data"]
    assert "![Sizes before and after](data:image/svg+xml;base64," in report["data"]
    assert "Kept although older than the cutoff" in report["data"]
    progress = next(a for a in artifacts if a["key"] == "prefect-maintenance-progress")
    assert (progress["data"], progress["description"]) == (100, "done")
    assert {task["name"] for task in tasks} == {
        "Measure the database", "Purge logs, events and orphans", "Delete runs and artifacts",
        "Give the space back",
    }  # fmt: skip
    metrics = (site.collector / "prefect_maintenance.prom").read_text()
    assert 'last_run_status{host="demo",status="ok"} 1\n' in metrics
    # The run's own rows obey the policy, and are young.
    assert run in after["flow_run"]
    told = json.dumps([artifacts, tasks, logs, done, sorted(seen)], default=str)
    for secret in SECRETS:
        assert secret not in told


def test_a_run_that_is_given_a_saved_plan_is_refused_when_it_is_made(site: Scheduled) -> None:
    with site.api() as api:
        route = f"/deployments/{api.find(DEPLOYMENT)['id']}/create_flow_run"
    name, _, password = AUTH.partition(":")
    asked = {"parameters": {"plan_in": "plans"}}
    answer = httpx.post(f"{site.server.api_url}{route}", json=asked, auth=(name, password))
    assert answer.status_code == 409
    assert "'plan_in' was unexpected" in answer.json()["detail"]


def test_no_secret_is_in_the_database_or_in_a_file_that_others_can_read(
    site: Scheduled, cluster: Postgres
) -> None:
    dumped = subprocess.run(
        [cluster.program("pg_dump"), "-h", "127.0.0.1", "-p", str(cluster.port), "-U", "postgres",
         "scheduled"],
        env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    holding = {}
    for secret in SECRETS:
        assert secret not in dumped
        for path in site.home.rglob("*"):
            if path.is_file() and secret.encode() in path.read_bytes():
                holding[path.name] = path.stat().st_mode & 0o777
    assert holding == {"credentials.json": 0o600, "worker.env": 0o600}


def compare(before: Dump, after: Dump) -> None:
    """The report says from which instant it counted; the oracle counts from there."""
    told = [row["data"] for row in after["artifact"].values()
            if "Everything is counted back from" in str(row["data"])]  # fmt: skip
    found = re.findall(r"counted back from (\S+Z)\.", told[-1])
    wanted = survivors(before, Policy(datetime.fromisoformat(found[0]), SAME))
    for table in TABLES:
        gone = set(before[table]) - set(after[table])
        assert gone == set(before[table]) - set(wanted[table]), table


def test_of_two_runs_at_once_one_does_the_work_and_the_other_ends_cancelled(
    site: Scheduled, backlog: Policy
) -> None:
    runs = [site.start_run(), site.start_run()]
    with site.worker():
        ended = sorted(site.wait(run, DONE)["state_type"] for run in runs)
    assert ended == ["CANCELLED", "COMPLETED"]


def test_a_worker_that_is_killed_is_followed_by_one_that_finishes(
    site: Scheduled, cluster: Postgres, backlog: Policy
) -> None:
    engine = engine_for(site.server.db_url)
    before = dump(engine)
    with engine.connect() as holder:
        # The run comes as far as this row and waits for it.
        holder.execute(sa.text("SELECT id FROM log ORDER BY timestamp LIMIT 1 FOR UPDATE"))
        run = site.start_run()
        with site.worker():
            wait_until(lambda: cluster.execute(AT_WORK + " AND wait_event_type = 'Lock'"))
            assert "no run was ended: another maintenance run" in site.before_the_worker()
    wait_until(lambda: not cluster.execute(AT_WORK))
    assert site.state(run)["state_type"] == "RUNNING"
    told = site.before_the_worker()
    assert f"{site.state(run)['name']} was at work when its worker ended" in told
    assert site.state(run)["state_type"] == "CRASHED"
    assert site.before_the_worker() == ""
    again = site.start_run()
    with site.worker():
        assert site.wait(again, DONE)["state_type"] == "COMPLETED", site.worker_log()
    after = dump(engine)
    engine.dispose()
    compare(before, after)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.rename(file.with_suffix(".away")), "cannot be read"),
        (lambda file: file.chmod(0o644), "can be read by others (mode 644); chmod 600 it"),
    ],
    ids=("missing", "readable by others"),
)
def test_credentials_that_are_missing_or_open_to_others_fail_the_run_in_one_line(
    site: Scheduled, backlog: Policy, spoil: Any, told: str
) -> None:
    engine = engine_for(site.server.db_url)
    before = dump(engine, ("log", "artifact"))
    file = site.home / "credentials.json"
    spoil(file)
    try:
        run = site.start_run()
        with site.worker():
            done = site.wait(run, DONE)
    finally:
        if not file.exists():
            file.with_suffix(".away").rename(file)
        file.chmod(0o600)
    assert done["state_type"] == "FAILED"
    assert told in done["state"]["message"]
    watching = site.automations()[f"{NAME}: a run failed"]
    with site.api() as api:
        wait_until(lambda: run in json.dumps(triggered(api, watching)))
    left = dump(engine, ("log", "artifact"))
    engine.dispose()
    assert set(before["log"]) <= set(left["log"])
    assert set(before["artifact"]) <= set(left["artifact"])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prefect_maintenance_schedule_cron": "every day"}, "is not valid"),
        ({"prefect_maintenance_schedule_timezone": "Asia/Nowhere"}, "is unknown"),
        ({"prefect_maintenance_service_user": "nobody-of-that-name"}, "there is no user"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_laid_down(
    site: Scheduled, tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    elsewhere = Scheduled(site.server, tmp_path)
    elsewhere.variables |= {"prefect_maintenance_deployment_name": "never-made", **wrong}
    refused = elsewhere.play("schedule")
    assert refused.returncode != 0
    assert told in refused.stdout
    assert not (elsewhere.home / "flow").exists()
    with site.api() as api:
        assert api.find("/deployments/name/prefect-maintenance/never-made") is None


def test_absent_takes_all_of_it_away_and_a_second_time_changes_nothing(site: Scheduled) -> None:
    removed = site.play("schedule", "-e", "prefect_maintenance_schedule_state=absent")
    assert removed.returncode == 0, removed.stdout
    with site.api() as api:
        assert (api.find(DEPLOYMENT), api.find("/work_pools/process-pool")) == (None, None)
    assert site.automations() == {}
    left = [path.name for path in site.home.iterdir()]
    assert set(left) & {"flow", "worker", "worker.env", "credentials.json"} == set()
    again = site.play("schedule", "-e", "prefect_maintenance_schedule_state=absent")
    assert recap(again.stdout)["changed"] == 0, again.stdout
