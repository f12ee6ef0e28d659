"""How many rows go and stay by their age, by the rule that decides about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue import EVENT_RESOURCES, EVENTS, Table
from ..database.connection import Database
from ..measure.sizes import total_bytes
from ..request.policy import Cutoffs
from ..request.rules import Keep
from .about import About
from .counts import COUNT_ROWS
from .dated_rules import Case, DatedRules
from .plan import Kept
from .rule_counts import CLAUSES, RuleCount, told
from .rule_names import GENERAL
from .rules import Rules


@dataclass
class Decided:
    """What one rule does to the rows of a table; number 0 is the general cutoff.

    Attributes:
        goes: rows that go by their age.
        live: rows that would, were their flow run finished.
        stays: all that it decides about and that stay; counted where there are rules.
        old: those of them that are older than the general cutoff.
        young: of what goes, those that are not.
        oldest: of what goes.
        newest: of what goes.
    """

    goes: int = 0
    live: int = 0
    stays: int = 0
    old: int = 0
    young: int = 0
    oldest: str | None = None
    newest: str | None = None

    def note(self, rows: int, *, goes: bool, old: bool, ends: tuple[Any, Any]) -> None:
        """Note more rows that go, or that stay by a rule.

        Args:
            rows: their number.
            goes: whether they go.
            old: whether they are older than the general cutoff.
            ends: instants of the oldest and the newest.
        """
        if not goes:
            self.stays += rows
            self.old += rows if old else 0
            return
        self.goes += rows
        self.young += 0 if old else rows
        noted = (*map(told, ends), self.oldest, self.newest)
        instants = [instant for instant in noted if instant]
        self.oldest, self.newest = min(instants, default=None), max(instants, default=None)

    def spare(self, rows: int) -> None:
        """Note rows that go by their age and that only their flow run keeps."""
        self.live += rows
        self.stays += rows


def count_aged(
    database: Database, rules: Rules, table: Table, cutoffs: Cutoffs, about: About | None = None
) -> Mapping[int, Decided]:
    """Count the rows of a table without rules that go by their age, and those that their run keeps.

    Both are cheap by themselves: the first reads in order, the second follows the few unfinished
    runs; asking every old row for its run would be neither.

    Args:
        database: where.
        rules: the policy as SQL.
        table: it is purged by age.
        cutoffs: the instants to count from.
        about: how many are old enough, where that need not be counted.
    """
    dated, values = rules.dated_by(table), rules.values(table, cutoffs)

    def count(condition: str) -> int:
        sql = COUNT_ROWS.format(table=table.name, condition=condition)
        return int(database.scalar(sql, **values))

    old = about.old if about else count(dated.goes("x"))
    spared = sum(count(condition) for condition in rules.keeps(table)[1:])
    return {0: Decided(goes=max(0, old - spared), live=spared)}


def nothing_yet(dated: DatedRules) -> dict[int, Decided]:
    """Return the rules for a table, and the general cutoff, before anything is counted."""
    return {number: Decided() for number in (0, *(case.number for case in dated.cases))}


def rule_counts(
    database: Database, rules: Rules, kind: str, table: Table, decided: Mapping[int, Decided]
) -> tuple[RuleCount, ...]:
    """Say what each rule for a table makes go and keeps, the general cutoff last."""
    cases = _cases(rules, table)
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
           for case in _cases(rules, table)}  # fmt: skip
    why[0] = "kept by the rule of their flow run"
    return tuple(
        Kept(table.name, decided[number].old, because, "rule")
        for number, because in sorted(why.items())
        if decided[number].old
    )


def _cases(rules: Rules, table: Table) -> tuple[Case, ...]:
    """Return the rules that decide about the rows of a table: of a resource those of its event."""
    return rules.dated_by(EVENTS if table == EVENT_RESOURCES else table).cases


def _clauses(keep: Keep) -> str:
    told = (text.format(keep=keep) for clause, text in CLAUSES.items() if getattr(keep, clause))
    return " or ".join(told)
