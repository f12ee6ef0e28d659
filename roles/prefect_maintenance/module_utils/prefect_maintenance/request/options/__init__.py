"""Every option there is, in one table.

`make docs` writes the modules' documentation and argument specs, the role's defaults and specs,
the tables for people and the bounds of the AWX survey from it. Two rows may share a name where
a module means something of its own by it; then the first of them is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .automation import AUTOMATION_ALONE
from .controller import CONTROLLER, SURVEY
from .deployment import DEPLOYMENT_ALONE, POOL_ALONE, SCHEDULE
from .environment import ENVIRONMENT
from .option import RESTORE as RESTORE_MODULE
from .option import ROLE as ROLE_MODULE
from .option import STEPS, WHOLE, Group, Option
from .restore import RESTORE, RESTORE_ALONE
from .retention import RETENTION
from .role import ROLE, ROLE_ALONE, STOP
from .server import SERVER
from .step import STEP_ALONE
from .work import WORK

GROUPS: tuple[Group, ...] = (
    POOL_ALONE,
    DEPLOYMENT_ALONE,
    AUTOMATION_ALONE,
    ROLE_ALONE,
    RESTORE_ALONE,
    SERVER,
    RETENTION,
    WORK,
    STEP_ALONE,
    ENVIRONMENT,
    SCHEDULE,
    STOP,
    ROLE,
    RESTORE,
    CONTROLLER,
    SURVEY,
)
OPTIONS = tuple(option for group in GROUPS for option in group.options)


def of_module(name: str, options: Sequence[Option] = OPTIONS) -> tuple[Option, ...]:
    """Return the options that a module takes."""
    return tuple(option for option in options if name in option.modules)


def of_entry(name: str, options: Sequence[Option] = OPTIONS) -> tuple[Option, ...]:
    """Return the variables that an entry point of the role takes."""
    return tuple(option for option in options if name in option.entries)


def of_flow(options: Sequence[Option] = OPTIONS) -> tuple[Option, ...]:
    """Return the parameters of the flow."""
    return tuple(option for option in options if option.flow)


def _of_request() -> Mapping[str, Option]:
    found: dict[str, Option] = {}
    for option in OPTIONS:
        if option.flow or {*STEPS, ROLE_MODULE, RESTORE_MODULE} & set(option.modules):
            found.setdefault(option.name, option)
    return found


# The options of a request to the engine, by their names.
REQUEST = _of_request()

__all__ = [
    "GROUPS",
    "OPTIONS",
    "REQUEST",
    "WHOLE",
    "Group",
    "Option",
    "of_entry",
    "of_flow",
    "of_module",
]
