"""The rules for all tables that are purged by age."""

from __future__ import annotations

from ..catalogue import EVENT_RESOURCES, EVENTS, LOG
from ..request.policy import Cutoffs, Policy
from .dated_rules import DatedRules
from .event_rules import event_rules, resource_rules
from .log_rules import log_rules
from .patterns import Patterns
from .run_rules import RunRules


def bulk_rules(
    policy: Policy, runs: RunRules, cutoffs: Cutoffs, patterns: Patterns
) -> dict[str, DatedRules]:
    """Write the rules of a policy for events, their resources and logs as conditions.

    Raises:
        SettingsError: a cutoff lies before all times.
    """
    events = event_rules(policy.event_rules, cutoffs, patterns)
    return {
        EVENTS.name: events,
        EVENT_RESOURCES.name: resource_rules(events),
        LOG.name: log_rules(policy.log_rules, runs, cutoffs, patterns),
    }
