"""AWX: what awx/ says is what AWX takes, and jobs run as AWX runs them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from awx_jobs import Job, artifacts
from maintenance import wait_until
from tools import BIN, read_yaml

from lab import environments
from lab.controller import VERSION, Controller
from lab.environments import ROOT
from lab.fleet import Fleet
from lab.postgres import PASSWORD, Postgres

BUNDLES = sorted((ROOT / "awx" / "job_templates").glob("*.yml"))
WORKFLOWS = sorted((ROOT / "awx" / "workflow_job_templates").glob("*.yml"))
DAYS = 20
SURVEY = "prefect_maintenance_survey_"
RULES = {f"{SURVEY}rules": "- name: of the survey\n  flows: [none*]\n  keep: forever\n"}
SECRET = "{{ vault_prefect_maintenance_db_password }}"


def spec_of(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the argument spec of one of awx.awx's modules, without AWX."""
    monkeypatch.syspath_prepend(environments.awx())
    module = importlib.import_module(f"ansible_collections.awx.awx.plugins.modules.{name}")
    taken: dict[str, Any] = {}

    def take(argument_spec: dict[str, Any], **_: Any) -> None:
        taken.update(argument_spec)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "ControllerAPIModule", take)
    with pytest.raises(KeyboardInterrupt):
        module.main()
    return taken


def complaints(name: str, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    checked = ArgumentSpecValidator(spec_of(name, monkeypatch)).validate(document)
    return list(checked.error_messages)


def test_every_document_is_known_to_this_test() -> None:
    found = {path.relative_to(ROOT / "awx").as_posix() for path in (ROOT / "awx").rglob("*.yml")}
    bundles = {f"job_templates/{path.name}" for path in BUNDLES}
    workflows = {f"workflow_job_templates/{path.name}" for path in WORKFLOWS}
    assert found == {"apply.yml", "credential_type.yml", *bundles, *workflows}
    assert BUNDLES


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_job_template_and_its_schedules_are_what_awx_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_yaml(path)
    assert set(bundle) == {"job_template", "schedules"}
    template = bundle["job_template"]
    assert complaints("job_template", template, monkeypatch) == []
    assert (ROOT / template["playbook"]).is_file()
    for schedule in bundle["schedules"]:
        assert complaints("schedule", schedule, monkeypatch) == []
        assert schedule["rrule"].startswith("DTSTART;TZID=")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_what_awx_takes_and_leads_from_node_to_node(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = read_yaml(path)["workflow_job_template"]
    assert complaints("workflow_job_template", workflow, monkeypatch) == []
    templates = {read_yaml(bundle)["job_template"]["name"] for bundle in BUNDLES}
    nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
    for node in nodes.values():
        job = node["unified_job_template"]
        assert job["type"] == "workflow_approval" or job["name"] in templates
        assert {n["identifier"] for n in node.get("related", {}).get("success_nodes", ())} <= {
            *nodes
        }


def test_the_credential_type_is_what_awx_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    document = read_yaml(ROOT / "awx" / "credential_type.yml")
    assert complaints("credential_type", document, monkeypatch) == []
    fields = {field["id"]: field for field in document["inputs"]["fields"]}
    assert all(field["secret"] for field in fields.values())
    injected = document["injectors"]["extra_vars"]
    assert set(injected.values()) == {f"{{{{ {name} }}}}" for name in fields}


def test_a_wrong_document_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    template = read_yaml(BUNDLES[0])["job_template"]
    assert complaints("job_template", {**template, "job_typ": "run"}, monkeypatch)
    assert complaints("job_template", {**template, "job_type": "dry"}, monkeypatch)


def test_every_survey_question_is_a_variable_that_the_role_reads() -> None:
    role = ROOT / "roles" / "prefect_maintenance"
    read: set[str] = set()
    for name in ("tasks/rollout/begin.yml", "tasks/stop.yml", "vars/main.yml"):
        # Without the comments; a variable is read only under its whole name.
        read |= set(re.findall(r"\w+", json.dumps(read_yaml(role / name))))
    templates = [read_yaml(path)["job_template"] for path in BUNDLES]
    questions = [one for each in templates for one in each.get("survey_spec", {}).get("spec", [])]
    assert questions
    for question in questions:
        assert question["variable"] in read
        assert question["required"] is ("default" in question and question["default"] != "")


def test_apply_brings_everything_to_awx_and_nothing_the_second_time() -> None:
    with Controller() as awx:
        inventory = awx.add("inventories", {"name": "Prefect servers", "organization": 1})
        for changed in (True, False):
            done = subprocess.run(
                [
                    BIN / "ansible-playbook", ROOT / "awx" / "apply.yml", "-i", "localhost,",
                    "-e", "awx_project_url=https://git.example.com/prefect.git",
                    "-e", "awx_image=prefect-maintenance:latest",
                    "-e", "awx_inventory_path=inventories/mine",
                    "-e", f"ansible_python_interpreter={sys.executable}",
                ],
                cwd="/",
                env={
                    **os.environ,
                    "ANSIBLE_COLLECTIONS_PATH": str(environments.awx()),
                    "CONTROLLER_HOST": awx.url,
                    "CONTROLLER_OAUTH_TOKEN": "t0ken",
                },
                capture_output=True,
                text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            assert ("changed=0" in done.stdout) is not changed, done.stdout
        wanted = [read_yaml(path) for path in BUNDLES]
        templates = awx.named("job_templates")
        assert set(templates) == {bundle["job_template"]["name"] for bundle in wanted}
        for bundle in wanted:
            sent, told = templates[bundle["job_template"]["name"]], bundle["job_template"]
            assert sent["inventory"] == inventory["id"]
            assert {key: sent[key] for key in ("job_type", "playbook", "forks")} == {
                key: told[key] for key in ("job_type", "playbook", "forks")
            }
            assert sent.get("survey_spec", {}) == told.get("survey_spec", {})
            assert sent["survey_enabled"] is ("survey_spec" in told)
        nodes = {one["identifier"]: one for one in awx.all("workflow_job_template_nodes")}
        for path in WORKFLOWS:
            told = read_yaml(path)["workflow_job_template"]
            assert awx.named("workflow_job_templates")[told["name"]]["organization"] == 1
            for node in told["workflow_nodes"]:
                related = node.get("related", {}).get("success_nodes", ())
                later = [nodes[one["identifier"]]["id"] for one in related]
                assert nodes[node["identifier"]].get("success_nodes", []) == later
        approval = awx.named("workflow_approval_templates")["Look at the plan and approve it"]
        assert nodes["approve"]["unified_job_template"] == approval["id"]
        assert nodes["plan"]["unified_job_template"] == templates["Prefect maintenance, plan"]["id"]
        assert set(awx.named("schedules")) == {s["name"] for b in wanted for s in b["schedules"]}
        sent = awx.named("credential_types")["Prefect maintenance"]
        assert sent["injectors"] == read_yaml(ROOT / "awx" / "credential_type.yml")["injectors"]
        assert awx.named("inventory_sources")["prefect_maintenance"]["update_on_launch"] is True


def test_the_pinned_collection_is_the_one_of_the_tests() -> None:
    pinned = read_yaml(ROOT / "requirements.yml")["collections"]
    manifest = environments.awx() / "ansible_collections" / "awx" / "awx" / "MANIFEST.json"
    found = json.loads(manifest.read_text())["collection_info"]["version"]
    assert pinned == [{"name": "awx.awx", "version": found}]
    assert found == VERSION


def test_ansible_builder_takes_the_execution_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            BIN / "ansible-builder", "create", "--file", ROOT / "execution-environment.yml",
            "--context", tmp_path,
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = read_yaml(ROOT / "execution-environment.yml")["dependencies"]
    built = tmp_path / "_build"
    assert f"prefect=={environments.NEWEST}" in wanted["python"]
    assert (built / "requirements.txt").read_text().splitlines() == wanted["python"]
    assert (built / "bindep.txt").read_text().splitlines() == wanted["system"]
    assert read_yaml(built / "requirements.yml") == read_yaml(ROOT / "requirements.yml")


def blank() -> dict[str, str]:
    """Return the answers of somebody who fills in nothing."""
    template = read_yaml(ROOT / "awx" / "job_templates" / "maintain.yml")["job_template"]
    return {q["variable"]: "" for q in template["survey_spec"]["spec"]}


def host(variables: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return host variables that take the password from the credential."""
    url = variables["prefect_maintenance_db_url"].replace(PASSWORD, SECRET)
    return {**variables, "prefect_maintenance_db_url": url, **more}


def test_check_survey_run_and_failure_as_jobs_of_awx(servers: Fleet, tmp_path: Path) -> None:
    variables = host(servers.add("job", DAYS), prefect_maintenance_retention_days=18)
    job = Job(tmp_path / "job", {"job": variables})

    checked = job.run("plan", {})
    assert (checked.status, checked.rc) == ("successful", 0)
    assert artifacts(checked)["deleted"] == {"log": 3}
    assert artifacts(checked)["check_mode"] is True
    assert servers.logs("job") == DAYS

    handed_on = artifacts(checked, "prefect_maintenance_plan_in")
    assert handed_on["job"]["rows"] == {"log": 3}
    assert handed_on["job"].keys() >= {"bytes_back", "fingerprint"}
    assert "plan" not in handed_on["job"]
    done = job.run("apply", {"prefect_maintenance_plan_in": handed_on})
    assert (done.status, done.rc) == ("successful", 0), done.stdout.read()
    assert artifacts(done)["servers"] == {
        "total": 1, "ok": 1, "partial": 0, "failed": 0, "not_reached": 0
    }  # fmt: skip
    assert servers.logs("job") == DAYS - 3

    answered = job.run("maintain", {**blank(), f"{SURVEY}retention_logs": 10, **RULES})
    assert artifacts(answered)["deleted"] == {"log": 8}
    assert "of the survey" in answered.stdout.read()

    broken = job.run("maintain", {**blank(), "vault_prefect_maintenance_db_password": "s3cret-no"})
    assert (broken.status, broken.rc) == ("failed", 2)
    assert "check user and password" in artifacts(broken)["failed"]["job"]

    for path in (tmp_path / "job" / "artifacts").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert PASSWORD not in text, path
            assert "s3cret-no" not in text, path


def test_a_cancelled_job_leaves_a_clean_state_and_the_next_one_finishes(
    servers: Fleet, cluster: Postgres, tmp_path: Path
) -> None:
    variables = host(servers.add("cancelled", DAYS, rows=500))
    job = Job(tmp_path / "job", {"cancelled": variables})
    middle = "SELECT id FROM log ORDER BY timestamp OFFSET 1500 LIMIT 1 FOR UPDATE"
    engine = sa.create_engine(variables["prefect_maintenance_db_url"].replace(SECRET, PASSWORD))
    with engine.begin() as holding:
        # The purge comes as far as this row and waits there, so that the cancel meets it at work.
        holding.execute(sa.text(middle))
        stopped = job.run(
            "maintain",
            {
                **blank(),
                "prefect_maintenance_batch_size": 1,
                "prefect_maintenance_lock_timeout": 99,
            },
            settings={"pexpect_timeout": 1},
            cancel_callback=lambda: servers.logs("cancelled") < DAYS * 500,
        )
        assert stopped.status == "canceled"
        # Ansible's workers outlive the controller; what they began on the target ends by itself.
        early = job.run("maintain", blank())
        assert early.status == "failed"
        assert "another maintenance run is at work" in artifacts(early)["failed"]["cancelled"]
    engine.dispose()
    at_work = "SELECT 1 FROM pg_stat_activity WHERE datname = 'cancelled'"
    wait_until(lambda: not cluster.execute(at_work), 60)

    done = job.run("maintain", blank())
    assert (done.status, done.rc) == ("successful", 0), done.stdout.read()
    assert servers.logs("cancelled") == (DAYS - 6) * 500
