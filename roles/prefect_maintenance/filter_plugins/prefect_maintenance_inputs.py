# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""What is wrong with the variables of the role, in one line each, before anything is done.

Runs on the controller. Names, types and choices are those of the role's argument specs; ranges
and shapes are the engine's own, which is asked as a module would ask it.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

PREFIX = "prefect_maintenance_"
_SURVEY_RULES = f"{PREFIX}survey_rules"
# The role, or the plugins of a collection, which has its roles beside them.
_HOME = Path(__file__).resolve().parents[1]
_ENGINE = _HOME / "module_utils" / "prefect_maintenance"
_SPECS = next(
    path
    for role in (_HOME, _HOME.parent / "roles" / "prefect_maintenance")
    if (path := role / "meta" / "argument_specs.yml").is_file()
)
# Another name than on a target: in one process there may be a second copy of the role.
_PACKAGE = "prefect_maintenance_engine_of_the_filters"


def options(entry: str) -> list[str]:
    """Return the variables that an entry point of the role takes.

    Raises:
        AnsibleFilterError: the role has no such entry point.
    """
    return list(_of(entry))


def faults(values: Mapping[str, Any], names: Iterable[str], entry: str) -> list[str]:
    """Return a sentence for each variable that is unknown, or whose value cannot be.

    Args:
        values: the variables of the entry point that are set.
        names: every variable that is set and begins as the role's do.
        entry: the entry point of the role, as `tasks_from` has it.

    Raises:
        AnsibleFilterError: the role has no such entry point.
    """
    known = {name for one in _specs() for name in options(one)}
    found = [_unknown(name, known) for name in sorted(set(names) - known)]
    found += [_fault(name, values[name], s) for name, s in _of(entry).items() if name in values]
    return [sentence for sentence in found if sentence]


def passed(values: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Return the options that a module takes over from the role's variables.

    They have the same name and type; a blank one counts as unset.
    """
    options = _engine().request.options
    variables = {(option.name, option.type) for option in options.of_entry("main")}
    names = [o.name for o in options.of_module(module) if (o.name, o.type) in variables]
    found = {name: values.get(PREFIX + name) for name in names}
    return {name: value for name, value in found.items() if value not in (None, "")}


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the scheduled flow, as numbers where they are numbers."""
    options = [o for o in _engine().request.options.of_flow() if "main" in o.entries]
    return {o.name: _numbers(o, values[PREFIX + o.name]) for o in options}


def told_rules(answer: Any) -> Any:
    """Return the rules that somebody wrote into a survey, as YAML or JSON; None for a blank one.

    Raises:
        AnsibleFilterError: they are neither; in one line.
    """
    try:
        return yaml.safe_load(answer) if isinstance(answer, str) else answer
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be read"
        raise AnsibleFilterError(f"is neither YAML nor JSON{where}: {what}") from None


def judged(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report that the play has added to, with the verdict that follows from it now."""
    found: dict[str, Any] = _engine().report.plain.with_forecast(report)
    return found


def _numbers(option: Any, value: Any) -> Any:
    if option.type == "dict" and option.bounds:
        return {key: int(number) for key, number in value.items()}
    return {"int": int, "float": float}.get(option.type, lambda same: same)(value)


def _unknown(name: str, known: Iterable[str]) -> str:
    short = sorted(one.removeprefix(PREFIX) for one in known)
    near = difflib.get_close_matches(name.removeprefix(PREFIX), short, n=1)
    hint = f"; did you mean {PREFIX}{near[0]}?" if near else "; correct, remove or rename it"
    return f"{name} is no variable of this role{hint}"


def _fault(name: str, value: Any, spec: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, or nothing; the value itself may be a secret."""
    kind, choices = spec.get("type", "str"), spec.get("choices")
    if choices:
        return "" if value in choices else _not_one_of(name, str(value), choices)
    if value is None:
        return "" if kind in ("str", "raw") else f"{name} is empty; give it a value or remove it"
    if kind == "bool":
        return "" if _is_bool(value) else f"{name} must be true or false"
    if kind == "str" and (_is_list(value) or _is_map(value)):
        return f"{name} must be a text"
    refused = _refused(name, str(value) if kind == "str" else value)
    if kind not in _SHAPES or _SHAPES[kind].test(value):
        return refused
    shape = _SHAPES[kind]
    hint = f"; on a command line write -e '{{\"{name}\": {shape.json}}}'"
    return (refused or f"{name} must be {shape.name}") + hint * isinstance(value, str)


def _not_one_of(name: str, value: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name} must be one of {', '.join(choices)}, not {reprlib.repr(value)}{hint}"


def _refused(name: str, value: Any) -> str:
    """Return why the engine does not take a value, as the variables are called in the role."""
    engine = _engine()
    if name == _SURVEY_RULES:
        return _refused_rules(value)
    try:
        option = name.removeprefix(PREFIX)
        if option in engine.request.options.REQUEST:
            engine.request.settings.Settings.parse({option: value}, check=True)
        elif option in engine.request.values.BOUNDS:
            engine.request.values.integer(value, option)
    except engine.errors.MaintenanceError as error:
        named = {one.removeprefix(PREFIX) for one in _of("main")}
        return re.sub(
            r"^\w+|\b\w+_\w+\b",
            lambda word: (PREFIX if word[0] in named else "") + word[0],
            str(error),
        )
    return ""


def _refused_rules(answer: Any) -> str:
    """Return what is wrong with the rules of a survey, or nothing; a blank answer is none."""
    engine = _engine()
    try:
        engine.request.settings.Settings.parse({"rules": told_rules(answer)}, check=True)
    except engine.errors.MaintenanceError as error:
        return _SURVEY_RULES + str(error).removeprefix("rules")
    except AnsibleFilterError as error:
        return f"{_SURVEY_RULES} {error}"
    return ""


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_bool(value: Any) -> bool:
    try:
        boolean(value)
    except TypeError:
        return False
    return True


class _Shape(NamedTuple):
    name: str
    json: str
    test: Callable[[Any], bool]


_SHAPES = {
    "dict": _Shape("a mapping, in YAML {key: value}", "{...}", _is_map),
    "list": _Shape("a list, in YAML [a, b]", "[...]", _is_list),
}


def _of(entry: str) -> dict[str, Any]:
    if entry not in _specs():
        raise AnsibleFilterError(f"meta/argument_specs.yml has no entry point {entry}")
    found: dict[str, Any] = _specs()[entry].get("options", {})
    return found


@cache
def _specs() -> dict[str, Any]:
    text = _SPECS.read_text()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(text, Loader=loader)["argument_specs"]
    return found


@cache
def _engine() -> Any:
    """Load the engine that the role carries; the parts used here need nothing but Python."""
    init = _ENGINE / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, init, submodule_search_locations=[str(_ENGINE)]
    )
    if spec is None or spec.loader is None:
        raise AnsibleFilterError(f"{init} cannot be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
    for part in ("request.settings", "errors", "report.plain"):
        import_module(f"{_PACKAGE}.{part}")
    return package


class FilterModule:
    """The filters by the names that the role uses."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {
            "prefect_maintenance_options": options,
            "prefect_maintenance_faults": faults,
            "prefect_maintenance_passed": passed,
            "prefect_maintenance_parameters": parameters,
            "prefect_maintenance_judged": judged,
            "prefect_maintenance_told_rules": told_rules,
        }
