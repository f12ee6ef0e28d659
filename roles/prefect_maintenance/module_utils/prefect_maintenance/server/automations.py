"""Automations that tell people when the runs of a deployment fail or stay away.

Two of Prefect's own, so that either can be paused by itself: one answers a run that failed, the
other the absence of a run that completed. Its time begins anew with each run that completes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from ..errors import Conflict, SettingsError
from .api import PrefectApi
from .change import Change

# Names of the states that a run ends in when it did not do its work.
FAILING = ("Crashed", "Failed", "TimedOut")
_EVENT = "prefect.flow-run."
# Prefect evaluates no shorter absence.
_LEAST = 10.0
# Four years hold every gap of a cron; a frequent one shows all of its gaps much earlier.
_FROM, _DAYS, _DATES, _ASKED = datetime(2023, 6, 1, tzinfo=UTC), 4 * 366, 10_000, 1000


@dataclass(frozen=True)
class Watch:
    """Which deployment is watched, and who is told.

    Attributes:
        deployment: its name.
        flow: the name of its flow.
        block: the notification block that tells people, as `type/name`; None for none, and the
            automation then only makes its event.
        within: seconds in which a run must complete; None when nothing is expected.
    """

    deployment: str
    flow: str
    block: str | None
    within: float | None

    @property
    def names(self) -> tuple[str, str]:
        """The names of the automations: of failures, and of runs that stayed away."""
        return f"{self.deployment}: a run failed", f"{self.deployment}: no run completed in time"


def ensure_automations(api: PrefectApi, desired: Watch, *, present: bool, check: bool) -> Change:
    """Create or update the automations of a deployment, or remove them.

    Raises:
        SettingsError: the block is not there, or cannot notify.
        Conflict: the deployment is not there, or an automation's name was taken twice.
    """
    wanted = _wanted(api, desired, check=check) if present else {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    ids: dict[str, str] = {}
    for name in desired.names:
        there, body = _named(api, name), wanted.get(name)
        held = _held(there, body) if there else None
        if held != body:
            before |= {name: held} if held else {}
            after |= {name: body} if body else {}
            there = there if check else _write(api, there, body)
        if body and there:
            ids[name] = str(there["id"])
    return Change(before, after, {"automations": ids})


def longest_gap(cron: str, timezone: str) -> float:
    """Return the most seconds that lie between two runs of a schedule.

    Raises:
        SettingsError: the cron never comes.
    """
    # The server's own reading of a cron; importing it reads much of the server.
    from prefect.server.schemas.schedules import CronSchedule

    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValueError:
        raise SettingsError(
            f"cron {cron!r} in {timezone!r} is not valid; correct cron or timezone"
        ) from None
    start, end = _FROM, _FROM + timedelta(days=_DAYS)
    dates: list[datetime] = []
    while len(dates) < _DATES:
        found = asyncio.run(schedule.get_dates(n=_ASKED, start=start, end=end))
        if not found:
            break
        dates += found
        start = found[-1] + timedelta(seconds=1)
    if len(dates) < 2:
        raise SettingsError(f"cron {cron!r} comes less than twice in four years; set within")
    return max(float((late - soon).total_seconds()) for soon, late in pairwise(dates))


def _wanted(api: PrefectApi, desired: Watch, *, check: bool) -> dict[str, Any]:
    """Return the automations as the server should hold them, by their names."""
    route = f"/deployments/name/{quote(desired.flow, safe='')}/{quote(desired.deployment, safe='')}"
    found = api.find(route)
    if found is None and not check:
        raise Conflict(f"there is no deployment {desired.deployment}; make it first")
    watched = {
        "prefect.resource.role": "deployment",
        "prefect.resource.id": f"prefect.deployment.{found['id'] if found else '(new)'}",
    }
    block = _block(api, desired.block) if desired.block else None
    failed, missing = desired.names
    made = {
        failed: _automation(
            failed,
            "Tells when a run of the maintenance has failed or crashed.",
            _trigger(watched, "Reactive", FAILING, within=0.0),
            _action(block, failed, "{{ flow_run.name }}: {{ flow_run.state.message }}"),
        )
    }
    if desired.within is not None:
        within = max(_LEAST, desired.within)
        told = f"No run of {desired.deployment} has completed in {timedelta(seconds=within)}."
        made[missing] = _automation(
            missing,
            "Tells when no run of the maintenance has completed in time.",
            # What completes is expected once more: its time begins anew with it.
            _trigger(watched, "Proactive", ("Completed",), ("Completed",), within=within),
            _action(block, missing, f"{told} Look at its worker and its schedule."),
        )
    return made


def _automation(
    name: str, says: str, trigger: Mapping[str, Any], action: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "description": says,
        "enabled": True,
        "trigger": dict(trigger),
        "actions": [dict(action)],
    }


def _trigger(
    watched: Mapping[str, str],
    posture: str,
    expected: Sequence[str],
    after: Sequence[str] = (),
    *,
    within: float,
) -> dict[str, Any]:
    return {
        "type": "event",
        "posture": posture,
        "match": {"prefect.resource.id": f"{_EVENT}*"},
        "match_related": dict(watched),
        "after": [_EVENT + state for state in after],
        "expect": [_EVENT + state for state in expected],
        "threshold": 1,
        "within": within,
    }


def _action(block: str | None, subject: str, body: str) -> dict[str, Any]:
    if block is None:
        return {"type": "do-nothing"}
    told = {"subject": f"Prefect: {subject}", "body": body}
    return {"type": "send-notification", "block_document_id": block, **told}


def _block(api: PrefectApi, named: str) -> str:
    """Return the id of a notification block.

    Raises:
        SettingsError: it is not there, or cannot notify.
    """
    kind, _, name = named.partition("/")
    path = f"{quote(kind, safe='')}/block_documents/name/{quote(name, safe='')}"
    found = api.find(f"/block_types/slug/{path}") if kind and name else None
    if found is None:
        raise SettingsError(
            f"there is no block {named!r} on the server; make it and name it as in "
            "slack-webhook/operations"
        )
    if "notify" not in found["block_schema"]["capabilities"]:
        raise SettingsError(f"block {named!r} cannot notify anybody; name a notification block")
    return str(found["id"])


def _named(api: PrefectApi, name: str) -> Mapping[str, Any] | None:
    """Return the automation of a name.

    Raises:
        Conflict: there are several.
    """
    found = api.ask("POST", "/automations/filter", json={"automations": {"name": {"any_": [name]}}})
    if len(found) > 1:
        raise Conflict(f"{len(found)} automations are named {name!r}; remove all but one")
    return found[0] if found else None


def _held(there: Mapping[str, Any], body: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return of an automation what it should have, as the server holds it."""
    if body is None:
        return {"name": there["name"]}
    trigger = {key: there["trigger"].get(key) for key in body["trigger"]}
    for events in ("after", "expect"):
        # The server keeps no order of them.
        trigger[events] = sorted(trigger[events] or ())
    actions = [
        {key: held.get(key) for key in body["actions"][0]}
        if held.get("type") == body["actions"][0]["type"]
        else held
        for held in there["actions"]
    ]
    return {**{key: there.get(key) for key in body}, "trigger": trigger, "actions": actions}


def _write(
    api: PrefectApi, there: Mapping[str, Any] | None, body: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    if there is None:
        made: Mapping[str, Any] = api.ask("POST", "/automations/", json=body)
        return made
    if body is None:
        api.ask("DELETE", f"/automations/{there['id']}")
        return None
    api.ask("PUT", f"/automations/{there['id']}", json=body)
    return there
