"""Which runs a rule keeps because they are among the newest, however old."""

from __future__ import annotations

from collections.abc import Iterator

from ..request.rules import FAILURE, SUCCESS, TERMINAL_STATES, RunRule
from .run_rules import RunRules
from .words import ALL, age, words

# Counted are the runs that a rule decides about, of each deployment, or of the flow of runs that
# have none. Runs without any age come last.
_AMONG_THE_NEWEST = """
SELECT w.id, CASE {clauses} END AS clause FROM (
    SELECT v.id, v.rule, v.state, row_number() OVER newest AS place,
           sum(CASE WHEN v.state IN ({success}) THEN 1 ELSE 0 END) OVER so_far AS successes,
           sum(CASE WHEN v.state IN ({failure}) THEN 1 ELSE 0 END) OVER so_far AS failures
    FROM (
        SELECT r.id, {rule} AS rule, CAST(r.state_type AS VARCHAR) AS state, r.deployment_id,
               CASE WHEN r.deployment_id IS NULL THEN r.flow_id END AS flow_id, {age} AS age
        FROM flow_run r WHERE r.state_type IN ({terminal}) {all}) v
    WHERE v.rule IN ({ranked})
    WINDOW newest AS (
        PARTITION BY v.rule, v.deployment_id, v.flow_id ORDER BY v.age DESC NULLS LAST, v.id DESC),
    so_far AS (newest ROWS UNBOUNDED PRECEDING)) w
WHERE CASE {clauses} END IS NOT NULL
"""
_STAGE = "INSERT INTO prefect_maintenance_ranked (id, clause) {newest}"


def newest(runs: RunRules) -> str:
    """Select the runs that are kept because they are among the newest, and the clause."""
    clauses = " ".join(when for rule in runs.ranked for when in _clauses(rule))
    return _AMONG_THE_NEWEST.format(
        clauses=clauses,
        success=words(SUCCESS),
        failure=words(FAILURE),
        rule=runs.rule_of("r"),
        age=age("r"),
        terminal=words(TERMINAL_STATES),
        all=ALL,
        ranked=", ".join(str(rule.number) for rule in runs.ranked),
    )


def stage(runs: RunRules) -> str:
    """Write the statement that lays them down in prefect_maintenance_ranked."""
    return _STAGE.format(newest=newest(runs))


def _clauses(rule: RunRule) -> Iterator[str]:
    kept = (
        ("last", rule.keep.last, "w.place <= {n}"),
        (
            "last_success",
            rule.keep.last_success,
            f"w.state IN ({words(SUCCESS)}) AND w.successes <= {{n}}",
        ),
        (
            "last_failure",
            rule.keep.last_failure,
            f"w.state IN ({words(FAILURE)}) AND w.failures <= {{n}}",
        ),
    )
    for clause, n, such in kept:
        if n:
            yield f"WHEN w.rule = {rule.number} AND {such.format(n=n)} THEN '{clause}'"
