"""An option as YAML, as Python, as a row of a table, and in plain words."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from prefect_maintenance.request.options import Option

PREFIX = "prefect_maintenance_"
WIDTH = 100
_MARK = re.compile(r"\b(O|V|C|E|RV)\(([^)]+)\)")
_VAULT = re.compile(r"\{\{ (vault_\w+) \| default\(''\) \}\}")


def of_module(option: Option, indent: int) -> str:
    """Return the option as a module documents it, in YAML."""
    said = _sentences(option, option.in_modules)
    return _documented(option.name, said, specified(option), indent)


def of_role(option: Option, indent: int) -> str:
    """Return the variable as the role's specs have it, in YAML."""
    said = [_MARK.sub(_with_prefix, one) for one in _sentences(option, option.in_role)]
    # A secret is nothing but a text: Ansible prints a value that it cannot convert.
    rules = {**specified(option), "type": _type_in_role(option)}
    rules.pop("default", None)
    if (default := default_in_role(option)) is not None:
        rules["default"] = default
    return _documented(PREFIX + option.name, said, rules, indent)


def specified(option: Option) -> dict[str, Any]:
    """Return what a module's documentation and its argument spec both say."""
    said = {
        "type": option.type,
        "elements": option.elements,
        "choices": list(option.choices) or None,
        "default": _value(option.default),
        "required": option.required or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def default_in_role(option: Option) -> Any:
    """Return the variable's default; what a module leaves unset is empty in the role."""
    if option.default is not None or option.type == "raw":
        return _value(option.default)
    return {"dict": {}, "list": []}.get(option.type, "")


def row(option: Option) -> str:
    """Return the variable as a row of a table for people: its default, what it is, its limits."""
    limits = [f"It is one of {_list(option.choices)}."] if option.choices else _limits(option)
    cells = (
        f"`{PREFIX}{option.name}`",
        _shown(default_in_role(option)),
        _for_people([option.says, *limits]),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def details(option: Option) -> str:
    """Return what a row leaves out of the variable, as a list; nothing when that is all."""
    name, more = f"`{PREFIX}{option.name}`", [*option.more, *option.in_role]
    if len(more) == 1:
        return f"- {name}: {_for_people(more)}\n"
    lines = "".join(f"  - {_for_people([sentence])}\n" for sentence in more)
    return f"- {name}:\n{lines}" if more else ""


def plain(text: str) -> str:
    """Return a sentence without its marks, as a form shows it."""
    return _MARK.sub(lambda mark: mark[2], text)


def inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, list):
        return f"[{', '.join(_scalar(one, '[{}]', [one]) for one in value)}]"
    return _scalar(value, "a: {}", {"a": value})


def literal(value: Mapping[str, Any] | list[Any], indent: int) -> str:
    """Return a value as Python of many lines, laid out as the formatter does it."""
    if isinstance(value, Mapping):
        first, last = "{", "}"
        parts = [(f"{_flat(key)}: ", one) for key, one in value.items()]
    else:
        first, last = "[", "]"
        parts = [("", one) for one in value]
    inner = indent + 4
    lines = [f"{' ' * inner}{key}{_flat(one)},\n" for key, one in parts]
    for at, (key, one) in enumerate(parts):
        if len(lines[at]) > WIDTH + 1 and isinstance(one, Mapping | list):
            lines[at] = f"{' ' * inner}{key}{literal(one, inner)},\n"
    return f"{first}\n{''.join(lines)}{' ' * indent}{last}"


def _sentences(option: Option, own: Sequence[str]) -> list[str]:
    """Return all that is said of an option, its own sentences for one door included."""
    return [option.says, *option.more, *own, *_limits(option)]


def _for_people(said: Sequence[str]) -> str:
    return " ".join(_MARK.sub(_as_code, one) for one in said)


def _limits(option: Option) -> Iterator[str]:
    if option.known:
        verb = {"dict": "Its keys may be", "list": "Known are"}.get(option.type, "It is one of")
        yield f"{verb} {_list(option.known)}."
    if option.bounds:
        least, most = option.bounds
        subject = "Each is" if option.type == "dict" else "It is"
        if option.excluded:
            yield f"{subject} more than {least} and less than {most}."
        else:
            yield f"{subject} {least} or more, at most {most}."


def _list(values: Sequence[str]) -> str:
    return ", ".join(f"V({value})" for value in values)


def _type_in_role(option: Option) -> str:
    # A path would be made absolute on the controller, where it does not lie.
    return "str" if option.type == "path" else option.type


def _documented(name: str, said: Sequence[str], rules: Mapping[str, Any], indent: int) -> str:
    margin = " " * (indent + 2)
    lines = [f"{' ' * indent}{name}:", *_described(said, margin)]
    for key, value in rules.items():
        lines += _wrapped(f"{key}: {inline(value)}", margin, f"{margin}  ")
    return "".join(f"{line}\n" for line in lines)


def _described(said: Sequence[str], margin: str) -> Iterator[str]:
    if len(said) == 1:
        yield from _wrapped(f"description: {_text(said[0])}", margin, f"{margin}  ")
        return
    yield f"{margin}description:"
    for sentence in said:
        yield from _wrapped(f"- {_text(sentence)}", f"{margin}  ", f"{margin}    ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _text(sentence: str) -> str:
    return _scalar(sentence, "a: {}", {"a": sentence})


def _scalar(value: Any, template: str, meant: Any) -> str:
    """Return a value as YAML within a template, in quotes where it would mean something else."""
    if isinstance(value, str) and value:
        try:
            if yaml.safe_load(template.format(value)) == meant:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_flat(key)}: {_flat(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flat, value))}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _value(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _with_prefix(mark: re.Match[str]) -> str:
    return f"{mark[1]}({PREFIX if mark[1] == 'O' else ''}{mark[2]})"


def _as_code(mark: re.Match[str]) -> str:
    return f"`{PREFIX if mark[1] == 'O' else ''}{mark[2]}`"


def _shown(default: Any) -> str:
    if default in (None, ""):
        return "unset"
    text = default if isinstance(default, str) else inline(default)
    return f"`{_VAULT.sub(lambda found: found[1], text)}`"
