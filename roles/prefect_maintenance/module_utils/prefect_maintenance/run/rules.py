"""The rules of a request as SQL, for the database that a step works on."""

from __future__ import annotations

from dataclasses import replace

from ..database.connection import Database
from ..measure.examine import Server
from ..plan import holds
from ..plan.bulk_rules import bulk_rules
from ..plan.patterns import Patterns
from ..plan.rules import Rules
from ..plan.run_rules import RunRules
from ..request.settings import Settings


def rules_of(settings: Settings, database: Database, server: Server) -> Rules:
    """Return the policy as SQL, for the server and the holds that are there."""
    own = (settings.own_flow_run,) if settings.own_flow_run else ()
    policy, cutoffs = settings.policy, settings.cutoffs
    patterns = Patterns(database.is_postgresql)
    runs = RunRules(policy.rules, cutoffs.reference, patterns)
    return Rules(
        policy.states,
        server.unfinished,
        own,
        runs,
        holds.find(database, policy.hold_tags, cutoffs.reference),
        bulk_rules(policy, runs, cutoffs, patterns),
    )


def laid_down(database: Database, rules: Rules) -> Rules:
    """Return the same rules, with what they look up about flow runs laid down in the session."""
    return replace(rules, holds=holds.stage(database, rules.holds))
