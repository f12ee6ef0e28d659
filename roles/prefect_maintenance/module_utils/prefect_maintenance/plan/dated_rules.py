"""Rules for the rows of a table that is purged by age, as conditions in SQL.

The first rule that fits a row decides about it, and what no rule fits falls under the general
cutoff. All of that is one expression, so that whoever copies or counts rows reads them once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ..request.policy import before
from ..request.rules import Keep

# No row is as young, so that each is asked whether it goes, whatever its age.
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One rule.

    Attributes:
        number: its place in the list, from 1 on.
        name: what reports call it.
        fits: condition on row `{x}` that the rule matches it.
        goes: condition on row `{x}`, which the rule matches, that no clause keeps it.
        keep: what keeps them.
    """

    number: int
    name: str
    fits: str
    goes: str
    keep: Keep


@dataclass(frozen=True)
class Aged:
    """Rows of one kind that go by their age.

    Attributes:
        rows: condition on `x` that tells them from those of other kinds.
        goes: condition on such a row.
        joined: joins with what is few decide, and each is to be read once, not once a row.
    """

    rows: str
    goes: str
    joined: bool = False


@dataclass(frozen=True)
class DatedRules:
    """The rules for the rows of one table; without any, the general cutoff is all.

    Attributes:
        age: the column that dates the rows.
        general: names the bound value that is the general cutoff.
        cases: the rules in their order.
        otherwise: condition on row `{x}`, which no rule matches, that it goes; `{run}` is the
            number of the rule that decides about its flow run.
        run: tells that number, of what was laid down.
        run_now: the same, asked of other tables as they are now.
        staying: condition on row `{x}` that it stays, where that is asked otherwise than by age.
        bound: what the conditions bind beside :cutoff and :since.
        until: rows from then on stay, whatever fits them; None is the general cutoff.
        since: rows from before then go, whatever fits them; None where any may stay.
    """

    age: str
    general: str = "cutoff"
    cases: tuple[Case, ...] = ()
    otherwise: str = ""
    run: str = ""
    run_now: str = ""
    staying: str = ""
    bound: Mapping[str, object] = field(default_factory=dict)
    until: datetime | None = None
    since: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.otherwise)

    def values(self, general: datetime) -> dict[str, Any]:
        """Return what the conditions bind, where :cutoff is an instant from which on all stay."""
        return {**self.bound, "since": self.since or general, "cutoff": self.until or general}

    @property
    def as_now(self) -> DatedRules:
        """The same rules, asked of other tables as they are now."""
        return self.asking(self.run_now)

    def asking(self, run: str) -> DatedRules:
        """The same rules, told otherwise which rule decides about the flow run of row `{x}`."""
        return replace(self, run=run)

    def number(self, alias: str) -> str:
        """Write the number of the rule that decides about a row; 0 is the general cutoff."""
        if not self.cases:
            return "0"
        whens = (f"WHEN {case.fits} THEN {case.number}" for case in self.cases)
        return f"CASE {' '.join(whens)} ELSE 0 END".format(x=alias)

    def goes(self, alias: str) -> str:
        """Row `alias` goes by its age and by the rules."""
        return self._goes(alias, "", [(case.fits, case.goes) for case in self.cases])

    def goes_by(self, alias: str, rule: str) -> str:
        """The same where the number of the rule that decides is known, 0 where none does."""
        return self._goes(alias, rule, [(f"{case.number}", case.goes) for case in self.cases])

    def _goes(self, alias: str, rule: str, cases: Iterable[tuple[str, str]]) -> str:
        before = f"{alias}.{self.age} < :cutoff"
        if not self:
            return before
        whens = " ".join(f"WHEN {case} THEN {goes}" for case, goes in cases)
        decided = f"CASE {rule} {whens} ELSE {self.otherwise} END" if whens else self.otherwise
        return f"{before} AND {decided.format(x=alias, run=self.run.format(x=alias))}"

    def stays(self, alias: str) -> str:
        """Row `alias` stays by its age and by the rules."""
        if not self:
            return f"{alias}.{self.age} >= :cutoff"
        if self.staying:
            return self.staying.format(x=alias)
        stays = f"({self.goes(alias)}) IS NOT TRUE"
        return f"{self.within(alias)} AND {stays}" if self.since else stays

    def within(self, alias: str) -> str:
        """All rows that stay are as young as this says; nothing where any may stay."""
        if not self:
            return self.stays(alias)
        return f"{alias}.{self.age} >= :since" if self.since else ""


def cutoff_of(keep: Keep, reference: datetime) -> datetime | None:
    """Return the instant from which on a clause keeps rows by their age alone, if one does.

    Raises:
        SettingsError: it lies before all times.
    """
    return None if keep.days is None else before(reference, keep.days)


def bounds(
    keeps: Iterable[Keep], general: datetime, reference: datetime
) -> tuple[datetime, datetime | None]:
    """Return from when on rows stay, whatever rule fits them, and from before when all go."""
    until, since = general, general
    anywhere = False
    for keep in keeps:
        anywhere = anywhere or keep.forever or keep.ranked
        if cutoff := cutoff_of(keep, reference):
            until, since = max(until, cutoff), min(since, cutoff)
        elif not keep.forever:
            until = NEVER
    return until, None if anywhere else since
