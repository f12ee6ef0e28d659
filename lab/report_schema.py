"""The JSON Schema of a report, as the frozen dataclasses that it is made of say: `make docs`.

A key that is added to one of them stands in the schema with its type, and with the sentence that
its class has for it under `Attributes`.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from prefect_maintenance.plan.estimate import Estimate
from prefect_maintenance.plan.plan import Plan
from prefect_maintenance.plan.rule_counts import RuleCount
from prefect_maintenance.report.report import SCHEMA, Report
from prefect_maintenance.report.verdict import Verdict

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What every file has, also one of a run that failed before its first step.
ALWAYS = ("schema", "host", "check_mode", "status")
NAMED = {"TableReport": ("name",), "Kept": ("what", "rows", "why")}
# What is put beside the attributes when a report or a plan is written.
BESIDE: Mapping[str, Mapping[str, tuple[Any, str]]] = {
    "Report": {
        "verdict": (
            Verdict,
            "Whether retention works, in three lines, and what needs a person; it follows from "
            "the rest of the report.",
        ),
        "forecast": (
            Mapping[str, Any],
            "What comes in a day, what the database settles at and when its disk is full, which "
            "retention would help, and who makes the rows; null where that is not known.",
        ),
        "rules": (
            tuple[RuleCount, ...],
            "What each rule makes go and keeps, and the general policy as number 0; only where "
            "there are rules.",
        ),
        "estimate": (Estimate, "What the whole run was planned to take and give back."),
        "measured": (Estimate, "What it really took and gave back; empty in a check."),
        "growth": (Any, "Who makes the rows; in the files of the report playbook only."),
    },
    "TableReport": {
        "settles_rows": (int | None, "Rows that it settles at with this growth and policy."),
        "settles_bytes": (int | None, "Bytes that it settles at with this growth and policy."),
    },
    "Estimate": {
        "table": (str | None, "In the list of a plan, whose it is; null is an SQLite file."),
    },
    "Plan": {
        "estimates": (
            tuple[Estimate, ...],
            "What the work on each table takes and gives back.",
        ),
        "bytes_back": (int, "Bytes that come back, over all tables."),
        "fingerprint": (str, "A short text that differs for any other plan."),
    },
}
FIXED: Mapping[tuple[str, str], Schema] = {
    ("Report", "schema"): {"const": SCHEMA},
    ("Report", "status"): {"enum": ["ok", "partial", "failed"]},
    ("Report", "status_if_lost"): {"enum": ["partial", "failed"]},
}
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def text() -> str:
    """Return the schema as the file that is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """Return the schema of `<host>.json`; keys that it does not know are allowed."""
    definitions: dict[str, Schema] = {}
    whole = _object(Report, definitions)
    return {
        "$schema": DIALECT,
        "$id": f"urn:prefect-maintenance:report:{SCHEMA}",
        "title": "Report of a Prefect maintenance",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(made: type, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a dataclass, and add those of the ones that it holds."""
    hints = get_type_hints(made)
    about, told = described(made)
    properties: dict[str, Schema] = {}
    for field in fields(made):
        fixed = FIXED.get((made.__name__, field.name))
        properties[field.name] = fixed or _of_type(hints[field.name], definitions)
        if sentence := told.get(field.name):
            properties[field.name] = {**properties[field.name], "description": sentence}
    for name, (hint, sentence) in BESIDE.get(made.__name__, {}).items():
        properties[name] = {**_of_type(hint, definitions), "description": sentence}
    required = ALWAYS if made is Report else NAMED.get(made.__name__, ())
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


def _of_type(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of what an attribute may be.

    Raises:
        TypeError: JSON has nothing like it.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin in (Union, types.UnionType):
        return _any_of([_of_type(one, definitions) for one in inner])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _of_type(inner[0], definitions)}
    if origin in (Mapping, dict):
        values = _of_type(inner[1], definitions)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if isinstance(hint, type) and is_dataclass(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    raise TypeError(f"a report cannot hold {hint}")


def _any_of(kinds: list[Schema]) -> Schema:
    """Return one schema for alternatives, as one list of types where that says it."""
    if all(set(kind) == {"type"} for kind in kinds):
        return {"type": [kind["type"] for kind in kinds]}
    return {"anyOf": kinds}


def described(made: type) -> tuple[str, dict[str, str]]:
    """Return what a class says of itself, and of each of its attributes."""
    about, _, listed = inspect.cleandoc(made.__doc__ or "").partition("\nAttributes:\n")
    entries = re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", listed, flags=re.M)
    return _sentence(about), {name: _sentence(told) for name, told in entries}


def _sentence(told: str) -> str:
    words = re.sub(r"\bNone\b", "null", " ".join(told.split()))
    return words[:1].upper() + words[1:]


def undescribed() -> list[str]:
    """Return the attributes of the report and the plan of which their class says nothing."""
    definitions: dict[str, Schema] = {}
    found = {"Report": _object(Report, definitions), "Plan": _object(Plan, definitions)}
    return [
        f"{name}.{key}"
        for name, one in {**definitions, **found}.items()
        for key, value in one["properties"].items()
        if "description" not in value
    ]
