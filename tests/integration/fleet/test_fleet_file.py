"""What lies in the report folder after a run: of all servers, of some, of none, of a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rollout import Rollout
from schemas import report_at

from lab.fleet import Fleet
from lab.postgres import Postgres, free_port

DAYS = 20
KNOWN = "prefect_maintenance_preflight, prefect_maintenance_install, prefect_maintenance_maintain"


@pytest.fixture(scope="module")
def rollout(
    cluster: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rollout]:
    """A rollout over a sound server, one that is down and another sound one."""
    with Fleet(cluster, template) as fleet:
        hosts = {name: fleet.add(name, DAYS) for name in ("file-a", "file-b", "file-c")}
        hosts["file-b"]["prefect_maintenance_api_url"] = f"http://127.0.0.1:{free_port()}/api"
        rollout = Rollout(
            tmp_path_factory.mktemp("files"), hosts, prefect_maintenance_serial="100%"
        )
        done = rollout.run()
        assert done.returncode == 2, done.stdout
        assert rollout.statuses() == {"file-a": "ok", "file-b": "failed", "file-c": "ok"}
        yield rollout


def files(rollout: Rollout) -> dict[str, bytes]:
    found = (path for path in rollout.reports.rglob("*") if path.is_file())
    return {str(path.relative_to(rollout.reports)): path.read_bytes() for path in found}


def entries(rollout: Rollout) -> dict[str, dict[str, Any]]:
    return {host["host"]: host for host in rollout.fleet()["hosts"]}


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_misspelled_tag_is_refused_and_leaves_the_summary_as_it_was(
    rollout: Rollout, option: str
) -> None:
    before = files(rollout)
    done = rollout.run(option, "prefect_maintenance_maintian")
    assert done.returncode == 2, done.stdout
    told = " ".join(done.stdout.split())
    assert "names prefect_maintenance_maintian, which does not exist" in told
    assert KNOWN in told
    assert files(rollout) == before


def test_a_run_that_maintains_nothing_says_so_and_leaves_the_summary_as_it_was(
    rollout: Rollout,
) -> None:
    before = files(rollout)
    done = rollout.run("--tags", "prefect_maintenance_preflight")
    assert done.returncode == 0, done.stdout
    assert "fleet.json stays as it was" in " ".join(done.stdout.split())
    assert files(rollout) == before


def test_a_limited_run_leaves_the_other_servers_in_the_summary_with_their_own_time(
    rollout: Rollout,
) -> None:
    before = entries(rollout)
    done = rollout.run("--limit", "file-a")
    assert done.returncode == 0, done.stdout
    after, summary = entries(rollout), rollout.fleet()
    assert list(after) == list(before)
    assert {name: after[name] for name in ("file-b", "file-c")} == {
        name: before[name] for name in ("file-b", "file-c")
    }
    assert after["file-a"]["finished"] > before["file-a"]["finished"]
    assert (after["file-a"]["deleted"], before["file-a"]["deleted"]) == ({}, {"log": 6})
    assert summary["servers"] == {"total": 3, "ok": 2, "partial": 0, "failed": 1, "not_reached": 0}
    # The run did well; the fleet has still a server that failed.
    assert summary["status"] == "failed"
    assert (rollout.reports / "fleet.retry").read_text() == "file-b\n"


def test_a_report_that_fails_is_left_in_its_file_and_fails_the_play(rollout: Rollout) -> None:
    url = rollout.hosts["file-a"]["prefect_maintenance_db_url"].replace("lab-secret", "no-secret")
    report = rollout.reports / "file-a-report.json"
    limited = ("--limit", "file-a")
    assert rollout.run(*limited, playbook="report").returncode == 0
    assert report_at(report)["status"] == "ok"
    for wrong, says in (
        ({"prefect_maintenance_db_url": url}, "check user and password"),
        ({"prefect_maintenance_python": "/nonexistent"}, "cannot run the modules"),
    ):
        done = rollout.run(*limited, "-e", json.dumps(wrong), playbook="report")
        assert done.returncode == 2, done.stdout
        found = report_at(report)
        assert {"schema": 1, "host": "file-a", "check_mode": False, "status": "failed"}.items() <= (
            found.items()
        )
        assert says in found["errors"][0]
        assert "no-secret" not in done.stdout + report.read_text()
