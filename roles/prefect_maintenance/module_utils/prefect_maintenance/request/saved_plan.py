"""A plan that a check wrote down, as a later run reads it: whole, unchanged, not forgotten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import SettingsError
from .instants import parse_instant
from .values import given

SCHEMA = 1
MAKE_ANEW = "make a new one with --check and prefect_maintenance_plan_out"
# Beside what the hash is of: itself, and the plan in all its detail, which is for people.
_NOT_HASHED = ("hash", "plan")
_TEXTS = ("tool", "made", "host", "database", "reference_time", "fingerprint")


@dataclass(frozen=True)
class SavedPlan:
    """What a run that applies a plan is held to.

    Attributes:
        tool: version of the tool that made it.
        made: when.
        host: name of the server in the inventory.
        database: tells its database from any other.
        revision: of Prefect's schema.
        reference_time: the instant that every cutoff is counted back from.
        fingerprint: of the plan, as the report of the check has it.
        policy: the options that decided, as `as_written` has them.
        rows: that go, by table.
        rules: what each rule makes go: its `kind`, `number`, `name` and `rows`.
    """

    tool: str
    made: datetime
    host: str
    database: str
    revision: str | None
    reference_time: str
    fingerprint: str
    policy: Mapping[str, Any]
    rows: Mapping[str, int]
    rules: tuple[Mapping[str, Any], ...]


def sealed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain data of a plan with a hash, by which a change of it is noticed."""
    return {**told, "hash": _hash(told)}


def parse_saved_plan(request: Mapping[str, Any]) -> SavedPlan | None:
    """Read the plan that is to be applied; None when there is none.

    Raises:
        SettingsError: it is none, was changed, or a newer version of this tool wrote it.
    """
    told = given(request, "saved_plan")
    if not told:
        return None
    if not isinstance(told, Mapping) or "schema" not in told:
        raise _broken("it is no plan")
    if told["schema"] != SCHEMA:
        raise _broken(f"its form is {told['schema']}, this version reads form {SCHEMA}")
    if told.get("hash") != _hash(told):
        raise _broken("it was changed after it was made, or is not whole")
    if any(not isinstance(told.get(name), str) for name in _TEXTS):
        raise _broken("it is not whole")
    return SavedPlan(
        **{name: told[name] for name in _TEXTS if name != "made"},
        made=parse_instant(told["made"]),
        revision=told.get("revision"),
        policy=dict(told.get("policy", {})),
        rules=tuple(told.get("rules", ())),
        rows={table: int(rows) for table, rows in told.get("rows", {}).items()},
    )


def _broken(why: str) -> SettingsError:
    return SettingsError(f"the saved plan cannot be applied: {why}; {MAKE_ANEW}")


def _hash(told: Mapping[str, Any]) -> str:
    contents = {key: value for key, value in told.items() if key not in _NOT_HASHED}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
