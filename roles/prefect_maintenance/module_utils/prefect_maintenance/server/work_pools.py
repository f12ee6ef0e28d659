"""Work pools as they should be: read, compare, write only what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..errors import Conflict, SettingsError
from .api import PrefectApi
from .change import Change
from .pool_template import closed, replaceable, widened


@dataclass(frozen=True)
class WorkPool:
    """A work pool; None leaves a property as it is.

    Attributes:
        name: of the pool.
        type: of its workers.
        description: for people.
        concurrency_limit: runs at a time.
        only_environment: variables that a run may set; it may then replace nothing else. A
            pool that is there already and allows only some is made to allow these too; one that
            is open is left so, with a warning.
    """

    name: str
    type: str = "process"
    description: str | None = None
    concurrency_limit: int | None = None
    only_environment: tuple[str, ...] | None = None


def route_of(name: str) -> str:
    """Return where the API has a work pool."""
    return f"/work_pools/{quote(name, safe='')}"


def ensure_work_pool(api: PrefectApi, desired: WorkPool, *, present: bool, check: bool) -> Change:
    """Create or update a work pool, or remove it.

    Raises:
        Conflict: a pool of that name is of another type.
    """
    route = route_of(desired.name)
    there = api.find(route)
    if there is not None and there["type"] != desired.type:
        raise Conflict(
            f"work pool {desired.name} is of type {there['type']}, not {desired.type}; "
            "name another pool, or remove that one"
        )
    if not present:
        return _remove_pool(api, desired, route, there, check=check)
    wanted: dict[str, Any] = {
        name: value
        for name, value in (
            ("description", desired.description),
            ("concurrency_limit", desired.concurrency_limit),
        )
        if value is not None
    }
    if there is None:
        return _make_pool(api, desired, wanted, check=check)
    template = widened(there["base_job_template"], desired.only_environment or ())
    if template:
        wanted["base_job_template"] = template
    differing = {name: value for name, value in wanted.items() if there.get(name) != value}
    if differing and not check:
        api.ask("PATCH", route, json=differing)
    return Change(
        {name: there.get(name) for name in differing},
        differing,
        warnings=_left_open(desired, replaceable(there["base_job_template"])),
    )


def _make_pool(
    api: PrefectApi, desired: WorkPool, wanted: Mapping[str, Any], *, check: bool
) -> Change:
    body = {"name": desired.name, "type": desired.type, **wanted}
    if not check:
        views = api.ask("GET", "/collections/views/aggregate-worker-metadata")
        known = {kind: each for group in views.values() for kind, each in group.items()}
        if desired.type not in known:
            raise SettingsError(
                f"the server knows no work pools of type {desired.type}; name another type"
            )
        template = known[desired.type]["default_base_job_configuration"]
        if desired.only_environment is not None:
            template = closed(template, desired.only_environment)
        api.ask("POST", "/work_pools/", json={**body, "base_job_template": template})
    return Change({}, body)


def _left_open(desired: WorkPool, replaceable_by_runs: Sequence[str]) -> tuple[str, ...]:
    """Warn of a pool that was there already and is not as closed as one that is made."""
    if desired.only_environment is None or not replaceable_by_runs:
        return ()
    return (
        f"work pool {desired.name} was there already and lets a run replace its "
        f"{', '.join(replaceable_by_runs)}; remove the pool and run again "
        "to have it without, or name another",
    )


def _remove_pool(
    api: PrefectApi, desired: WorkPool, route: str, there: Mapping[str, Any] | None, *, check: bool
) -> Change:
    if there is None:
        return Change({}, {})
    using = api.ask(
        "POST",
        "/deployments/filter",
        json={"work_pools": {"name": {"any_": [desired.name]}}, "limit": 200},
    )
    if using:
        names = ", ".join(sorted(str(deployment["name"]) for deployment in using)[:3])
        return Change({}, {}, warnings=(f"work pool {desired.name} stays: it is used by {names}",))
    if not check:
        api.ask("DELETE", route)
    return Change({"name": desired.name, "type": desired.type}, {})
