"""A plan on the controller: where it is looked for, and how it is written and handed on."""

from __future__ import annotations

import importlib.util
import json
import stat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from tools import read_yaml

from lab.environments import ROOT

ROLE = ROOT / "roles" / "prefect_maintenance"
PLAN = {"host": "a", "reference_time": "2026-06-30T12:00:00Z", "rows": {"log": 3}, "hash": "h"}


def loaded(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROLE / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def filters() -> dict[str, Any]:
    found = loaded("filter_plugins/prefect_maintenance_plans.py").FilterModule().filters()
    return {name.removeprefix("prefect_maintenance_"): one for name, one in found.items()}


def test_the_plan_of_a_host_comes_from_a_folder_or_from_the_job_before(
    filters: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a.plan.json").write_text(json.dumps(PLAN))
    for place in (str(tmp_path), {"a": PLAN, "b": {}}):
        assert filters["saved_plan"](place, "a", "a.plan.json") == PLAN
        assert filters["plan_faults"](place, "a", "a.plan.json") == []
    for unset in ("", None):
        assert filters["saved_plan"](unset, "a", "a.plan.json") == {}
        assert filters["plan_faults"](unset, "a", "a.plan.json") == []


def test_a_plan_that_is_missing_or_broken_is_a_line_that_says_what_to_do(
    filters: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "torn.plan.json").write_text(json.dumps(PLAN)[:40])
    (tmp_path / "report.plan.json").write_text(json.dumps({"schema": 1}))
    (tmp_path / "folder.plan.json").mkdir()
    for place, host, said in (
        (str(tmp_path), "a", f"has no {tmp_path}/a.plan.json"),
        (str(tmp_path), "torn", "torn.plan.json, which is broken"),
        (str(tmp_path), "report", "has no plan in "),
        (str(tmp_path), "folder", "which cannot be read: Is a directory"),
        ({"b": PLAN}, "a", "has no plan of a"),
        ({}, "a", "has no plan of a"),
        ({"a": "x"}, "a", "has no plan for a but something else"),
    ):
        [fault] = filters["plan_faults"](place, host, f"{host}.plan.json")
        assert fault.startswith("prefect_maintenance_plan_in has ")
        assert said in fault
        assert "make it with --check and prefect_maintenance_plan_out" in fault
        assert "\n" not in fault
        with pytest.raises(AnsibleFilterError):
            filters["saved_plan"](place, host, f"{host}.plan.json")


def test_the_template_that_applies_plans_is_refused_without_one(
    filters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    template = read_yaml(ROOT / "awx" / "job_templates" / "apply.yml")["job_template"]
    place = template["extra_vars"]["prefect_maintenance_plan_in"]
    assert filters["plan_faults"](place, "a", "a.plan.json")


def test_a_plan_is_written_for_its_owner_alone_and_handed_on_without_its_detail(
    tmp_path: Path,
) -> None:
    keep = loaded("action_plugins/prefect_maintenance_keep.py")
    written = tmp_path / "plans" / "a.plan.json"
    told = {**PLAN, "plan": {"rows": {"log": 3}}}
    args = {
        "path": str(tmp_path / "a.json"), "report": "{}", "page": "", "html": False,
        "plan": {"path": str(written), "told": told},
    }  # fmt: skip
    task = SimpleNamespace(args=args, check_mode=True, async_val=0, action="keep")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused"))
    result = keep.ActionModule(task, connection, None, None, None, None).run(None, {})
    assert json.loads(written.read_text()) == told
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    assert [path.name for path in written.parent.iterdir()] == [written.name]
    assert result["ansible_stats"] == {
        "data": {"prefect_maintenance_plan_in": {"a": PLAN}}, "aggregate": True, "per_host": False
    }  # fmt: skip
