"""What `make dist` builds: Galaxy takes it, it installs offline, and it maintains a server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from maintenance import FLOW, clear, engine_for
from schemas import report_at
from world import Policy, dump, insert, make_world

from lab import dist, environments
from lab.server import PrefectServer

ROOT = environments.ROOT
BIN = Path(sys.executable).parent
KEPT = dict.fromkeys(("flow_runs", "task_runs", "artifacts", "logs", "events"), 15)


def run(
    folder: Path, program: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder that is its home; nothing tells it where the checkout is."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PREFECT_"))}
    kept["PATH"] = f"{program.parent}{os.pathsep}{kept['PATH']}"
    done = subprocess.run(
        [program, *arguments], cwd=folder, env={**kept, "HOME": str(folder), **environment},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def server(shared_server: PrefectServer) -> PrefectServer:
    """A server with a backlog of runs, logs, events and artifacts."""
    engine = engine_for(shared_server.db_url)
    clear(engine)
    # Seen from half an hour ahead, minutes between two runs of a play do not change what goes.
    now = datetime.now(UTC) + timedelta(minutes=30)
    insert(engine, make_world(Policy(now, KEPT), 5, flow=FLOW, size=60, foreign_keys=True))
    engine.dispose()
    return shared_server


def play(
    folder: Path, server: PrefectServer, playbook: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return run(
        folder, BIN / "ansible-playbook", playbook, "-i", ROOT / "inventories" / "demo", *options,
        DEMO_API_URL=server.api_url, DEMO_DB_URL=server.db_url,
        DEMO_PYTHON=str(environments.prefect()), DEMO_REPORT_DIR="", **environment,
    )  # fmt: skip


def check_and_maintain(
    folder: Path, server: PrefectServer, playbook: str, **environment: str
) -> str:
    """Expect a check to foretell what a real run then does; returns what the latter showed."""
    # The server itself writes events meanwhile.
    tables = ["log", "flow_run", "task_run", "artifact"]
    before = dump(engine_for(server.db_url), tables)
    play(folder, server, playbook, "--check", **environment)
    assert dump(engine_for(server.db_url), tables) == before
    foretold = report(folder)
    done = play(folder, server, playbook, **environment)
    assert report(folder)["status"] == "ok"
    assert report(folder)["deleted"] == foretold["deleted"]
    left = dump(engine_for(server.db_url), tables)
    for table in tables:
        gone = len(before[table]) - len(left[table])
        assert gone == foretold["deleted"][table] > 0
    return done.stdout


def report(folder: Path) -> dict[str, Any]:
    # The page is drawn by templates that lie elsewhere in a collection.
    found = report_at(folder / "reports" / "demo.json")
    assert str(found["reference_time"])[:10] in (folder / "reports" / "demo.html").read_text()
    return found


def test_the_archive_of_the_role_installs_the_role_alone_which_maintains(
    server: PrefectServer, tmp_path: Path
) -> None:
    archive = dist.build_role(tmp_path)
    roles = tmp_path / "roles"
    run(tmp_path, BIN / "ansible-galaxy", "role", "install", "--roles-path", roles,
        f"{archive},{dist.VERSION},prefect_maintenance")  # fmt: skip
    assert [path.name for path in roles.iterdir()] == ["prefect_maintenance"]
    with tarfile.open(archive) as packed:
        names = {member.name for member in packed.getmembers() if member.isfile()}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=dist.ROLE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert names == {*listed.stdout.splitlines(), "LICENSE"}

    plays = [{"hosts": "all", "gather_facts": False, "roles": ["prefect_maintenance"]}]
    (tmp_path / "site.yml").write_text(yaml.safe_dump(plays))
    check_and_maintain(tmp_path, server, "site.yml", ANSIBLE_ROLES_PATH=str(roles))


def test_the_collection_installs_offline_and_its_playbook_maintains(
    server: PrefectServer, tmp_path: Path
) -> None:
    archive = dist.build_collection(tmp_path)
    run(tmp_path, BIN / "ansible-galaxy", "collection", "install", "--offline",
        "--collections-path", tmp_path, archive)  # fmt: skip
    path = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    screen = {"ANSIBLE_STDOUT_CALLBACK": f"{dist.COLLECTION}.prefect_maintenance_screen"}
    shown = check_and_maintain(tmp_path, server, f"{dist.COLLECTION}.maintain", **path, **screen)
    assert "TASK [prefect_maintenance.server.prefect_maintenance : Purge logs" in shown


def test_the_tasks_of_the_collection_name_nothing_that_only_a_role_has(tmp_path: Path) -> None:
    collection = tmp_path / "collection"
    dist.stage(collection)
    role = collection / "roles" / "prefect_maintenance"
    names = [*dist.modules(), *dist.actions(), *dist.filters()]
    # In quotes a name is an argument.
    bare = re.compile(rf"(?<![\w.'])({'|'.join(names)})\b")
    paths = re.compile(r"role_path(?: }}| ~ ')(/[\w./-]+)")
    text = "".join(path.read_text() for path in sorted((role / "tasks").rglob("*.yml")))
    assert bare.findall(text) == []
    assert len(paths.findall(text)) == text.count("role_path") > 0
    assert [path for path in paths.findall(text) if not Path(f"{role}{path}").exists()] == []


@pytest.mark.parametrize("kind", ["role", "collection"])
def test_galaxy_takes_it_without_an_objection(kind: str, tmp_path: Path) -> None:
    python = environments.packaging() / "python"
    if kind == "role":
        role = tmp_path / "prefect_maintenance"
        with tarfile.open(dist.build_role(tmp_path)) as packed:
            packed.extractall(role, filter="data")
        # `make lint` has linted it.
        said = run(
            tmp_path, python, "-m", "galaxy_importer.main", "--legacy-role", role.name,
            "--namespace", "prefect_maintenance", GALAXY_IMPORTER_RUN_ANSIBLE_LINT="no",
        )  # fmt: skip
    else:
        archive = dist.build_collection(tmp_path)
        said = run(tmp_path, python, "-m", "galaxy_importer.main", archive.name)
    lines = said.stdout.splitlines()
    assert lines[-1] == "Importer processing completed successfully"
    assert [line for line in lines if line.startswith(("WARNING", "ERROR", "CRITICAL"))] == []


def test_the_changelog_is_what_its_tool_writes_and_can_go_on(tmp_path: Path) -> None:
    changelog = environments.packaging() / "antsibull-changelog"
    shutil.copytree(ROOT / "changelogs", tmp_path / "changelogs")
    run(tmp_path, changelog, "lint")
    run(tmp_path, changelog, "generate")
    assert (tmp_path / "CHANGELOG.rst").read_text() == (ROOT / "CHANGELOG.rst").read_text()
