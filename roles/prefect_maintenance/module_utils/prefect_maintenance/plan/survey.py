"""Why flow runs stay although they are old enough, and what each rule decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..catalogue import FLOW_RUN
from ..database.connection import Database
from ..request.rules import TERMINAL_STATES, RunRule
from .counts import BECAUSE
from .plan import Kept
from .rule_counts import CLAUSES, RuleCount, bytes_of_a_run, told
from .rule_names import GENERAL
from .rules import Rules
from .words import age, finite, old, words

# What goes by each rule.
_GO = """
SELECT d.rule, count(*), min({finite}), max({finite})
FROM prefect_maintenance_candidate d JOIN flow_run r ON r.id = d.id GROUP BY d.rule
"""
_DECIDED = """
SELECT c.rule, count(*) FROM prefect_maintenance_decided c GROUP BY c.rule
"""
_RUNS = "SELECT count(*), count(CASE WHEN r.state_type IN ({terminal}) THEN 1 END) FROM flow_run r"

# The flow runs that the general policy holds for old: the rule that decides, why they stay, and
# what the text about that names.
_SURVEY = """
SELECT k.rule, k.reason, CASE
    WHEN k.reason IN ('unfinished', 'policy') THEN k.state
    WHEN k.reason = 'hold' THEN k.tag WHEN k.reason = 'rule' THEN k.clause END, count(*)
FROM (
    SELECT g.*, CASE
        WHEN g.state IS NULL THEN 'no_state'
        WHEN NOT g.finished THEN 'unfinished'
        WHEN g.tag IS NOT NULL THEN CASE WHEN g.goes OR g.of_policy THEN 'hold' END
        WHEN g.own THEN CASE WHEN g.goes THEN 'itself' END
        WHEN g.goes THEN 'tree'
        WHEN g.rule > 0 THEN CASE WHEN g.of_policy THEN 'rule' END
        ELSE 'policy' END AS reason
    FROM (
        SELECT v.*, (v.clause IS NULL AND {goes}) IS TRUE AS goes,
               (v.state IN ({states})) IS TRUE AS of_policy
        FROM (
            SELECT w.*, {clause} AS clause FROM (
                SELECT COALESCE(c.rule, 0) AS rule, CAST(r.state_type AS VARCHAR) AS state,
                       {age} AS age, (r.state_type IN ({terminal})) IS TRUE AS finished,
                       {own} AS own, h.tag AS tag, n.clause AS newest
                FROM flow_run r
                LEFT JOIN prefect_maintenance_decided c ON c.id = r.id
                LEFT JOIN prefect_maintenance_ranked n ON n.id = r.id
                LEFT JOIN ({held}) h ON h.id = r.id
                WHERE {old} AND NOT EXISTS (
                    SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = r.id)) w) v) g) k
WHERE k.reason IS NOT NULL
GROUP BY 1, 2, 3
"""
_HELD = "SELECT m.id, min(m.tag) AS tag FROM prefect_maintenance_held m GROUP BY m.id"
_NOT_HELD = "SELECT m.id, '' AS tag FROM prefect_maintenance_ranked m WHERE 1 = 0"


def survey(
    database: Database, rules: Rules, cutoff: datetime
) -> tuple[list[Kept], tuple[RuleCount, ...]]:
    """Count the flow runs that are old enough and stay by reason, and what each rule decides.

    Args:
        database: in the snapshot in which the candidates were found.
        rules: the policy as SQL.
        cutoff: of flow runs.
    """
    found = database.rows(_survey(rules), flow_runs=cutoff, **rules.bound)
    kept = [
        Kept(FLOW_RUN.name, rows, _why(rules, rule, reason, named), reason)
        for rule, reason, named, rows in found
    ]
    return kept, _counts(database, rules.runs.rules) if rules.runs else ()


def _survey(rules: Rules) -> str:
    general = f"v.state IN ({words(rules.states)}) AND v.age < :flow_runs"
    return _SURVEY.format(
        goes=rules.runs.not_kept("v.rule", "v.age", general),
        states=words(rules.states),
        clause=_clause(rules.runs.rules),
        age=age("r"),
        terminal=words(TERMINAL_STATES),
        old=old("r", "flow_runs"),
        own=f"r.id IN ({words(rules.own)})" if rules.own else "FALSE",
        held=_HELD if rules.holds.listed else _NOT_HELD,
    )


def _clause(rules: Sequence[RunRule]) -> str:
    """Write the clause of its rule that keeps a run, or NULL."""
    whens = []
    for rule in rules:
        if rule.keep.forever:
            whens.append(f"WHEN w.rule = {rule.number} THEN 'forever'")
        elif rule.keep.days is not None:
            young = f"(w.age < :rule_{rule.number}_days) IS NOT TRUE"
            whens.append(f"WHEN w.rule = {rule.number} AND {young} THEN 'days'")
    return f"CASE {' '.join(whens)} ELSE w.newest END" if whens else "w.newest"


def _why(rules: Rules, number: int, reason: str, named: str | None) -> str:
    if reason == "hold":
        return f"held by the tag {named}"
    if reason == "rule":
        rule = rules.runs.rules[number - 1]
        told = CLAUSES[str(named)].format(keep=rule.keep)
        return f"kept by rule '{rule.name}', {told}"
    return BECAUSE[reason].format(state=named)


def _counts(database: Database, rules: Sequence[RunRule]) -> tuple[RuleCount, ...]:
    """Count what goes by each rule and what it keeps, those of the general policy last."""
    go = {rule: said for rule, *said in database.rows(_GO.format(finite=finite(age("r"))))}
    decided: dict[int, int] = dict(tuple(row) for row in database.rows(_DECIDED))
    every, finished = database.rows(_RUNS.format(terminal=words(TERMINAL_STATES)))[0]
    decided[0] = finished - sum(decided.values())
    each = bytes_of_a_run(database, every)
    found = []
    names = {rule.number: rule.name for rule in rules}
    for number, name in {**names, 0: GENERAL}.items():
        rows, oldest, newest = go.get(number, (0, None, None))
        size = None if each is None else round(each * rows)
        kept = decided.get(number, 0) - rows
        found.append(RuleCount("run", number, name, rows, size, told(oldest), told(newest), kept))
    return tuple(found)
