"""Which rule let a row go, as archives name it: "run rule 2" is the second of the run rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue import BY_NAME, EVENTS, FLOW_RUN, LOG
from ..request.policy import Cutoffs
from ..request.rules import TERMINAL_STATES
from .dated_rules import DatedRules
from .log_rules import decide_logs
from .rule_names import EVENT_RULE, GENERAL, LOG_RULE, by_number
from .rules import Rules
from .run_rules import RunRules
from .words import words

_OF_STEP = {"purge": ((EVENTS.name, EVENT_RULE), (LOG.name, LOG_RULE)), "delete": ()}


@dataclass(frozen=True)
class WentBy:
    """Names the rule that lets row `{x}` go; NULL where it goes by none, as with its run.

    Attributes:
        values: that `sql` binds.
    """

    sql: str
    values: Mapping[str, Any]

    def of(self, alias: str) -> str:
        """Write it for the row of that alias."""
        return self.sql.replace("{x}", alias)


def went_by(step: str, cutoffs: Cutoffs, rules: Rules) -> dict[str, WentBy]:
    """Return what names the rule of a row, by the tables about which rules decide in a step."""
    found = {}
    for table, kind in _OF_STEP.get(step, ()):
        dated = rules.watched.dated_by(BY_NAME[table])
        if dated:
            values = rules.watched.values(BY_NAME[table], cutoffs)
            found[table] = WentBy(_of_dated(dated, kind, rules.runs), values)
    if step == "delete" and rules.runs:
        found[FLOW_RUN.name] = WentBy(_of_runs(rules.runs), rules.runs.bound)
    return found


def _of_dated(dated: DatedRules, kind: str, runs: RunRules) -> str:
    whens = " ".join(f"WHEN {case.fits} THEN '{kind} {case.number}'" for case in dated.cases)
    otherwise = f"'{GENERAL}'"
    if dated.run_now:
        otherwise = by_number(dated.run_now, [rule.number for rule in decide_logs(runs)])
    decided = f"CASE {whens} ELSE {otherwise} END" if whens else otherwise
    return f"CASE WHEN {dated.goes('{x}')} THEN {decided} END"


def _of_runs(runs: RunRules) -> str:
    numbers = [rule.number for rule in runs.rules]
    named = by_number(runs.rule_of("{x}"), numbers)
    return f"CASE WHEN {{x}}.state_type IN ({words(TERMINAL_STATES)}) THEN {named} END"
