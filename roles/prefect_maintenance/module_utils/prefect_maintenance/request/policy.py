"""How long each entity is kept, and the instants that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import SettingsError
from .instants import iso
from .options import REQUEST
from .parse_rules import parse_event_rules, parse_hold_tags, parse_log_rules, parse_run_rules
from .rules import TERMINAL_STATES, EventRule, LogRule, RunRule
from .values import given, integer, short

ENTITIES = REQUEST["retention"].known
# Prefect: the other types of StateType in prefect.client.schemas.objects.
UNFINISHED_STATES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")

# An orphaned log younger than this may belong to a run whose row is still on its way.
ORPHAN_GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class Policy:
    """How long each entity is kept, in days, and which terminal states may go.

    Rules say otherwise for what they match; tags that fit a pattern of `hold_tags`, of a run or
    of its deployment, keep the run whatever else is said.
    """

    days: Mapping[str, int]
    states: tuple[str, ...]
    rules: tuple[RunRule, ...] = ()
    event_rules: tuple[EventRule, ...] = ()
    log_rules: tuple[LogRule, ...] = ()
    hold_tags: tuple[str, ...] = ()

    def as_report(self) -> dict[str, Any]:
        """Return the policy as it stands in the JSON report."""
        return {"retention_days": dict(self.days), "states": list(self.states)}


@dataclass(frozen=True)
class Cutoffs:
    """The instants, in UTC, before which each entity may go; all counted from `reference`."""

    reference: datetime
    flow_runs: datetime
    task_runs: datetime
    artifacts: datetime
    logs: datetime
    events: datetime
    orphans: datetime

    @classmethod
    def of(cls, policy: Policy, reference: datetime) -> Cutoffs:
        """Count every cutoff of the policy back from one instant."""
        at = {entity: reference - timedelta(days=policy.days[entity]) for entity in ENTITIES}
        return cls(reference=reference, orphans=reference - ORPHAN_GRACE, **at)

    def as_report(self) -> dict[str, str]:
        """Return the cutoffs as ISO 8601 texts in UTC."""
        return {entity: iso(getattr(self, entity)) for entity in ENTITIES}


def parse_policy(request: Mapping[str, Any]) -> Policy:
    """Check retention, states and rules.

    Raises:
        SettingsError: retention is not a whole number of days from 1, its entity is unknown,
            a state is unknown or not terminal, or a rule cannot be read.
    """
    everywhere = integer(given(request, "retention_days"), "retention_days", unit="days")
    own = given(request, "retention")
    if not isinstance(own, Mapping):
        raise SettingsError(
            f"retention must map entities to days, e.g. {{logs: 7}}, not {short(own)}"
        )
    unknown = [entity for entity in own if entity not in ENTITIES]
    if unknown:
        raise SettingsError(
            f"retention names an unknown entity: {', '.join(map(str, unknown))}; "
            f"known are {', '.join(ENTITIES)}"
        )
    bounds = REQUEST["retention"].bounds
    days = {
        entity: integer(own[entity], f"retention.{entity}", bounds, unit="days")
        if entity in own
        else everywhere
        for entity in ENTITIES
    }
    return Policy(
        days=days,
        states=_states(given(request, "states")),
        rules=parse_run_rules(request),
        event_rules=parse_event_rules(request),
        log_rules=parse_log_rules(request),
        hold_tags=parse_hold_tags(request),
    )


def cutoffs_of(policy: Policy, reference: datetime) -> Cutoffs:
    """Count the cutoffs of a policy back from an instant.

    Raises:
        SettingsError: they lie before all times.
    """
    try:
        return Cutoffs.of(policy, reference)
    except OverflowError:
        raise _before_all_times(reference) from None


def before(reference: datetime, days: int) -> datetime:
    """Count days of a rule back from an instant.

    Raises:
        SettingsError: that lies before all times.
    """
    try:
        return reference - timedelta(days=days)
    except OverflowError:
        raise _before_all_times(reference) from None


def _before_all_times(reference: datetime) -> SettingsError:
    return SettingsError(
        f"reference_time {iso(reference)} less the retention lies before all times; correct it"
    )


def _states(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise SettingsError("states must be a list of terminal states, e.g. [COMPLETED, FAILED]")
    for name in names:
        if name in UNFINISHED_STATES:
            raise SettingsError(
                f"states has {name}, which is not terminal and is never deleted; "
                f"terminal are {', '.join(TERMINAL_STATES)}"
            )
        if name not in TERMINAL_STATES:
            raise SettingsError(
                f"states has the unknown state {short(name)}; "
                f"terminal are {', '.join(TERMINAL_STATES)}"
            )
    return tuple(dict.fromkeys(names))
