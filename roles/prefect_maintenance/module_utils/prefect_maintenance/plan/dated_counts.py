"""How many rows go and stay by their age, by the rule that decides about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue import EVENTS, Table
from ..database.connection import Database
from ..measure.sizes import total_bytes
from ..request.policy import Cutoffs
from ..request.rules import Keep
from .about import About
from .counts import COUNT_BY_RULE, COUNT_RESOURCES, COUNT_ROWS, ENDS
from .event_rules import goes_with_purge
from .plan import Kept
from .rule_counts import CLAUSES, GENERAL, RuleCount, told
from .rules import Rules
from .words import finite


@dataclass
class Decided:
    """What one rule does to the rows of a table; number 0 is the general cutoff.

    Attributes:
        goes: rows that go by their age.
        live: rows that would, were their flow run finished.
        stays: all that it decides about and that stay; counted where there are rules.
        old: those of them that are older than the general cutoff.
        oldest: of what goes.
        newest: of what goes.
    """

    goes: int = 0
    live: int = 0
    stays: int = 0
    old: int = 0
    oldest: str | None = None
    newest: str | None = None

    def note(self, rows: int, oldest: Any, newest: Any) -> None:
        """Note more rows that go."""
        self.goes += rows
        noted = (told(oldest), told(newest), self.oldest, self.newest)
        instants = [instant for instant in noted if instant]
        self.oldest, self.newest = min(instants, default=None), max(instants, default=None)

    def spare(self, rows: int) -> None:
        """Take back rows that only their flow run keeps."""
        self.goes -= rows
        self.live += rows
        self.stays += rows


def count_aged(
    database: Database, rules: Rules, table: Table, cutoffs: Cutoffs, about: About | None = None
) -> Mapping[int, Decided]:
    """Count the rows of a table that go by their age, and those that only their run keeps.

    Without rules both are cheap by themselves: the first reads in order, the second follows the
    few unfinished runs; asking every old row for its run would be neither. With rules each row
    is looked at once, and what unfinished runs keep is taken back.

    Args:
        database: where.
        rules: the policy as SQL.
        table: it is purged by age.
        cutoffs: the instants to count from.
        about: how many are old enough, where that need not be counted.
    """
    dated, values = rules.dated_by(table), rules.values(table, cutoffs)
    live = rules.keeps(table)[1:]
    if not dated:

        def count(condition: str) -> int:
            sql = COUNT_ROWS.format(table=table.name, condition=condition)
            return int(database.scalar(sql, **values))

        old = about.old if about else count(dated.goes("x"))
        spared = sum(count(condition) for condition in live)
        return {0: Decided(goes=max(0, old - spared), live=spared)}

    def by_rule(goes: str, condition: str) -> list[Any]:
        sql = COUNT_BY_RULE.format(
            number=dated.number("x"),
            goes=goes,
            general=dated.general,
            **_named(table),
            condition=condition,
        )
        return database.rows(sql, **values)

    found = {number: Decided() for number in (0, *(case.number for case in dated.cases))}
    for rule, goes, old, rows, oldest, newest in by_rule(f"({dated.goes('x')}) IS TRUE", "TRUE"):
        if goes:
            found[rule].note(rows, oldest, newest)
        else:
            found[rule].stays += rows
            found[rule].old += rows if old else 0
    for keep in live:
        for rule, _, _, rows, _, _ in by_rule("TRUE", keep):
            found[rule].spare(rows)
    for rule, decided in found.items():
        if decided.live and dated.cases:
            goes = f"{dated.number('x')} = {rule} AND {rules.aged(table.name)}"
            decided.oldest, decided.newest = (
                told(
                    database.scalar(ENDS.format(**_named(table), goes=goes, order=order), **values)
                )
                for order in ("ASC", "DESC")
            )
    return found


def _named(table: Table) -> dict[str, str]:
    return {"table": table.name, "age": str(table.age), "finite": finite(f"x.{table.age}")}


def count_resources(database: Database, rules: Rules, cutoffs: Cutoffs) -> tuple[int, int]:
    """Count the resources that go once the events are purged by rules.

    Returns:
        Those that are older than the general cutoff, and those that only go with their event.
    """
    events = rules.dated_by(EVENTS)
    sql = COUNT_RESOURCES.format(goes=goes_with_purge(events))
    old, young = database.rows(sql, **rules.values(EVENTS, cutoffs))[0]
    return old, young


def rule_counts(
    database: Database, rules: Rules, kind: str, table: Table, decided: Mapping[int, Decided]
) -> tuple[RuleCount, ...]:
    """Say what each rule for a table makes go and keeps, the general cutoff last."""
    cases = rules.dated_by(table).cases
    if not cases:
        return ()
    rows = sum(one.goes + one.stays for one in decided.values())
    each = total_bytes(database, table.name) / rows if database.is_postgresql and rows else None
    return tuple(
        RuleCount(
            kind,
            number,
            name,
            own.goes,
            None if each is None else round(each * own.goes),
            own.oldest,
            own.newest,
            own.stays,
        )
        for number, name in (*((case.number, case.name) for case in cases), (0, GENERAL))
        for own in [decided[number]]
    )


def kept_by_rules(rules: Rules, table: Table, decided: Mapping[int, Decided]) -> tuple[Kept, ...]:
    """Say which rows stay by a rule although they are older than the general cutoff."""
    why = {case.number: f"kept by rule '{case.name}', {_clauses(case.keep)}"
           for case in rules.dated_by(table).cases}  # fmt: skip
    why[0] = "kept by the rule of their flow run"
    return tuple(
        Kept(table.name, decided[number].old, because, "rule")
        for number, because in sorted(why.items())
        if decided[number].old
    )


def _clauses(keep: Keep) -> str:
    told = (text.format(keep=keep) for clause, text in CLAUSES.items() if getattr(keep, clause))
    return " or ".join(told)
