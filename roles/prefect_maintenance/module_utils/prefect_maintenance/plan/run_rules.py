"""Rules for flow runs as SQL: which rule decides about a run, and whether it lets the run go.

Names are resolved in subqueries that do not depend on the run, so that they are carried out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..request.policy import before
from ..request.rules import TERMINAL_STATES, Match, RunRule
from .patterns import Patterns
from .words import ALL, age, old, words

_DEPLOYMENTS = """{r}.deployment_id IN (
    SELECT d.id FROM deployment d JOIN flow f ON f.id = d.flow_id WHERE {fits})"""
_FLOWS = "{r}.flow_id IN (SELECT f.id FROM flow f WHERE {fits})"
_WORK_POOLS = """{r}.work_queue_id IN (
    SELECT q.id FROM work_queue q JOIN work_pool w ON w.id = q.work_pool_id WHERE {fits})"""


# Many runs are of few kinds, and what a rule asks for is asked once a kind. Columns that may be
# NULL are compared by what stands for that.
_KINDS = """
SELECT {kinds}, {rule} AS rule FROM (
    SELECT DISTINCT {columns} FROM flow_run r WHERE r.state_type IN ({terminal})) s {all}
"""
_LAY_DOWN_KINDS = "INSERT INTO prefect_maintenance_kind ({names}, rule) {kinds}"
_DECIDED = """
INSERT INTO prefect_maintenance_decided (id, rule)
SELECT r.id, k.rule FROM flow_run r JOIN prefect_maintenance_kind k ON {same} WHERE k.rule > 0
"""
# The same where nothing is laid down. Apart, so that what the kinds cost does not hide from the
# planner what a join with them does.
_WITH_KINDS = "WITH k AS MATERIALIZED ({kinds}) SELECT {told} FROM flow_run r LEFT JOIN k ON {same}"
_NONE = "'00000000-0000-0000-0000-000000000000'"
_COLUMNS = {"deployments": "deployment_id", "flows": "flow_id", "work_pools": "work_queue_id",
            "tags": "tags"}  # fmt: skip
_INSTEAD = {"deployment_id": _NONE, "work_queue_id": _NONE, "tags": "'[]'"}


@dataclass(frozen=True)
class RunRules:
    """The rules for flow runs, the first of which that matches a run decides about it.

    Attributes:
        rules: in their order.
        reference: the instant that their days are counted back from.
        patterns: how patterns are written.
    """

    rules: Sequence[RunRule] = ()
    reference: datetime = datetime.max
    patterns: Patterns = field(default_factory=Patterns)

    def __bool__(self) -> bool:
        return bool(self.rules)

    @property
    def ranked(self) -> tuple[RunRule, ...]:
        """The rules that keep the newest runs, however old these are."""
        return tuple(rule for rule in self.rules if rule.keep.ranked and not rule.keep.forever)

    @property
    def ask_tags(self) -> bool:
        """Whether a rule looks at tags."""
        return any(rule.match.tags or rule.unless.tags for rule in self.rules)

    def rule_of(self, alias: str) -> str:
        """The number of the rule that decides about a finished run, 0 where none does."""
        whens = (f"WHEN {self.matches(rule, alias)} THEN {rule.number}" for rule in self.rules)
        return f"CASE {' '.join(whens)} ELSE 0 END"

    def goes(self, alias: str, general: str) -> str:
        """A finished run goes by the rule that decides about it, ranks aside.

        Args:
            alias: the run.
            general: says whether a run goes that no rule matches.
        """
        return self.not_kept(self.rule_of(alias), age(alias), general)

    def old_enough(self, alias: str, general: str) -> str:
        """What every run is that goes, by whichever rule; an index leads to such runs.

        Args:
            alias: the run.
            general: it is old enough for the general policy.
        """
        keeps = [rule.keep for rule in self.rules if not rule.keep.forever]
        if any(keep.days is None for keep in keeps):
            return "TRUE"
        return f"({general} OR {old(alias, 'rules_until')})" if keeps else general

    def with_kinds(self, told: str) -> str:
        """Select of each run `r` what is told; `k.rule` is the number of its rule, 0 where none is.

        It is nothing of an unfinished run.
        """
        return _WITH_KINDS.format(kinds=self._kinds, told=told, same=self._of_kind)

    @property
    def _kinds(self) -> str:
        columns = self._columns
        return _KINDS.format(
            kinds=", ".join(f"s.{column}" for column in columns),
            rule=self.rule_of("s"),
            columns=", ".join(f"r.{column}" for column in columns),
            terminal=words(TERMINAL_STATES),
            all=ALL,
        )

    @property
    def _of_kind(self) -> str:
        """Run `r` is of kind `k`."""
        return " AND ".join(f"{_comparable('k', c)} = {_comparable('r', c)}" for c in self._columns)

    @property
    def lay_down_kinds(self) -> str:
        """The statement that decides about each kind of runs."""
        return _LAY_DOWN_KINDS.format(names=", ".join(self._columns), kinds=self._kinds)

    @property
    def lay_down_decided(self) -> str:
        """The statement that lays down the rule of each run that a rule decides about."""
        return _DECIDED.format(same=self._of_kind)

    @property
    def _columns(self) -> list[str]:
        """The columns that say of which kind a run is, as far as rules ask."""
        matches = [match for rule in self.rules for match in (rule.match, rule.unless)]
        asked = (c for kind, c in _COLUMNS.items() if any(getattr(m, kind) for m in matches))
        return ["state_type", *asked]

    @property
    def every_rule(self) -> str:
        """The runs that rules decide about, with the number of the rule."""
        return f"{self.with_kinds('r.id AS id, k.rule AS rule')} WHERE k.rule > 0"

    def not_kept(self, rule: str, age: str, general: str) -> str:
        """The same where it is known which rule decides, and from when the age counts."""
        whens = (f"WHEN {one.number} THEN {_not_kept(one, age)}" for one in self.rules)
        return f"CASE {rule} {' '.join(whens)} ELSE {general} END" if self.rules else general

    def matches(self, rule: RunRule, alias: str) -> str:
        """A rule matches a finished run, whatever the rules before it do."""
        told = [f"{alias}.state_type IN ({words(rule.states)})"]
        told += self._fitting(rule.match, f"rule_{rule.number}", alias)
        if rule.unless:
            unless = [f"{alias}.state_type IN ({words(rule.unless.states)})"]
            unless = unless if rule.unless.states else []
            unless += self._fitting(rule.unless, f"rule_{rule.number}_except", alias)
            told.append(f"({' AND '.join(unless)}) IS NOT TRUE")
        return " AND ".join(told)

    @property
    def bound(self) -> dict[str, Any]:
        """The values that all of it binds."""
        values: dict[str, Any] = {}
        if days := [rule.keep.days for rule in self.rules if rule.keep.days is not None]:
            values["rules_until"] = before(self.reference, min(days))
        for rule in self.rules:
            if rule.keep.days is not None:
                values[f"rule_{rule.number}_days"] = before(self.reference, rule.keep.days)
            for name, match in (("", rule.match), ("_except", rule.unless)):
                for kind, patterns in _values(match).items():
                    key = f"rule_{rule.number}{name}_{kind}"
                    values[key] = self.patterns.value(patterns)
        return values

    def _fitting(self, match: Match, name: str, alias: str) -> list[str]:
        """Say of each kind but the states that one of its patterns fits; the dearest last."""
        fits, found = self.patterns.fits, []
        if match.deployments:
            own = fits("d.name", f"{name}_deployments")
            both = fits("f.name || '/' || d.name", f"{name}_flow_deployments")
            found.append(_DEPLOYMENTS.format(r=alias, fits=f"{own} OR {both}"))
        if match.flows:
            found.append(_FLOWS.format(r=alias, fits=fits("f.name", f"{name}_flows")))
        if match.work_pools:
            pools = fits("w.name", f"{name}_work_pools")
            found.append(_WORK_POOLS.format(r=alias, fits=pools))
        if match.tags:
            tags = fits("g.value", f"{name}_tags")
            found.append(self.patterns.tagged(f"{alias}.tags", tags))
        return found


def _comparable(alias: str, column: str) -> str:
    instead = _INSTEAD.get(column)
    return f"COALESCE({alias}.{column}, {instead})" if instead else f"{alias}.{column}"


def _not_kept(rule: RunRule, age: str) -> str:
    """Nothing of a rule keeps a run of that age that it decides about, ranks aside."""
    if rule.keep.forever:
        return "FALSE"
    return "TRUE" if rule.keep.days is None else f"{age} < :rule_{rule.number}_days"


def _values(match: Match) -> dict[str, tuple[str, ...]]:
    """Return the patterns by the ends of the names that they are bound to."""
    return {
        "deployments": tuple(one for one in match.deployments if "/" not in one),
        "flow_deployments": tuple(one for one in match.deployments if "/" in one),
        "flows": match.flows,
        "work_pools": match.work_pools,
        "tags": match.tags,
    }
