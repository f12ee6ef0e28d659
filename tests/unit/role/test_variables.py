"""The role reads all of its variables, a survey asks for some, and wrong ones are refused."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest
from prefect_maintenance.request.options import OPTIONS, REQUEST, of_entry, of_flow
from prefect_maintenance.request.values import BOUNDS
from tools import read_yaml

from lab.environments import ROOT

ROLE = ROOT / "roles" / "prefect_maintenance"
PREFIX = "prefect_maintenance_"
SURVEY = f"{PREFIX}survey_"
SECRETS = ("db_url", "owner_db_url", "db_role_password", "api_auth_string", "api_key")


def plugin(name: str) -> ModuleType:
    path = ROLE / "filter_plugins" / f"{PREFIX}{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INPUTS = plugin("inputs")
SPECS: dict[str, Any] = read_yaml(ROLE / "meta" / "argument_specs.yml")["argument_specs"]
DEFAULTS: dict[str, Any] = read_yaml(ROLE / "defaults" / "main.yml")
QUESTIONS: dict[str, Any] = {
    question["variable"]: question
    for path in sorted((ROOT / "awx" / "job_templates").glob("*.yml"))
    for question in read_yaml(path)["job_template"].get("survey_spec", {}).get("spec", [])
}


def faults(entry: str = "main", **given: Any) -> list[str]:
    """Return what is wrong with these variables beside the defaults; names without their prefix."""
    values = DEFAULTS | {PREFIX + name: value for name, value in given.items()}
    found: list[str] = INPUTS.faults(values, list(values), entry)
    return found


def test_every_entry_point_that_a_playbook_uses_has_its_specs() -> None:
    text = "".join(path.read_text() for path in (ROOT / "playbooks").glob("*.yml"))
    assert set(SPECS) == {"main", *re.findall(r"tasks_from: (\S+)", text)}
    for entry in SPECS:
        assert (ROLE / "tasks" / f"{entry}.yml").is_file()


def test_the_survey_asks_for_what_the_role_takes() -> None:
    asked = {name for name in QUESTIONS if name.startswith(SURVEY)}
    assert asked == {name for name in SPECS["rollout/begin"]["options"] if name.startswith(SURVEY)}
    assert set(QUESTIONS) - asked <= set(DEFAULTS)
    rows = {PREFIX + option.name: option for option in OPTIONS}
    for name in asked:
        if bounds := rows[name].bounds:
            assert (QUESTIONS[name]["min"], QUESTIONS[name]["max"]) == bounds
        if words := rows[name].known:
            assert tuple(QUESTIONS[name]["choices"]) == words
        # What is asked of the whole fleet is what the variable itself may be.
        if meant := REQUEST.get(name.removeprefix(SURVEY)):
            assert (rows[name].bounds, rows[name].known) == (meant.bounds, meant.choices)


def test_every_whole_number_has_bounds_that_the_engine_knows() -> None:
    numbers = {option.name for option in of_entry("main") if option.type == "int"}
    assert numbers == numbers & set(BOUNDS)


def test_every_documented_variable_is_read_by_the_role() -> None:
    files = [*(ROLE / "tasks").rglob("*.yml"), *(ROLE / "templates").glob("*.j2")]
    files += [ROLE / "vars" / "main.yml", *(ROOT / "playbooks").glob("*.yml")]
    files += (ROLE / "action_plugins").glob("*.py")
    read = {name for file in files for name in re.findall(r"\b[a-z]\w+", file.read_text())}
    text = (ROLE / "tasks" / "maintain.yml").read_text()
    for module in re.findall(r"prefect_maintenance_passed\('(\w+)'\)", text):
        read |= {PREFIX + name for name in INPUTS.passed(dict.fromkeys(DEFAULTS, 1), module)}
    assert [name for name in (*DEFAULTS, *SPECS["rollout/begin"]["options"]) if name not in read
            ] == []  # fmt: skip


def test_a_module_is_given_what_it_takes_and_a_blank_variable_counts_as_unset() -> None:
    blank = {"api_key": "", "db_url": None, "states": ["CRASHED"], "batch_size": 7}
    values = DEFAULTS | {PREFIX + name: value for name, value in blank.items()}
    values |= {PREFIX + "max_runtime": 0, PREFIX + "api_validate_certs": False}
    given = INPUTS.passed(values, "prefect_db_purge")
    assert given.keys() & {"api_key", "db_url", "worker", "report"} == set()
    assert {"states": ["CRASHED"], "batch_size": 7, "max_runtime": 0}.items() <= given.items()
    assert given["api_validate_certs"] is False


def test_an_option_of_a_module_that_only_shares_its_name_with_a_variable_is_not_passed() -> None:
    assert PREFIX + "worker" in DEFAULTS
    given = INPUTS.passed(DEFAULTS | {PREFIX + "worker": True}, "prefect_work_pool")
    assert set(given) == {"api_url", "api_headers", "api_validate_certs"}


def test_the_scheduled_flow_is_given_all_of_its_parameters_as_the_numbers_they_are() -> None:
    given = INPUTS.parameters(DEFAULTS | {PREFIX + "retention": {"logs": "7"}})
    assert set(given) | {"dry_run"} == {option.name for option in of_flow()} | {"dry_run"}
    assert given["retention"] == {"logs": 7}
    assert INPUTS.parameters(DEFAULTS | {PREFIX + "batch_size": "9"})["batch_size"] == 9
    windows = [{"cron": "0 22 * * *", "duration": "4h"}]
    assert INPUTS.parameters(DEFAULTS | {PREFIX + "windows": windows})["windows"] == windows


def test_the_defaults_and_what_a_survey_or_an_inventory_gives_are_taken() -> None:
    for entry in SPECS:
        assert faults(entry) == []
    assert (
        faults(
            retention_days="30",
            retention={"logs": "7", "events": 7},
            states=["CRASHED"],
            vacuum="none",
            lock_timeout="0.5",
            max_runtime=0,
            vacuum_min_bytes="0",
            worker="yes",
            db_url=None,
            api_ca_cert="",
            api_url="",
            api_headers={"X-Tenant": "a"},
            prefect_version=3.8,
            serial="1, 25%, 100%",
            stop="no",
        )
        == []
    )
    assert faults("rollout/begin", survey_vacuum="", survey_retention_days=3) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retention_dayz", "retention_days"),
        ("retention_day", "retention_days"),
        ("vacum", "vacuum"),
        ("purge_stategy", "purge_strategy"),
        ("stopp", "stop"),
        ("owner_url", "owner_db_url"),
        ("survey_vacum", "survey_vacuum"),
    ],
)
def test_an_unknown_variable_is_refused_everywhere_and_the_nearest_is_named(
    name: str, meant: str
) -> None:
    for entry in SPECS:
        [said] = faults(entry, **{name: 1})
        assert said == f"{PREFIX}{name} is no variable of this role; did you mean {PREFIX}{meant}?"


def test_a_variable_that_resembles_none_is_refused_too() -> None:
    for name in ("prefect_maintenance_colour", "prefect_maintenance_", f"{PREFIX}{'x' * 60}"):
        said = f"{name} is no variable of this role; correct, remove or rename it"
        assert INPUTS.faults({}, [name], "stop") == [said]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("retention", "logs: 7", "must map entities to days, e.g. {logs: 7}, not 'logs: 7'; on a "
         "command line write -e '{\"prefect_maintenance_retention\": {...}}'"),
        ("retention", ["logs"], "must map entities to days, e.g. {logs: 7}, not ['logs']"),
        ("retention", 7, "must map entities to days, e.g. {logs: 7}, not 7"),
        ("retention", None, "is empty; give it a value or remove it"),
        ("retention", {"log": 7}, "names an unknown entity: log; known are flow_runs, task_runs"),
        ("retention", {"logs": 0}, ".logs must be a whole number of days, 1 or more"),
        ("retention", {"logs": None}, ".logs must be a whole number of days, 1 or more"),
        ("retention", {"logs": "x"}, ".logs must be a whole number of days, 1 or more"),
        ("retention_days", 0, "must be a whole number of days, 1 or more, at most 36500, not 0"),
        ("retention_days", "", "must be a whole number of days, 1 or more"),
        ("retention_days", "soon", "must be a whole number of days, 1 or more"),
        ("retention_days", None, "is empty"),
        ("batch_size", 0, "must be a whole number, 1 or more, at most 10000000, not 0"),
        ("batch_size", 20.5, "must be a whole number, 1 or more"),
        ("max_runtime", -1, "must be a whole number, 0 or more"),
        ("lock_timeout", 0, "must be seconds, more than 0"),
        ("lock_timeout", "soon", "must be seconds, more than 0"),
        ("vacuum", "maybe", "must be one of auto, none, plain, full, rewrite, compact, "
         "repack, not 'maybe'"),
        ("vacuum", "rewrit", "not 'rewrit'; did you mean rewrite?"),
        ("vacuum", None, "must be one of auto, none"),
        ("vacuum", ["auto"], "must be one of auto, none"),
        ("purge_strategy", 0, "must be one of auto, delete, rewrite, not '0'"),
        ("purge_strategy", "", "must be one of auto, delete, rewrite, not ''"),
        ("schedule_state", "gone", "must be one of present, absent, not 'gone'"),
        ("states", "FAILED", "must be a list of terminal states, e.g. [COMPLETED, FAILED]; on a "
         "command line write -e '{\"prefect_maintenance_states\": [...]}'"),
        ("states", [], "must be a list of terminal states"),
        ("states", ["RUNNING"], "has RUNNING, which is not terminal and is never deleted"),
        ("states", ["DONE"], "has the unknown state 'DONE'; terminal are COMPLETED"),
        ("api_url", "http://a:Zebra9@h/api", "holds a user or password, which reports would show; "
         "put user:password into prefect_maintenance_api_auth_string"),
        ("api_url", "h/api?token=Zebra9", "is not the address of an API"),
        ("api_headers", "X-Token: Zebra9", "must map names to values"),
        ("api_headers", {"X Token": "Zebra9"}, "has a name that no header can have"),
        ("windows", "0 22 * * *", "must be a list, e.g. [{cron: '0 22 * * *', duration: 4h}]"),
        ("windows", [{"cron": "0 22 * * *"}], ": duration of window 1 must be e.g. 4h, 90m"),
        ("windows", [{"cron": "0 22 * *", "duration": 60}], "; of '0 22 * *', it has 4 fields"),
        ("windows", [{"cron": "0 22 * * *", "duration": 60, "timezone": "CETX"}],
         ": timezone of window 1 must be the name of a known one"),
        ("worker", "maybe", "must be true or false"),
        ("worker", {}, "must be true or false"),
        ("worker_writes", "/srv", "must be a list, in YAML [a, b]; on a command line write -e"),
        ("home", ["/srv"], "must be a text"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_in_one_line_that_says_what_to_write(
    name: str, value: Any, said: str
) -> None:
    [sentence] = faults(**{name: value})
    assert sentence.startswith(PREFIX + name)
    assert said in sentence
    assert "\n" not in sentence
    assert len(sentence) < 220
    assert "Zebra9" not in sentence


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = faults(retention_dayz=3, vacuum="maybe", batch_size=0, retention="logs: 7")
    assert [sentence.split()[0].removeprefix(PREFIX) for sentence in found] == [
        "retention_dayz", "retention", "vacuum", "batch_size",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [["Zebra9"], {"Zebra9": 1}, {"a": "Zebra9"}])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_of_a_wrong_shape_is_not_shown(name: str, value: Any) -> None:
    [sentence] = faults(**{name: value})
    assert sentence == f"{PREFIX}{name} must be a text"


def test_an_entry_point_is_only_asked_for_its_own_values() -> None:
    assert faults("stop", retention="logs: 7", vacuum="maybe") == []
    assert faults("stop", stop="perhaps") == ["prefect_maintenance_stop must be true or false"]


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        ("", None),
        (" \n# nothing\n", None),
        ("[]", []),
        ('[{"flows": ["a"], "keep": "forever"}]', [{"flows": ["a"], "keep": "forever"}]),
        ("- flows: [a*]\n  keep: {days: 3}\n", [{"flows": ["a*"], "keep": {"days": 3}}]),
        ([{"flows": ["a"], "keep": {"days": 3}}], [{"flows": ["a"], "keep": {"days": 3}}]),
    ],
)
def test_rules_of_a_survey_are_read_as_yaml_or_json_and_a_blank_answer_is_none(
    answer: Any, rules: Any
) -> None:
    assert INPUTS.told_rules(answer) == rules
    assert faults("rollout/begin", survey_rules=answer) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("[{flows: [a}]", " is neither YAML nor JSON, line 1, column 12: "),
        ("- a\n b: {", " is neither YAML nor JSON, line "),
        ("keep: forever", " must be a list of rules, not {'keep': 'forever'}"),
        ("forever", " must be a list of rules, not 'forever'"),
        ("[{flows: [a], keep: {last: 0}}]", ": keep.last of rule 1 must be a whole number"),
        ("[{name: n, flow: [a], keep: {last: 1}}]", ": 'flow' of rule 1 (n) is unknown"),
    ],
)
def test_wrong_rules_of_a_survey_are_refused_in_one_line(answer: str, said: str) -> None:
    [sentence] = faults("rollout/begin", survey_rules=answer)
    assert sentence.startswith(f"{SURVEY}rules{said}")
    assert "\n" not in sentence
