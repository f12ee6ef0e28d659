"""How many rows go and stay by their age, by the rule that decides about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue import EVENTS, Table
from ..database.connection import Database
from ..request.policy import Cutoffs
from .counts import COUNT_BY_RULE, COUNT_RESOURCES, COUNT_ROWS
from .event_rules import stays_with_event
from .rules import Rules


@dataclass
class Decided:
    """What one rule does to the rows of a table; number 0 is the general cutoff.

    Attributes:
        goes: rows that go by their age.
        live: rows that would, were their flow run finished.
        kept: all that it decides about and that stay; counted where there are rules.
        oldest: instant of the oldest that goes, as the database writes it.
        newest: of the newest that goes.
    """

    goes: int = 0
    live: int = 0
    kept: int = 0
    oldest: str | None = None
    newest: str | None = None


def count_aged(
    database: Database, rules: Rules, table: Table, cutoffs: Cutoffs
) -> Mapping[int, Decided]:
    """Count the rows of a table that go by their age, and those that only their run keeps.

    Without rules both are cheap by themselves: the first reads in order, the second follows the
    few unfinished runs; asking every old row for its run would be neither. With rules each row
    is looked at once, by age alone, and once more where unfinished runs keep some.
    """
    dated, values = rules.dated_by(table), rules.values(table, cutoffs)
    live = rules.keeps(table)[1:]
    if not dated:
        old, *spared = (
            database.scalar(COUNT_ROWS.format(table=table.name, condition=condition), **values)
            for condition in (dated.goes("x"), *live)
        )
        return {0: Decided(goes=old - sum(spared), live=sum(spared))}

    def by_rule(goes: str, condition: str) -> list[Any]:
        sql = COUNT_BY_RULE.format(
            number=dated.number("x"),
            goes=goes,
            age=table.age,
            table=table.name,
            condition=condition,
        )
        return database.rows(sql, **values)

    found = {number: Decided() for number in (0, *(case.number for case in dated.cases))}
    for rule, goes, count, oldest, newest in by_rule(f"({dated.goes('x')}) IS TRUE", "TRUE"):
        if goes:
            found[rule].goes, found[rule].oldest, found[rule].newest = count, oldest, newest
        else:
            found[rule].kept = count
    for keep in live:
        for rule, _, count, _, _ in by_rule("TRUE", keep):
            found[rule].live += count
    if any(decided.live for decided in found.values()):
        _look_again(found, by_rule("TRUE", rules.aged(table.name)))
    return found


def _look_again(found: Mapping[int, Decided], gone: list[Any]) -> None:
    """Correct what goes by what really does, where unfinished runs keep some of it."""
    for decided in found.values():
        decided.kept += decided.goes
        decided.goes, decided.oldest, decided.newest = 0, None, None
    for rule, _, count, oldest, newest in gone:
        found[rule].kept -= count
        found[rule].goes, found[rule].oldest, found[rule].newest = count, oldest, newest


def count_resources(database: Database, rules: Rules, cutoffs: Cutoffs) -> tuple[int, int]:
    """Count the resources that go once the events are purged by rules.

    Returns:
        Those that are older than the general cutoff, and those that only go with their event.
    """
    events = rules.dated_by(EVENTS)
    staying = stays_with_event(events, f"AND ({events.goes('e')}) IS NOT TRUE").format(x="x")
    sql = COUNT_RESOURCES.format(goes=f"NOT {staying}")
    old, young = database.rows(sql, **rules.values(EVENTS, cutoffs))[0]
    return old, young
