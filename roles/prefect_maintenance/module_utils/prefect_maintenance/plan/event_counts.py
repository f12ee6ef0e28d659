"""How many events and resources go and stay by rules for events, in one pass over the events.

Each event is decided about once, for itself and for the resources that hang on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..catalogue import EVENT_RESOURCES, EVENTS
from ..database.connection import Database
from ..request.policy import Cutoffs
from .dated_counts import Decided, nothing_yet
from .event_rules import GENERAL, kept_with
from .joins import without
from .rules import Rules
from .words import ALL, finite

# The rule is found first and once; what it keeps is asked of its number.
_DECIDED = f"""
SELECT x.id, x.rule, ({{goes}}) IS NOT TRUE AS stays, x.{EVENTS.age} AS at FROM (
    SELECT x.id, x.{EVENTS.age}, x.resource_id, {{number}} AS rule FROM {EVENTS.name} x {ALL}) x
"""
_COUNT = f"""
WITH e AS MATERIALIZED ({{decided}})
SELECT '{EVENTS.name}' AS name, n.rule, NOT n.stays, n.old, count(*), min(n.at), max(n.at) FROM (
    SELECT e.rule, e.stays, e.at < :{GENERAL} AS old, {finite("e.at")} AS at FROM e) n
GROUP BY n.rule, n.stays, n.old
UNION ALL
SELECT '{EVENT_RESOURCES.name}', n.rule, n.goes, n.old, count(*), min(n.at), max(n.at) FROM (
    SELECT COALESCE(e.rule, 0) AS rule, x.{EVENT_RESOURCES.age} < :{GENERAL} AS old,
           (e.stays AND {kept_with("e.rule").format(x="x")}) IS NOT TRUE AS goes,
           {finite(f"x.{EVENT_RESOURCES.age}")} AS at
    FROM {EVENT_RESOURCES.name} x LEFT JOIN e ON e.id = x.event_id) n
GROUP BY n.rule, n.goes, n.old
"""


def count_events(
    database: Database, rules: Rules, cutoffs: Cutoffs
) -> tuple[Mapping[str, Mapping[int, Decided]], int]:
    """Count the events, and the resources that go once these are purged, by the rule of the event.

    Returns:
        What each rule does, by table, and how many resources go that only their event takes along:
        they are younger than the general cutoff.
    """
    events = rules.dated_by(EVENTS)
    sql = _COUNT.format(
        decided=_DECIDED.format(goes=events.goes_by("x", "x.rule"), number=events.number("x"))
    )
    found = {table.name: nothing_yet(events) for table in (EVENTS, EVENT_RESOURCES)}
    # How many kinds there are is known to nobody beforehand; to sort all rows takes much longer.
    with without(database, "mergejoin", "sort"):
        counted = database.rows(sql, **rules.values(EVENTS, cutoffs))
    for table, rule, goes, old, rows, *ends in counted:
        found[table][rule].note(rows, goes=goes, old=old, ends=(ends[0], ends[1]))
    return found, sum(one.young for one in found[EVENT_RESOURCES.name].values())
