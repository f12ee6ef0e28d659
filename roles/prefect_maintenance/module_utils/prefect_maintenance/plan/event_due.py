"""The oldest event and the oldest resource of one that rules for events would have made go.

Nothing is laid down, so that a standby will do; what is kept as the last of a resource is ranked
within the query.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..catalogue import EVENT_RESOURCES, EVENTS
from ..database.connection import Database
from ..request.policy import Cutoffs
from .dated_rules import DatedRules
from .event_rules import GENERAL, cutoff_name, ranked, ranks
from .rules import Rules

_GOING = "SELECT x.id, x.occurred FROM events x WHERE {goes}"
_GOING_BEYOND = "UNION ALL SELECT r.id, r.occurred FROM ({ranked}) r WHERE {after}"
_OLDEST_EVENT = """
SELECT g.occurred FROM ({going}) g WHERE {in_python} ORDER BY g.occurred LIMIT 1
"""
# Of an event that goes, or of none that a rule decides about and old enough by itself.
_OLDEST_RESOURCE = f"""
SELECT x.occurred FROM event_resources x
LEFT JOIN events e ON e.id = x.event_id LEFT JOIN ({{going}}) g ON g.id = x.event_id
WHERE {{in_python}} AND (g.id IS NOT NULL OR (
    x.occurred < :{GENERAL} AND (e.id IS NULL OR {{number}} = 0)))
ORDER BY x.occurred LIMIT 1
"""
# The same where no event goes, in the order of an index.
_OLDEST_LEFT = f"""
SELECT x.occurred FROM event_resources x
WHERE x.occurred < :{GENERAL} AND {{in_python}}
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.id = x.event_id AND {{number}} > 0)
ORDER BY x.occurred LIMIT 1
"""


def oldest_events(
    database: Database, rules: Rules, cutoffs: Cutoffs, in_python: str
) -> dict[str, Any]:
    """Return by table when the oldest event and resource occurred that should have gone.

    Without rules for events that is nothing: their age says it all.

    Args:
        database: where.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        in_python: condition on `{age}` that it can be read.
    """
    events, values = rules.dated_by(EVENTS), rules.values(EVENTS, cutoffs)
    if not events:
        return {}
    going = _going(events)
    readable = in_python.format(age="g.occurred")
    event = database.scalar(_OLDEST_EVENT.format(going=going, in_python=readable), **values)
    sql = _OLDEST_LEFT if event is None else _OLDEST_RESOURCE
    sql = sql.format(
        going=going, in_python=in_python.format(age="x.occurred"), number=events.number("e")
    )
    return {EVENTS.name: event, EVENT_RESOURCES.name: database.scalar(sql, **values)}


def _going(events: DatedRules) -> str:
    """Select the events that go: by their age alone, and those beyond the last of a resource."""
    by_age = (replace(case, goes="FALSE") if case.keep.last else case for case in events.cases)
    going = _GOING.format(goes=replace(events, cases=tuple(by_age)).goes("x"))
    lasts = ranks(events)
    if not lasts:
        return going
    days = " ".join(
        f"WHEN {case.number} THEN r.occurred < :{cutoff_name(case.number)}"
        for case in lasts
        if cutoff_name(case.number) in events.bound
    )
    after = f"CASE r.rule {days} ELSE TRUE END" if days else "TRUE"
    return f"{going} {_GOING_BEYOND.format(ranked=ranked(events, '>'), after=after)}"
