"""What there is to say of an option, once, for everybody who takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The modules, by what they do.
MEASURE = "prefect_db_bloat_info"
PURGE = "prefect_db_purge"
DELETE = "prefect_api_delete"
VACUUM = "prefect_db_vacuum"
ROLE = "prefect_db_role"
RESTORE = "prefect_db_restore"
POOL = "prefect_work_pool"
DEPLOYMENT = "prefect_deployment"
AUTOMATION = "prefect_automation"

STEPS = (MEASURE, PURGE, DELETE, VACUUM)
WRITERS = (PURGE, DELETE, VACUUM)

# The entry points of the role that take every variable.
WHOLE = ("main", "inspect", "schedule", "restore")


@dataclass(frozen=True)
class Option:
    """An option of a module, a variable of the role, a parameter of the flow, or all of them.

    The sentences have Ansible's marks: O(option), V(value), C(code), E(environment variable).

    Attributes:
        name: as a module or the flow has it; a variable has the role's prefix before it.
        type: in Ansible's words.
        says: one whole sentence that says what it is; lists and forms show it alone.
        more: further sentences.
        in_modules: further sentences that hold for a module only.
        in_role: further sentences that hold for the variable only.
        default: a tuple for a list.
        choices: all that it may be; of a list, all that may stand in it.
        known: what a list may hold, or a mapping may name; the engine refuses anything else.
        bounds: the least and the most of a number, or of each number in a mapping.
        excluded: whether the bounds themselves are out of them.
        modules: those that take it.
        entries: the entry points of the role that take the variable.
        flow: whether the flow takes it.
        common: whether it is one of the few that most people set.
    """

    name: str
    type: str
    says: str
    more: tuple[str, ...] = ()
    in_modules: tuple[str, ...] = ()
    in_role: tuple[str, ...] = ()
    default: Any = None
    elements: str | None = None
    choices: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    bounds: tuple[int, int] | None = None
    excluded: bool = False
    required: bool = False
    secret: bool = False
    modules: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    flow: bool = False
    common: bool = False


@dataclass(frozen=True)
class Group:
    """Options that belong together, under one title."""

    title: str
    options: tuple[Option, ...]
