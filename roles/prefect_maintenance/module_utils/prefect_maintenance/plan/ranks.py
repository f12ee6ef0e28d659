"""Which runs a rule keeps because they are among the newest, however old."""

from __future__ import annotations

from collections.abc import Iterator

from ..request.rules import FAILURE, SUCCESS, RunRule
from .run_rules import RunRules
from .words import age, words

# Counted are the runs that a rule decides about, of each deployment, or of the flow of runs that
# have none. Runs without any age come last.
_AMONG_THE_NEWEST = """
SELECT w.id, CASE {clauses} END AS clause FROM (
    SELECT v.id, v.rule, v.state, row_number() OVER newest AS place,
           sum(CASE WHEN v.state IN ({success}) THEN 1 ELSE 0 END) OVER so_far AS successes,
           sum(CASE WHEN v.state IN ({failure}) THEN 1 ELSE 0 END) OVER so_far AS failures
    FROM (
        SELECT r.id, c.rule, CAST(r.state_type AS VARCHAR) AS state, r.deployment_id,
               CASE WHEN r.deployment_id IS NULL THEN r.flow_id END AS flow_id, {age} AS age
        FROM flow_run r JOIN {decided} c ON c.id = r.id WHERE c.rule IN ({ranked})) v
    WINDOW newest AS (
        PARTITION BY v.rule, v.deployment_id, v.flow_id ORDER BY v.age DESC NULLS LAST, v.id DESC),
    so_far AS (newest ROWS UNBOUNDED PRECEDING)) w
WHERE CASE {clauses} END IS NOT NULL
"""


def newest(runs: RunRules, decided: str) -> str:
    """Select the runs that are kept because they are among the newest, and the clause.

    Args:
        runs: the rules.
        decided: what stands after FROM for the rule of each run that a rule decides about.
    """
    clauses = " ".join(when for rule in runs.ranked for when in _clauses(rule))
    return _AMONG_THE_NEWEST.format(
        clauses=clauses,
        success=words(SUCCESS),
        failure=words(FAILURE),
        decided=decided,
        age=age("r"),
        ranked=", ".join(str(rule.number) for rule in runs.ranked),
    )


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
