# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""The plan of a server that an earlier check wrote down, as a run is to apply it.

Runs on the controller. Whether the plan is whole and still fits, the engine decides on the target.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

_ANEW = "make it with --check and prefect_maintenance_plan_out, or leave plan_in empty"


def saved_plan(place: Any, host: str, name: str) -> dict[str, Any]:
    """Return the plan of a host, or nothing where none is to be applied.

    Args:
        place: a folder with plans, or the plans themselves by host, or nothing.
        host: as the inventory has it.
        name: of its file in the folder.

    Raises:
        AnsibleFilterError: there is none, or it cannot be read.
    """
    if place is None or place == "":
        return {}
    if isinstance(place, Mapping):
        if host not in place:
            raise _refused(f"has no plan of {host}")
        return _plan(place[host], f"has no plan for {host} but something else")
    path = Path(str(place)).expanduser() / name
    try:
        return _plan(json.loads(path.read_text(encoding="utf-8")), f"has no plan in {path}")
    except FileNotFoundError:
        raise _refused(f"has no {path}") from None
    except OSError as error:
        raise _refused(f"has {path}, which cannot be read: {error.strerror}") from None
    except ValueError:
        raise _refused(f"has {path}, which is broken") from None


def faults(place: Any, host: str, name: str) -> list[str]:
    """Return why `saved_plan` has none, in a line."""
    try:
        saved_plan(place, host, name)
    except AnsibleFilterError as error:
        return [str(error)]
    return []


def _plan(told: Any, otherwise: str) -> dict[str, Any]:
    if not isinstance(told, Mapping) or not isinstance(told.get("reference_time"), str):
        raise _refused(otherwise)
    return dict(told)


def _refused(why: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"prefect_maintenance_plan_in {why}; {_ANEW}")


class FilterModule:
    """The filters by the names that the role uses."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {
            "prefect_maintenance_saved_plan": saved_plan,
            "prefect_maintenance_plan_faults": faults,
        }
