"""The Ansible content agrees with itself: modules, role, docs, README, installation."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import pytest
import yaml
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.schedule import CHANGES
from tools import BIN, read_yaml, run

from lab.environments import ROOT

ROLE = ROOT / "roles" / "prefect_maintenance"
STEP_OF = {
    "prefect_db_bloat_info": "bloat_info",
    "prefect_db_purge": "purge",
    "prefect_api_delete": "delete",
    "prefect_db_vacuum": "vacuum",
    "prefect_db_restore": "restore",
    "prefect_db_role": "role",
    "prefect_work_pool": "work_pool",
    "prefect_deployment": "deployment",
    "prefect_automation": "automation",
}
MODULES = sorted(STEP_OF)
SECRETS = {"db_url", "api_auth_string", "api_key", "api_headers", "password"}
PREFIX = "prefect_maintenance_"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROLE / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def defaults() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(ROLE / "defaults" / "main.yml")
    return found


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules find their door, as they do on a target."""
    path = [*ansible.module_utils.__path__, str(ROLE / "module_utils")]
    monkeypatch.setattr(ansible.module_utils, "__path__", path)


def constructed(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """Run a module's main; returns what it makes its AnsibleModule of, and the steps it asks."""
    module = load(name)
    made: dict[str, Any] = {}
    asked: list[str] = []
    monkeypatch.setattr(module, "AnsibleModule", lambda **keywords: made.update(keywords))
    for call in ("answer", "change"):
        monkeypatch.setattr(module, call, lambda _module, step: asked.append(step), raising=False)
    module.main()
    return made, asked


def test_the_library_holds_the_modules_of_this_table() -> None:
    assert sorted(path.stem for path in (ROLE / "library").glob("*.py")) == MODULES


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_makes_one_engine_call_and_supports_check_mode(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = constructed(name, monkeypatch)
    assert asked == [STEP_OF[name]]
    assert asked[0] in {*STEPS, *CHANGES}
    assert made["supports_check_mode"] is True


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_the_argument_spec(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documented = yaml.safe_load(load(name).DOCUMENTATION)["options"]
    spec = constructed(name, monkeypatch)[0]["argument_spec"]
    assert list(documented) == list(spec)
    for option, said in documented.items():
        assert said["description"], option
        for key in ("type", "elements", "choices", "default", "required"):
            assert said.get(key) == spec[option].get(key), f"{option}: {key}"


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("name", MODULES)
def test_exactly_the_secrets_are_not_logged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = constructed(name, monkeypatch)[0]["argument_spec"]
    hidden = {option for option, rules in spec.items() if rules.get("no_log")}
    assert hidden == SECRETS & set(spec)


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("name", MODULES)
def test_options_share_names_and_defaults_with_the_role(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One call of the API takes far fewer rows than one transaction.
    own = {"batch_size"} if name == "prefect_api_delete" else set()
    spec = constructed(name, monkeypatch)[0]["argument_spec"]
    for option, rules in spec.items():
        if PREFIX + option in defaults() and "default" in rules and option not in own:
            assert defaults()[PREFIX + option] == rules["default"], option


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_docs_are_complete(name: str) -> None:
    module = load_docs(name)
    documentation = module["DOCUMENTATION"]
    assert documentation["module"] == name
    assert set(documentation["attributes"]) >= {
        "check_mode",
        "diff_mode",
        "idempotent",
        "platform",
    }
    if STEP_OF[name] in STEPS:
        assert {"report", "summary"} <= set(module["RETURN"])
    for key, value in module["RETURN"].items():
        assert {"description", "returned", "type"} <= set(value), key
    for task in module["EXAMPLES"]:
        used = set(task.get(name, {}))
        assert used <= set(documentation["options"]), task["name"]


def load_docs(name: str) -> dict[str, Any]:
    """Read a module's three texts without importing it."""
    source = (ROLE / "library" / f"{name}.py").read_text()
    texts = re.findall(r'^(DOCUMENTATION|EXAMPLES|RETURN) = r"""(.*?)"""', source, re.M | re.S)
    return {key: yaml.safe_load(text) for key, text in texts}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_renders_in_ansible_doc(name: str) -> None:
    shown = run(BIN / "ansible-doc", "-t", "module", name)
    assert shown.returncode == 0, shown.stderr
    assert not shown.stderr
    assert f"> MODULE {name}" in shown.stdout


def test_the_role_renders_in_ansible_doc() -> None:
    shown = run(BIN / "ansible-doc", "-t", "role", "prefect_maintenance")
    assert shown.returncode == 0, shown.stderr
    for entry in read_yaml(ROLE / "meta" / "argument_specs.yml")["argument_specs"]:
        assert re.search(rf"^ENTRY POINT: \W?{entry}\W", shown.stdout, re.M)
    # By whole words: most variables are the beginning of another.
    assert set(defaults()) <= set(re.findall(r"\w+", shown.stdout))


def test_the_readme_names_every_module() -> None:
    named = re.findall(r"^\| `(prefect_\w+)` \| \w", (ROOT / "README.md").read_text(), re.M)
    assert sorted(set(named) & set(MODULES)) == MODULES


def test_links_point_down_so_that_the_role_installs_whole() -> None:
    assert (ROOT / "library").readlink() == Path("roles/prefect_maintenance/library")
    assert (ROOT / "module_utils").readlink() == Path("roles/prefect_maintenance/module_utils")
    assert (ROOT / "playbooks" / "roles").readlink() == Path("../roles")


@pytest.mark.parametrize("playbook", ["maintain", "report", "stop", "privileges", "restore"])
def test_a_playbook_is_found_whole_from_another_folder_without_configuration(
    playbook: str,
) -> None:
    checked = run(
        BIN / "ansible-playbook", ROOT / "playbooks" / f"{playbook}.yml", "--syntax-check",
        "-i", ROOT / "inventories" / "example", cwd=Path("/"),
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the role was installed from a git checkout of this tree."""
    folder = tmp_path_factory.mktemp("installed")
    origin = folder / "origin"
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(set(listed.split("\0")) - {""}):
        if os.path.lexists(ROOT / name):
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, origin / name, follow_symlinks=False)
    git(origin, "init", "--quiet", "--initial-branch", "main")
    git(origin, "add", "--all")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    git(origin, *who, "commit", "--quiet", "--message", "Everything")
    done = run(
        BIN / "ansible-galaxy", "role", "install", "--roles-path", folder / "roles",
        f"git+file://{origin},main,prefect_maintenance", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_role_installs_whole_from_a_git_checkout(installed: Path) -> None:
    role = installed / "roles" / "prefect_maintenance"
    for part in (
        "library", "module_utils", "action_plugins", "filter_plugins", "tasks", "defaults", "meta",
        "vars", "files",
    ):  # fmt: skip
        assert files(role / part) == files(ROLE / part)


def files(folder: Path) -> list[str]:
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not re.search(r"(^|/)(\.|__pycache__)", name))


def play(installed: Path, variables: dict[str, Any], *options: str) -> tuple[str, int, Any]:
    """Run the installed role in a bare project; returns what it printed, its end, its report."""
    playbook = installed / "site.yml"
    playbook.write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": ["prefect_maintenance"]}])
    )
    reports = installed / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "prefect_maintenance_python": sys.executable,
        "prefect_maintenance_report_dir": str(reports),
        **variables,
    }
    inventory = installed / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"here": here}}}))
    done = run(BIN / "ansible-playbook", "-i", inventory, *options, playbook, cwd=installed)
    written = reports / "here.json"
    report = json.loads(written.read_text()) if written.exists() else None
    return done.stdout + done.stderr, done.returncode, report


def test_a_failed_step_fails_the_play_after_the_report_and_shows_no_secret(
    installed: Path,
) -> None:
    printed, code, report = play(
        installed,
        {
            "prefect_maintenance_db_url": "postgresql://maid:s3cret%2Fdb@127.0.0.1:9/prefect",
            "prefect_maintenance_api_auth_string": "admin:s3cret-auth",
            "prefect_maintenance_api_key": "s3cret-key",
            "prefect_maintenance_api_headers": {"X-Token": "s3cret-header"},
        },
        "-vvvv",
    )
    assert code == 2
    assert "Measure the database: cannot connect to the database 127.0.0.1:9/prefect" in printed
    assert report["status"] == "failed"
    assert report["host"] == "here"
    assert len(report["errors"]) == 1
    assert "s3cret" not in printed + json.dumps(report)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"prefect_maintenance_retention_days": 0}, "whole number of days, 1 or more"),
        (
            {"prefect_maintenance_retention_dayz": 9},
            "did you mean prefect_maintenance_retention_da",
        ),
        ({"prefect_maintenance_python": "/nonexistent"}, "/nonexistent cannot run the modules"),
        (
            {"prefect_maintenance_python": "", "prefect_maintenance_base_python": "/nonexistent"},
            "/nonexistent on the target does not start",
        ),
    ],
)
def test_bad_input_is_refused_before_the_target_is_touched(
    installed: Path, variables: dict[str, Any], message: str
) -> None:
    home = installed / "home"
    printed, code, report = play(installed, {"prefect_maintenance_home": str(home), **variables})
    assert code == 2
    assert message in re.sub(r"\s+", " ", printed)
    assert report is None
    assert not home.exists()
