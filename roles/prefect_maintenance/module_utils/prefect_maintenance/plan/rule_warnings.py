"""What is probably wrong with rules, seen from the database: one line each, nothing is refused.

A typing error in a rule makes it match nothing, and what it was to keep falls under the general
policy. Names are looked for in the small tables, tags among the different ones that runs have; what
a rule decides about was counted by the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..database.connection import Database
from ..request.rules import TERMINAL_STATES, Match, RunRule
from ..request.values import short
from .rule_counts import RuleCount
from .run_rules import RunRules
from .words import words

_RUNS = {"run": "flow run", "event": "event", "log": "log"}
_OPTIONS = {"run": "rules", "event": "event_rules", "log": "log_rules"}
_THINGS = {
    "deployments": "deployment",
    "flows": "flow",
    "tags": "tag of a run",
    "work_pools": "work pool",
}
# Where the names of each kind stand, and what a pattern is held to.
_NAMES = {
    "deployments": "SELECT d.name FROM deployment d",
    "flow/deployments": "SELECT f.name || '/' || d.name FROM deployment d "
    "JOIN flow f ON f.id = d.flow_id",
    "flows": "SELECT f.name FROM flow f",
    "work_pools": "SELECT w.name FROM work_pool w",
    "tags": "SELECT DISTINCT g.value FROM "
    "(SELECT DISTINCT r.tags FROM flow_run r WHERE r.tags <> '[]') s, {tags}",
}
_FITS_NONE = """
WITH known(name) AS MATERIALIZED ({names})
SELECT p.place FROM {patterns}
WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.name {like} p.value)
"""
_PATTERNS = "unnest(CAST(:patterns AS text[])) WITH ORDINALITY p(value, place)"
_SQLITE_PATTERNS = "(SELECT value, key + 1 AS place FROM json_each(:patterns)) p"
# Asked in one pass, and only of rules that decide about nothing.
_MATCH = "SELECT {matches} FROM flow_run r WHERE r.state_type IN ({terminal})"
_MATCHES = "max(CASE WHEN {matches} THEN 1 ELSE 0 END)"

_NOTHING_LEFT = "rules before it match all that it does"


@dataclass(frozen=True)
class _Named:
    """A pattern, and where it stands."""

    number: int
    key: str
    kind: str
    pattern: str


def of_runs(database: Database, runs: RunRules, counts: Sequence[RuleCount]) -> list[str]:
    """Say which rules for flow runs are probably wrong.

    Args:
        database: where; in the session of the plan.
        runs: the rules as SQL.
        counts: what each decides, as the plan has it.
    """
    if not runs:
        return []
    idle = {one.number for one in counts if one.kind == "run" and not one.rows + one.kept}
    unknown = _unknown(database, runs)
    hopeless = {rule.number for rule in runs.rules if _hopeless(rule, unknown)}
    shadowed = _matching(database, runs, idle - hopeless)
    found = []
    for rule in runs.rules:
        named = _called("run", rule.number, rule.name)
        if rule.number in shadowed:
            found.append(f"{named} decides about no flow run: {_NOTHING_LEFT}")
        elif rule.number in idle - hopeless:
            found.append(f"{named} matches no flow run")
        so = " matches no flow run:" if rule.number in hopeless else ":"
        found += [
            f"{named}{so} {one.key} has {short(one.pattern)}, which fits no {_THINGS[one.kind]}"
            for one in unknown
            if one.number == rule.number
        ]
    return found


def of_rows(counts: Sequence[RuleCount]) -> list[str]:
    """Say which rules for events and logs decide about nothing, from what the plan counted."""
    return [
        f"{_called(one.kind, one.number, one.name)} decides about no {_RUNS[one.kind]}: "
        f"it matches none, or {_NOTHING_LEFT}"
        for one in counts
        if one.kind in ("event", "log") and one.number and not one.rows + one.kept
    ]


def _hopeless(rule: RunRule, unknown: Sequence[_Named]) -> bool:
    """Tell whether all patterns of a kind fit nothing, so that the rule cannot match."""
    lost = {(one.key, one.pattern) for one in unknown if one.number == rule.number}
    kinds = {kind: getattr(rule.match, kind) for kind in _THINGS}
    return any(told and {(kind, one) for one in told} <= lost for kind, told in kinds.items())


def _called(kind: str, number: int, name: str) -> str:
    own = "" if name == f"rule {number}" else f" ({name})"
    return f"{_OPTIONS[kind]}: rule {number}{own}"


def _unknown(database: Database, runs: RunRules) -> list[_Named]:
    """Return the patterns that fit nothing that the server has, in the order of the rules."""
    named = [one for rule in runs.rules for one in _patterns_of(rule)]
    lost: set[tuple[str, str]] = set()
    for source, names in _NAMES.items():
        told = tuple(dict.fromkeys(one.pattern for one in named if _source(one) == source))
        if told:
            sql = _FITS_NONE.format(
                names=names.format(tags=runs.patterns.tags("s.tags")),
                patterns=_PATTERNS if database.is_postgresql else _SQLITE_PATTERNS,
                like="LIKE" if database.is_postgresql else "GLOB",
            )
            found = database.rows(sql, patterns=runs.patterns.value(told))
            lost |= {(source, told[place - 1]) for (place,) in found}
    return [one for one in named if (_source(one), one.pattern) in lost]


def _patterns_of(rule: RunRule) -> Iterator[_Named]:
    parts: Mapping[str, Match] = {"": rule.match, "except.": rule.unless}
    for part, match in parts.items():
        for kind in _THINGS:
            for pattern in getattr(match, kind):
                yield _Named(rule.number, f"{part}{kind}", kind, pattern)


def _source(one: _Named) -> str:
    return "flow/deployments" if one.kind == "deployments" and "/" in one.pattern else one.kind


def _matching(database: Database, runs: RunRules, numbers: Collection[int]) -> set[int]:
    """Return those of some rules that would match a run if no rule before them had."""
    asked = [rule for rule in runs.rules if rule.number in numbers]
    if not asked:
        return set()
    matches = ", ".join(_MATCHES.format(matches=runs.matches(rule, "r")) for rule in asked)
    sql = _MATCH.format(matches=matches, terminal=words(TERMINAL_STATES))
    [found] = database.rows(sql, **runs.bound)
    return {rule.number for rule, matched in zip(asked, found, strict=True) if matched}
