"""The template of a work pool whose runs can replace as little as their deployment needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# What a worker starts, and where; a run could make it start anything.
_DECISIVE = ("command", "working_dir")


def closed(template: Mapping[str, Any], environment: Iterable[str]) -> dict[str, Any]:
    """Return a template without a command or working folder of a run's own.

    The server refuses a run with any other variable. Whoever may change the pool itself, or make
    a deployment in it, is not held by this.

    Args:
        template: the default of the pool's type.
        environment: names of the environment variables that a run may set.
    """
    properties = {
        name: schema
        for name, schema in template["variables"]["properties"].items()
        if name not in _DECISIVE
    }
    allowed = {name: {"type": "string"} for name in environment}
    properties["env"] = {
        **properties["env"], "properties": allowed, "additionalProperties": False,
    }  # fmt: skip
    return {
        "job_configuration": {
            name: value
            for name, value in template["job_configuration"].items()
            if name not in _DECISIVE
        },
        "variables": {
            **template["variables"], "properties": properties, "additionalProperties": False,
        },
    }  # fmt: skip


def widened(template: Mapping[str, Any], environment: Iterable[str]) -> dict[str, Any]:
    """Return a closed template with all these variables; nothing where it has them, or is open.

    Args:
        template: of a pool, as an earlier version may have closed it.
        environment: names of the environment variables that a run may set.
    """
    variables = template.get("variables", {})
    properties = variables.get("properties", {})
    held = properties.get("env", {})
    before = held.get("properties", {})
    allowed = before | {name: before.get(name, {"type": "string"}) for name in environment}
    if held.get("additionalProperties") is not False or allowed == before:
        return {}
    env = {**held, "properties": allowed}
    return {**template, "variables": {**variables, "properties": {**properties, "env": env}}}


def replaceable(template: Mapping[str, Any]) -> list[str]:
    """Return what a run of a pool with this template can replace of what is started."""
    properties = template.get("variables", {}).get("properties", {})
    return [name for name in _DECISIVE if name in properties]
