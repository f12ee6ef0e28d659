"""Rules for events by type and resource, and for the rows of resources that hang on them."""

from __future__ import annotations

from datetime import datetime

from ..catalogue import EVENT_RESOURCES, EVENTS
from ..database.connection import Database
from ..request.policy import Cutoffs
from ..request.rules import EventRule
from .dated_rules import NEVER, Case, DatedRules, bounds, cutoff_of
from .patterns import Patterns


def cutoff_name(number: int) -> str:
    """Return the name that the cutoff of a rule is bound to; 0 is the general one."""
    return f"event_cutoff_{number}"


GENERAL = cutoff_name(0)
# Of each resource that has so many events as its rule keeps: the oldest that is kept. An event
# that comes later moves none of them, so it never makes another go that the plan keeps.
LAST = "prefect_maintenance_event_last"
_CREATE = f"""
CREATE TEMPORARY TABLE {LAST} AS
SELECT 0 AS rule, x.resource_id AS resource_id, x.occurred AS occurred, x.id AS id
FROM events x WHERE 1 = 0
"""
_INDEX = f"CREATE INDEX {LAST}_at ON {LAST} (resource_id, rule)"
_FILL = f"INSERT INTO {LAST} (rule, resource_id, occurred, id) {{ranked}}"
# Ranks are asked in full: ties of the same instant by id.
_RANKED = """
SELECT r.rule, r.resource_id, r.occurred, r.id FROM (
    SELECT d.rule, d.resource_id, d.occurred, d.id, row_number() OVER (
        PARTITION BY d.rule, d.resource_id ORDER BY d.occurred DESC, d.id DESC) AS place
    FROM (SELECT {number} AS rule, x.resource_id, x.occurred, x.id
          FROM events x WHERE {fits}) d
    WHERE d.rule IN ({numbers})) r
WHERE r.place {which} CASE r.rule {lasts} END
"""
# `x` is older than the last that its rule keeps of its resource.
_BEYOND = f"""EXISTS (SELECT 1 FROM {LAST} l
    WHERE l.resource_id = {{x}}.resource_id AND l.rule = {{number}}
      AND ({{x}}.occurred, {{x}}.id) < (l.occurred, l.id))"""

_BY_KEY = f"SELECT {{kept}} FROM {EVENTS.name} e WHERE e.id = {{{{x}}}}.event_id"

# Instants as text, because Python has none for infinity.
_ROWS_A_PAGE = 10_000
_PAGE = f"""
SELECT l.rule, l.resource_id, CAST(l.occurred AS text), CAST(l.id AS text) FROM {LAST} l
WHERE (l.resource_id, l.rule) > (:resource, :rule) ORDER BY l.resource_id, l.rule LIMIT :rows
"""
_TAKE = f"""
INSERT INTO {LAST} (rule, resource_id, occurred, id)
SELECT * FROM unnest(CAST(:rules AS int[]), CAST(:resources AS text[]),
                     CAST(:occurred AS timestamptz[]), CAST(:ids AS uuid[]))
"""


def event_rules(rules: tuple[EventRule, ...], cutoffs: Cutoffs, patterns: Patterns) -> DatedRules:
    """Write rules for events as conditions."""
    if not rules:
        return DatedRules(EVENTS.age)
    bound: dict[str, object] = {GENERAL: cutoffs.events}
    cases = tuple(_case(rule, cutoffs.reference, bound, patterns) for rule in rules)
    until, since = bounds((rule.keep for rule in rules), cutoffs.events, cutoffs.reference)
    otherwise = f"{{x}}.{EVENTS.age} < :{GENERAL}"
    return DatedRules(EVENTS.age, GENERAL, cases, otherwise, bound=bound, until=until, since=since)


def _case(
    rule: EventRule, reference: datetime, bound: dict[str, object], patterns: Patterns
) -> Case:
    matched = []
    for kind, column, told in (
        ("type", "event", rule.events),
        ("resource", "resource_id", rule.resources),
    ):
        if told:
            name = f"event_{kind}_{rule.number}"
            fit, values = patterns.each(f"{{x}}.{column}", told, name)
            matched.append(fit)
            bound.update(values)
    goes = []
    if cutoff := cutoff_of(rule.keep, reference):
        name = cutoff_name(rule.number)
        bound[name] = cutoff
        goes.append(f"{{x}}.{EVENTS.age} < :{name}")
    if rule.keep.last:
        goes.append(_BEYOND.format(x="{x}", number=rule.number))
    if rule.keep.forever:
        goes = ["FALSE"]
    return Case(rule.number, rule.name, " AND ".join(matched), " AND ".join(goes), rule.keep)


def resource_rules(events: DatedRules) -> DatedRules:
    """Write what the rules for events mean for the resources, once the events are purged.

    A resource of an event that a rule decides about comes and goes with it, whatever its own age;
    one of any other event goes by its own age too, and none outlives its event.
    """
    if not events:
        return DatedRules(str(EVENT_RESOURCES.age))
    # A delete asks by the primary key, row by row: a batch must not read all events.
    return DatedRules(
        str(EVENT_RESOURCES.age),
        GENERAL,
        otherwise=f"({_BY_KEY.format(kept=kept_with(events.number('e')))}) IS NOT TRUE",
        staying=stays_with_event(events),
        bound=events.bound,
        until=NEVER,
    )


def stays_with_event(events: DatedRules, among: str = "") -> str:
    """Write that resource `{x}` has an event that keeps it; `among` narrows the events `e`."""
    return (
        f"EXISTS (SELECT 1 FROM {EVENTS.name} e "
        f"WHERE e.id = {{x}}.event_id {among} AND {kept_with(events.number('e'))})"
    )


def goes_with_purge(events: DatedRules) -> str:
    """Write that resource `x` goes once the events are purged, before they are."""
    staying = stays_with_event(events, f"AND ({events.goes('e')}) IS NOT TRUE")
    return f"NOT {staying.format(x='x')}"


def kept_with(rule: str) -> str:
    """Write that resource `{x}` stays with its event, which that rule decides about and stays."""
    return f"({{x}}.{EVENT_RESOURCES.age} >= :{GENERAL} OR {rule} > 0)"


def make_ranks(database: Database, events: DatedRules) -> None:
    """Make the temporary table of what is kept as the last of a resource, empty."""
    if not ranks(events):
        return
    database.run(f"DROP TABLE IF EXISTS {LAST}")
    database.run(_CREATE)
    database.run(_INDEX)


def rank(database: Database, events: DatedRules) -> None:
    """Find what is kept as the last of a resource; `make_ranks` came before it."""
    if not ranks(events):
        return
    database.run(_FILL.format(ranked=ranked(events, "=")), **events.bound)
    if database.is_postgresql:
        database.run(f"ANALYZE {LAST}")


def ranked(events: DatedRules, which: str) -> str:
    """Select the events whose place among those of their rule and resource is such.

    Args:
        events: the rules; one or more keep the last.
        which: compares the place with how many are kept: "=" is the oldest of them.
    """
    lasts = ranks(events)
    return _RANKED.format(
        number=events.number("x"),
        fits=" OR ".join(f"({case.fits})" for case in lasts).format(x="x"),
        numbers=", ".join(str(case.number) for case in lasts),
        which=which,
        lasts=" ".join(f"WHEN {case.number} THEN {case.keep.last}" for case in lasts),
    )


def hand_over(database: Database, events: DatedRules, other: Database) -> None:
    """Lay down in another session of PostgreSQL what is kept as the last of a resource."""
    if not ranks(events):
        return
    make_ranks(other, events)
    resource, rule = "", 0
    while page := database.rows(_PAGE, resource=resource, rule=rule, rows=_ROWS_A_PAGE):
        rules, resources, occurred, ids = (list(column) for column in zip(*page, strict=True))
        other.run(_TAKE, rules=rules, resources=resources, occurred=occurred, ids=ids)
        resource, rule = resources[-1], rules[-1]
    other.run(f"ANALYZE {LAST}")


def ranks(events: DatedRules) -> list[Case]:
    """Return the rules that keep the last of each resource."""
    return [case for case in events.cases if case.keep.last]
