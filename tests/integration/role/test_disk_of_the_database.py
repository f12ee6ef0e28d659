"""The disk of the database is looked at on the host that has it, through a play."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sites import Site, recap

from lab.postgres import Postgres, free_port

# A host on which no module could run, and one that nobody can reach.
HOSTS = """
[disks]
db1 ansible_connection=local ansible_python_interpreter=/nowhere/python
lost ansible_host=127.0.0.1 ansible_port={port} ansible_connection=ssh
"""


@pytest.fixture
def disks(site: Site, tmp_path: Path) -> tuple[str, ...]:
    """What makes the two hosts known to a play that is about the server alone."""
    inventory = tmp_path / "disks.ini"
    inventory.write_text(HOSTS.format(port=free_port()))
    return ("-i", str(inventory), "--limit", "demo")


def test_the_disk_is_looked_at_on_the_host_that_is_named_in_a_check_and_in_the_report(
    site: Site, disks: tuple[str, ...], cluster: Postgres
) -> None:
    site.variables = {"prefect_maintenance_db_host": "db1"}
    total = shutil.disk_usage(cluster.data).total
    for playbook, file, options in (
        ("report", "demo-report.json", ()),
        ("maintain", "demo.json", ("--check",)),
    ):
        done = site.play(playbook, *disks, *options)
        assert done.returncode == 0, done.stdout
        told = site.report(file)
        disk = told["forecast"]["disk"]
        assert (disk["path"], disk["where"]) == (str(cluster.data), "db1")
        assert disk["total_bytes"] == pytest.approx(total, abs=1024)
        assert 0 < disk["free_bytes"] < total
        assert told["forecast"]["settles_at_bytes"] > 0
        assert len(told["verdict"]["lines"]) == 3
        assert told["verdict"]["lines"][1] in done.stdout


def test_a_host_that_cannot_be_reached_keeps_nothing_from_being_done(
    site: Site, disks: tuple[str, ...]
) -> None:
    site.variables = {"prefect_maintenance_db_host": "lost"}
    done = site.play("maintain", *disks)
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout)["changed"] > 0
    report = site.report()
    assert report["status"] == "ok"
    assert report["forecast"]["disk"] is None
    assert report["forecast"]["days_until_full"] is None
    (told,) = [one for one in report["warnings"] if "the disk of the database on lost" in one]
    assert "is not known: " in told
    assert report["verdict"]["working"] is True
    assert report["verdict"]["lines"][0].startswith("Retention works")
