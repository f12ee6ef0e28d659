"""The Ansible door passes on what it was asked, and shows no secret of it."""

from __future__ import annotations

import importlib
from typing import Any

import ansible.module_utils
import pytest

from lab.environments import ROOT

ROLE = ROOT / "roles" / "prefect_maintenance"
SECRET = "k3y-of-the-door"


class Ended(Exception):
    """The module has ended; what it told is its argument."""


class Module:
    """What a module's file makes: the options as Ansible has read them."""

    _diff = False

    def __init__(self, *, check: bool) -> None:
        self.params: dict[str, Any] = {"api_key": SECRET, "report": {"host": "here"}}
        self.argument_spec = {"api_key": {"no_log": True}, "report": {}}
        self.no_log_values = {SECRET}
        self.check_mode = check

    def exit_json(self, **told: Any) -> None:
        raise Ended(told)

    def fail_json(self, **told: Any) -> None:
        raise Ended(told)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The door, found as on a target."""
    path = [*ansible.module_utils.__path__, str(ROLE / "module_utils")]
    monkeypatch.setattr(ansible.module_utils, "__path__", path)
    return importlib.import_module("ansible.module_utils.prefect_maintenance_door")


def asked_for(
    door: Any, monkeypatch: pytest.MonkeyPatch, *, check: bool, answer: str
) -> tuple[Any, dict[str, Any]]:
    """Run a step that fails with an answer; returns what it was asked, and what was told."""
    steps = importlib.import_module("ansible.module_utils.prefect_maintenance.run.line")
    errors = importlib.import_module("ansible.module_utils.prefect_maintenance.errors")
    seen: list[Any] = []

    def step(settings: Any, _pace: Any) -> None:
        seen.append(settings)
        raise errors.MaintenanceError(answer)

    monkeypatch.setitem(steps.STEPS, "purge", step)
    with pytest.raises(Ended) as ended:
        door.answer(Module(check=check), "purge")
    return seen[0], ended.value.args[0]


@pytest.mark.parametrize("check", [True, False])
def test_a_module_in_check_mode_asks_the_engine_for_a_check(
    door: Any, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    settings, _ = asked_for(door, monkeypatch, check=check, answer="no")
    assert settings.check is check


def test_a_failure_that_quotes_a_secret_is_shown_without_it(
    door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, told = asked_for(door, monkeypatch, check=False, answer=f"the server said {SECRET}: no")
    assert told["msg"] == "the server said ********: no"
    assert told["report"]["host"] == "here"
    assert SECRET not in str(told)
