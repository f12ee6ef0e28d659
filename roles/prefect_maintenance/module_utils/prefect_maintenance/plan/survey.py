"""Why flow runs stay, and what each rule decides: counted in one pass over all flow runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..catalogue import FLOW_RUN, LOG
from ..database.connection import Database
from ..measure.sizes import total_bytes
from ..request.rules import TERMINAL_STATES, RunRule
from .counts import BECAUSE, RUN_TABLES
from .plan import Kept
from .rule_counts import GENERAL, RuleCount, told
from .rules import Rules
from .words import ALL, age, finite, words

# What goes by each rule.
_GO = """
SELECT d.rule, count(*), min({finite}), max({finite})
FROM prefect_maintenance_candidate d JOIN flow_run r ON r.id = d.id GROUP BY d.rule
"""

# Every flow run: the rule that decides, why it stays although it is old enough to go, and what
# the text about that names.
_SURVEY = """
SELECT k.rule, k.finished, k.reason, CASE
    WHEN k.reason IN ('unfinished', 'policy') THEN k.state
    WHEN k.reason = 'hold' THEN k.tag WHEN k.reason = 'rule' THEN k.clause END, count(*)
FROM (
    SELECT g.*, CASE
        WHEN g.candidate THEN NULL
        WHEN g.finished AND g.tag IS NOT NULL THEN
            CASE WHEN g.goes OR (g.old AND g.of_policy) THEN 'hold' END
        WHEN g.finished AND g.own THEN CASE WHEN g.goes THEN 'itself' END
        WHEN g.finished AND g.goes THEN 'tree'
        WHEN NOT g.old THEN NULL
        WHEN g.state IS NULL THEN 'no_state'
        WHEN NOT g.finished THEN 'unfinished'
        WHEN g.rule > 0 THEN CASE WHEN g.of_policy THEN 'rule' END
        ELSE 'policy' END AS reason
    FROM (
        SELECT v.*, (v.clause IS NULL AND {goes}) IS TRUE AS goes,
               (v.age < :flow_runs) IS TRUE AS old, (v.state IN ({states})) IS TRUE AS of_policy
        FROM (
            SELECT w.*, {clause} AS clause FROM (
                SELECT {rule} AS rule, CAST(r.state_type AS VARCHAR) AS state, {age} AS age,
                       (r.state_type IN ({terminal})) IS TRUE AS finished, {own} AS own,
                       h.tag AS tag, n.clause AS newest, d.id IS NOT NULL AS candidate
                FROM flow_run r
                LEFT JOIN prefect_maintenance_candidate d ON d.id = r.id
                LEFT JOIN prefect_maintenance_ranked n ON n.id = r.id
                LEFT JOIN ({held}) h ON h.id = r.id {all}) w) v) g) k
GROUP BY 1, 2, 3, 4
"""
_HELD = "SELECT m.id, min(m.tag) AS tag FROM prefect_maintenance_held m GROUP BY m.id"
_NOT_HELD = "SELECT m.id, '' AS tag FROM prefect_maintenance_ranked m WHERE 1 = 0"
# What of a rule keeps, the broadest first.
_CLAUSES = {
    "forever": "forever",
    "days": "for {keep.days} days",
    "last": "among the last {keep.last}",
    "last_success": "among the last {keep.last_success} that completed",
    "last_failure": "among the last {keep.last_failure} that failed or crashed",
}


def survey(
    database: Database, rules: Rules, cutoff: datetime
) -> tuple[list[Kept], tuple[RuleCount, ...]]:
    """Count the flow runs that are old enough and stay by reason, and what each rule decides.

    Args:
        database: in the snapshot in which the candidates were found.
        rules: the policy as SQL.
        cutoff: of flow runs.
    """
    kept, decided = [], dict.fromkeys(range(len(rules.runs.rules) + 1), 0)
    found = database.rows(_survey(rules), flow_runs=cutoff, **rules.bound)
    for rule, finished, reason, named, rows in found:
        if finished:
            decided[rule] += rows
        if reason:
            kept.append(Kept(FLOW_RUN.name, rows, _why(rules, rule, reason, named), reason))
    runs = sum(row[-1] for row in found)
    return kept, _counts(database, rules.runs.rules, decided, runs) if rules.runs else ()


def _survey(rules: Rules) -> str:
    general = f"v.state IN ({words(rules.states)}) AND v.age < :flow_runs"
    return _SURVEY.format(
        goes=rules.runs.not_kept("v.rule", "v.age", general),
        states=words(rules.states),
        clause=_clause(rules.runs.rules),
        rule=rules.runs.rule_of("r") if rules.runs else "0",
        age=age("r"),
        terminal=words(TERMINAL_STATES),
        own=f"r.id IN ({words(rules.own)})" if rules.own else "FALSE",
        held=_HELD if rules.holds.listed else _NOT_HELD,
        all=ALL,
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
        told = _CLAUSES[str(named)].format(keep=rule.keep)
        return f"kept by rule '{rule.name}', {told}"
    return BECAUSE[reason].format(state=named)


def _counts(
    database: Database, rules: Sequence[RunRule], decided: dict[int, int], runs: int
) -> tuple[RuleCount, ...]:
    """Count what goes by each rule; `decided` is what each decides about, of so many runs."""
    sql = _GO.format(finite=finite(age("r")))
    go = {rule: told for rule, *told in database.rows(sql)}
    each = None
    if database.is_postgresql and runs:
        each = sum(total_bytes(database, table) for table in (*RUN_TABLES, LOG.name)) / runs
    found = []
    for number, name in enumerate((GENERAL, *(rule.name for rule in rules))):
        rows, oldest, newest = go.get(number, (0, None, None))
        size = None if each is None else round(each * rows)
        found.append(
            RuleCount(
                "run", number, name, rows, size, told(oldest), told(newest), decided[number] - rows
            )
        )
    return (*found[1:], found[0])
