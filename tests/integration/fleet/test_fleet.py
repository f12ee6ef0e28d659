"""A rollout over many servers: canary, waves, failures that stay alone, one summary, retry."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from maintenance import run_step, small_disk, wait_until
from paces import paced
from prefect_maintenance.database.connection import connect
from prefect_maintenance.errors import Stopped
from prefect_maintenance.events import Progress
from prefect_maintenance.pace.budget import Budget
from prefect_maintenance.pace.cluster import place_in_cluster
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.parent import Parent
from prefect_maintenance.pace.stop_file import StopFile
from rollout import Rollout

from lab.fleet import FILL, Fleet
from lab.postgres import Postgres, free_port

DAYS = 20
NAMES = [f"prefect-{n:02}" for n in range(1, 11)]
AT_WORK = "SELECT application_name FROM pg_stat_activity WHERE query LIKE 'DELETE FROM log%'"
BROKEN = {"prefect-04", "prefect-07", "prefect-09"}


def recap(output: str) -> dict[str, dict[str, int]]:
    lines = output.split("PLAY RECAP", 1)[1].splitlines()[1:]
    return {
        line.split()[0]: {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", line)}
        for line in lines
        if ":" in line
    }


@pytest.fixture(scope="module")
def hosts(servers: Fleet) -> dict[str, dict[str, Any]]:
    return {name: servers.add(name, DAYS) for name in NAMES}


def broken(hosts: dict[str, dict[str, Any]], cluster: Postgres) -> dict[str, dict[str, Any]]:
    """Return the fleet with one server down, one wrong password and one that is out of reach."""
    url = hosts["prefect-07"]["prefect_maintenance_db_url"]
    wrong = {
        "prefect-04": {"prefect_maintenance_api_url": f"http://127.0.0.1:{free_port()}/api"},
        "prefect-07": {"prefect_maintenance_db_url": url.replace("lab-secret", "no-secret")},
        "prefect-09": {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": free_port(),
        },
    }
    return {name: {**variables, **wrong.get(name, {})} for name, variables in hosts.items()}


def succeeded(collector: Path) -> set[str]:
    """Return the hosts that share the machine's file of metrics and have had a success."""
    text = (collector / "prefect_maintenance.prom").read_text()
    return set(re.findall(r'_last_success_timestamp_seconds\{host="([^"]+)"', text))


def test_one_summary_names_three_broken_servers_and_a_retry_finishes_them(
    servers: Fleet, hosts: dict[str, dict[str, Any]], cluster: Postgres, tmp_path: Path
) -> None:
    collector = tmp_path / "collector"
    collector.mkdir()
    common = {"prefect_maintenance_textfile_dir": str(collector)}
    rollout = Rollout(tmp_path, broken(hosts, cluster), **common)
    done = rollout.run()
    assert done.returncode == 2, done.stdout
    assert succeeded(collector) == set(NAMES) - BROKEN
    assert done.stdout.count("PLAY [Keep Prefect servers lean]") == 3
    assert rollout.statuses() == {n: "failed" if n in BROKEN else "ok" for n in NAMES}
    for name in NAMES:
        assert servers.logs(name) == (DAYS if name in BROKEN else DAYS - 6), name
    reasons = {host["host"]: host["failure"] for host in rollout.fleet()["hosts"]}
    assert "cannot reach the Prefect API" in reasons["prefect-04"]
    assert "check user and password" in reasons["prefect-07"]
    assert "the server cannot be reached" in reasons["prefect-09"]
    assert "no-secret" not in done.stdout + json.dumps(rollout.fleet())
    ended = recap(done.stdout)
    assert {name for name in NAMES if ended[name]["failed"]} == BROKEN
    assert "10 servers: 7 ok, 3 failed; 42 rows gone" in done.stdout

    rollout.hosts = hosts
    again = rollout.run("--limit", f"prefect-01,@{rollout.reports / 'fleet.retry'}")
    assert again.returncode == 0, again.stdout
    assert rollout.statuses() == dict.fromkeys(NAMES, "ok")
    assert "4 servers: 4 ok" in again.stdout
    assert {servers.logs(name) for name in NAMES} == {DAYS - 6}
    assert succeeded(collector) == set(NAMES)
    assert recap(again.stdout)["prefect-01"]["changed"] == 0
    assert not (rollout.reports / "fleet.retry").read_text()


def test_an_old_server_and_a_full_disk_fail_alone_and_are_named(
    servers: Fleet, cluster: Postgres, template: str, tmp_path: Path
) -> None:
    hosts = {name: servers.add(name, DAYS) for name in ("canary", "old", "sound")}
    # What tells a server of Prefect 2 from one of Prefect 3.
    cluster.execute("ALTER TABLE automation_event_follower DROP COLUMN scope", "old")
    with small_disk(cluster, template, "full") as disk:
        cluster.execute(FILL.format(days=DAYS, rows=1), "full")
        # A session that comes after it has to write a file before it can begin.
        cluster.execute("VACUUM", "full")
        disk.fill(leave=0)
        api = hosts["sound"]["prefect_maintenance_api_url"].replace("/sound/", "/full/")
        hosts["full"] = {
            "prefect_maintenance_db_url": disk.url,
            "prefect_maintenance_api_url": api,
        }
        rollout = Rollout(tmp_path, hosts, prefect_maintenance_max_fail_percentage=100)
        done = rollout.run()
        assert done.returncode == 2, done.stdout
        statuses = {"canary": "ok", "old": "failed", "sound": "ok", "full": "failed"}
        assert rollout.statuses() == statuses, done.stdout
        reasons = {host["host"]: host["failure"] for host in rollout.fleet()["hosts"]}
        assert "older than 3" in reasons["old"]
        assert "disk is full" in reasons["full"]
        assert {servers.logs(name) for name in ("canary", "sound")} == {DAYS - 6}
        assert servers.logs("old") == DAYS


def test_a_fleet_that_never_ran_is_checked_killed_in_the_middle_and_converges(
    servers: Fleet, cluster: Postgres, tmp_path: Path
) -> None:
    hosts = {f"cut-{n}": servers.add(f"cut-{n}", DAYS, rows=3000) for n in (1, 2)}
    collector = tmp_path / "collector"
    collector.mkdir()
    rollout = Rollout(
        tmp_path,
        hosts,
        prefect_maintenance_home=str(tmp_path / "home"),
        prefect_maintenance_serial="1, 100%",
        prefect_maintenance_textfile_dir=str(collector),
    )
    checked = rollout.run("--check")
    assert checked.returncode == 0, checked.stdout
    assert "check only, nothing was changed" in checked.stdout
    assert rollout.fleet()["deleted"] == {"log": 2 * 6 * 3000}
    assert {servers.logs(name) for name in hosts} == {DAYS * 3000}
    assert list(collector.iterdir()) == []

    by_deletes = "prefect_maintenance_purge_strategy=delete"
    running = subprocess.Popen(
        rollout.command("-e", "prefect_maintenance_batch_size=1", "-e", by_deletes),
        env=rollout.environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    found = wait_until(lambda: cluster.execute(AT_WORK))
    # Ansible's workers have sessions of their own, so the module is killed by itself.
    os.kill(int(found[0][0].rsplit(" ", 1)[1]), signal.SIGKILL)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert (DAYS - 6) * 3000 < servers.logs("cut-1") <= DAYS * 3000
    lost = 'last_run_status{host="cut-1",status="failed"} 1\n'
    assert lost in (collector / "prefect_maintenance.prom").read_text()
    assert succeeded(collector) == set()

    done = rollout.run()
    assert done.returncode == 0, done.stdout
    assert {servers.logs(name) for name in hosts} == {(DAYS - 6) * 3000}
    assert succeeded(collector) == set(hosts)
    nothing = rollout.run()
    assert nothing.returncode == 0, nothing.stdout
    assert {ended["changed"] for ended in recap(nothing.stdout).values()} == {0}
    assert rollout.fleet()["deleted"] == {}
    assert {h["oldest"]["days_past"] for h in rollout.fleet()["hosts"]} == {0.0}


def test_a_broken_canary_stops_the_rollout_before_the_next_wave(
    hosts: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    three = {name: hosts[name] for name in NAMES[:3]}
    three[NAMES[0]] = {**three[NAMES[0]], "prefect_maintenance_states": ["RUNNING"]}
    rollout = Rollout(tmp_path, three)
    done = rollout.run()
    assert done.returncode == 2
    assert list(rollout.statuses().values()) == ["failed", "not reached", "not reached"]
    assert "1 of 1 server failed" in rollout.fleet()["stopped"]
    assert (rollout.reports / "fleet.retry").read_text().split() == NAMES[:3]
    assert not (rollout.reports / f"{NAMES[1]}.json").exists()


def test_the_stop_playbook_stops_what_runs_after_it_until_it_is_taken_back(
    servers: Fleet, tmp_path: Path
) -> None:
    host = {"halted": servers.add("halted", DAYS)}
    rollout = Rollout(tmp_path, host, prefect_maintenance_home=str(tmp_path / "home"))
    assert rollout.run(playbook="stop").returncode == 0
    done = rollout.run()
    assert done.returncode == 2
    assert "stopped by the file" in rollout.fleet()["hosts"][0]["failure"]
    assert servers.logs("halted") == DAYS
    back = rollout.run("-e", "prefect_maintenance_stop=false", playbook="stop")
    assert back.returncode == 0
    assert not (tmp_path / "home" / "stop").exists()


def test_the_stop_file_ends_a_step_between_two_batches(servers: Fleet, tmp_path: Path) -> None:
    asked = purging(servers.add("stopping", DAYS, rows=100))
    stop = tmp_path / "stop"
    pace = paced(lambda _progress: stop.touch(), StopFile(stop))
    with pytest.raises(Stopped, match="stopped by the file"):
        run_step("purge", {**asked, "batch_size": 5}, pace=pace)
    stop.unlink()

    def once_at_work(progress: Progress) -> None:
        if progress.done:
            stop.touch()

    with pytest.raises(Stopped, match=f"{stop} while at log"):
        run_step("purge", {**asked, "batch_size": 5}, pace=paced(once_at_work, StopFile(stop)))
    assert (DAYS - 6) * 100 < servers.logs("stopping") < DAYS * 100
    stop.unlink()
    run_step("purge", asked, pace=paced(None, StopFile(stop)))
    assert servers.logs("stopping") == (DAYS - 6) * 100


def test_a_step_whose_starter_is_gone_stops_between_two_batches(servers: Fleet) -> None:
    asked = purging(servers.add("orphan", DAYS, rows=100))
    reader, writer = os.pipe()

    def leave(progress: Progress) -> None:
        if progress.done and not left:
            os.close(reader)
            left.append(True)

    left: list[bool] = []
    with pytest.raises(Stopped, match="whoever started the run was gone while at log"):
        run_step(
            "purge",
            {**asked, "batch_size": 5},
            pace=paced(leave, Parent(writer)),
        )
    os.close(writer)
    assert (DAYS - 6) * 100 < servers.logs("orphan") < DAYS * 100


def test_only_so_many_databases_of_a_cluster_are_worked_on_at_a_time(servers: Fleet) -> None:
    asked = {name: purging(servers.add(name, DAYS, rows=100)) for name in ("c1", "c2", "c3", "c4")}
    seen: dict[str, list[float]] = {name: [] for name in asked}
    # Two go on only together, so that they are at work at one time however fast they are.
    two = threading.Barrier(2, timeout=120)

    def work(name: str) -> None:
        def show(progress: Progress) -> None:
            if progress.table == "log":
                if not seen[name]:
                    seen[name].append(time.monotonic())
                    two.wait()
                seen[name].append(time.monotonic())

        run_step("purge", {**asked[name], "batch_size": 5, "per_cluster": 2}, pace=paced(show))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, asked))
    at_once = [
        sum(times[0] <= instant <= times[-1] for times in seen.values())
        for times in seen.values()
        for instant in times
    ]
    assert max(at_once) == 2
    assert {servers.logs(name) for name in asked} == {(DAYS - 6) * 100}


def test_a_wait_for_the_cluster_ends_with_the_time_budget(
    servers: Fleet, cluster: Postgres
) -> None:
    servers.add("holding")
    waiting = purging(servers.add("waiting", DAYS))
    cluster.execute("CREATE ROLE bystander LOGIN PASSWORD 'x'")
    with connect(cluster.url("holding", "bystander", "x"), 5.0) as other:
        with place_in_cluster(other, 1, Pace()):
            with pytest.raises(Stopped, match=r"budget of 1 s .* wait for other databases"):
                run_step("purge", waiting, pace=paced(None, Budget(1)))
            run_step("purge", {**waiting, "per_cluster": 2})
        run_step("vacuum", waiting)
    assert servers.logs("waiting") == DAYS - 6


def purging(variables: dict[str, Any]) -> dict[str, Any]:
    """Return a request to the engine for the purge of one server."""
    return {
        **{key.removeprefix("prefect_maintenance_"): v for key, v in variables.items()},
        "purge_strategy": "delete",
    }
