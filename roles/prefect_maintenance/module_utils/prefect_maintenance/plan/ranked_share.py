"""Which share of the runs that are old enough goes all the same where rules keep the newest.

The runs of each deployment are counted in a sample: what a rule keeps of a group whose size is
known follows from its numbers, without an order of all runs.
"""

from __future__ import annotations

from typing import Any

from ..database.connection import Database
from ..request.rules import FAILURE, SUCCESS, TERMINAL_STATES, Keep
from .rules import Rules
from .words import words

_GROUPS = """
SELECT v.rule, count(*), count(*) FILTER (WHERE v.goes),
       count(*) FILTER (WHERE v.success), count(*) FILTER (WHERE v.success AND v.goes),
       count(*) FILTER (WHERE v.failure), count(*) FILTER (WHERE v.failure AND v.goes)
FROM (
    SELECT {rule} AS rule, r.deployment_id, ({goes}) IS TRUE AS goes,
           CASE WHEN r.deployment_id IS NULL THEN r.flow_id END AS flow_id,
           r.state_type IN ({success}) AS success, r.state_type IN ({failure}) AS failure
    FROM {sample} WHERE r.state_type IN ({terminal})) v
GROUP BY v.rule, v.deployment_id, v.flow_id
"""


def ranked_share(
    database: Database, rules: Rules, sample: str, share: float, bound: dict[str, Any]
) -> float:
    """Return the share of old runs that no rule keeps among the newest.

    Args:
        database: where.
        rules: the policy as SQL.
        sample: of flow_run as `r`, as it stands after FROM.
        share: of all runs that the sample has.
        bound: values of the conditions.
    """
    ranked = {rule.number: rule.keep for rule in rules.runs.ranked}
    if not ranked:
        return 1.0
    sql = _GROUPS.format(
        rule=rules.runs.rule_of("r"),
        goes=rules.run_goes,
        success=words(SUCCESS),
        failure=words(FAILURE),
        terminal=words(TERMINAL_STATES),
        sample=sample,
    )
    old = kept = 0.0
    for rule, *counted in database.rows(sql, **bound):
        numbers = [number / share for number in counted]
        old += numbers[1]
        kept += kept_of_group(ranked[rule], numbers) if rule in ranked else 0.0
    return (old - kept) / old if old else 1.0


def kept_of_group(keep: Keep, numbers: list[float]) -> float:
    """Return how many old runs of a group stay because they are among the newest of it.

    Args:
        keep: of the rule that decides about them.
        numbers: all runs and the old ones, then the same of those that completed, then of those
            that failed or crashed.
    """
    clauses = zip((keep.last, keep.last_success, keep.last_failure), (0, 2, 4), strict=True)
    # What one clause keeps another one mostly keeps too.
    return max(
        max(0.0, min(numbers[at + 1], last - (numbers[at] - numbers[at + 1]))) if last else 0.0
        for last, at in clauses
    )
