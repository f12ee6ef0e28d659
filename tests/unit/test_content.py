"""The Ansible content is whole: documented, equal to its specification, installable anywhere."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "prefect_maintenance"
BIN = Path(sys.executable).parent
MODULES = sorted(path.stem for path in (ROLE / "library").glob("*.py"))


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=cwd,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def argument_spec(module: str) -> dict[str, Any]:
    """Read the literal argument_spec out of a module file."""
    tree = ast.parse((ROLE / "library" / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "argument_spec":
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"{module} has no literal argument_spec")


def test_the_four_modules_of_the_contract_are_there() -> None:
    assert {
        "prefect_api_delete",
        "prefect_db_bloat_info",
        "prefect_db_purge",
        "prefect_db_vacuum",
    } <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_documentation_equals_its_argument_spec(module: str) -> None:
    shown = json.loads(run("ansible-doc", "-t", "module", "--json", module))[module]
    documented, spec = shown["doc"]["options"], argument_spec(module)
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for key in ("type", "elements", "choices", "default", "required"):
            assert documented[name].get(key) == option.get(key), f"{name}.{key}"
    assert {"check_mode", "diff_mode", "idempotent"} <= set(shown["doc"]["attributes"])
    assert shown["examples"]
    assert shown["return"]


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_secrets_are_marked(module: str) -> None:
    secret = {"db_url", "api_auth_string", "api_key", "api_headers"}
    for name, option in argument_spec(module).items():
        assert bool(option.get("no_log")) == (name in secret), name


@pytest.mark.parametrize("entry", ["main", "inspect"])
def test_the_roles_specification_equals_its_defaults(entry: str) -> None:
    defaults = load(ROLE / "defaults" / "main.yml")
    specs = load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]
    options = specs[entry]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults


def test_the_role_renders_in_ansible_doc() -> None:
    assert "prefect_maintenance_retention_days" in run(
        "ansible-doc", "-t", "role", "prefect_maintenance"
    )


def test_the_readme_names_every_variable_with_its_default_and_every_module() -> None:
    readme = (ROOT / "README.md").read_text()
    for module in MODULES:
        assert f"`{module}`" in readme, module
    for name, value in load(ROLE / "defaults" / "main.yml").items():
        row = re.search(rf"^\| `{name}` \| (.*?) \|", readme, re.M)
        assert row, f"{name} has no row in the README"
        if not isinstance(value, str) or ("{" not in value and value):
            shown = row.group(1).strip("`")
            assert yaml.safe_load(shown) == value, name


@pytest.mark.parametrize("playbook", ["maintain", "report"])
def test_a_playbook_is_found_from_any_folder_without_the_checkouts_configuration(
    playbook: str,
) -> None:
    path = ROOT / "playbooks" / f"{playbook}.yml"
    hosts = ROOT / "inventories" / "demo"
    alone = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"}
    command = [str(BIN / "ansible-playbook"), "--syntax-check", str(path), "-i", str(hosts)]
    done = subprocess.run(command, cwd="/", env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_role_installs_whole_from_a_git_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    subprocess.run(
        ["tar", "-cf", "tree.tar", "-C", str(ROOT), *listed.split()], cwd=tmp_path, check=True
    )
    subprocess.run(["tar", "-xf", "../tree.tar"], cwd=source, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    roles = tmp_path / "roles"
    run("ansible-galaxy", "role", "install", "-p", str(roles), f"git+file://{source}")
    installed = next(roles.iterdir())
    assert (installed / "library" / "prefect_db_purge.py").is_file()
    assert (installed / "module_utils" / "prefect_maintenance" / "plan.py").is_file()
    assert (installed / "files" / "constraints").is_dir()
