"""What a run does to the database, decided before it does it and able to be written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .choices import Choice, Cost
from .decisions import Decision
from .estimate import Estimate, in_all
from .indexes import IndexChoice, estimates_of
from .rule_counts import RuleCount
from .via import Via

# Why rows go.
OLD = "older than the cutoff"
WITH_RUN, WITH_TASK_RUN = "with their flow run", "with their task run"
NEVER_STARTED = "scheduled for too long ago and never started"
PARENT_GONE, KEY_GONE = "their parent is gone", "no artifact of their key is left"


@dataclass(frozen=True)
class Kept:
    """Rows that are old enough to go and stay all the same, and the reason.

    Attributes:
        what: the table.
        rows: how many.
        why: the reason, for people.
        reason: the same as one of few words that never change.
    """

    what: str
    rows: int
    why: str
    reason: str = "other"


@dataclass(frozen=True)
class Reason:
    """Rows that go, and why.

    Attributes:
        what: the table.
        rows: how many.
        why: the reason.
    """

    what: str
    rows: int
    why: str


@dataclass(frozen=True)
class Plan:
    """What goes, how it goes, and how the space comes back; of one step, or of several joined.

    Attributes:
        rows: that go, by table, cascades included.
        reasons: why they go; those of a table add up to its `rows`.
        kept: what stays although it is old enough.
        orphaned: those of `rows` whose parent is gone and whose age alone would keep them.
        decisions: how the rows of the tables that are purged by age go.
        reclaim: how the space of each table comes back, or of an SQLite file as a whole.
        estimates: what the work on each table takes and gives back; None is an SQLite file.
        via: how flow runs are deleted; None where nothing of what it decides goes.
        indexes: those that are built anew because they are INVALID or bloated.
        rules: what each rule makes go and keeps; empty where there are none.
        about: tables whose rows that go by their age are estimated from a sample, because only
            the rewrite that removes them needs to count them; and about how many rows of each
            stay. Empty where all was counted, if need be afterwards.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    kept: tuple[Kept, ...] = ()
    orphaned: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    reclaim: tuple[Choice, ...] = ()
    estimates: Mapping[str | None, Estimate] = field(default_factory=dict)
    via: Via | None = None
    indexes: tuple[IndexChoice, ...] = ()
    rules: tuple[RuleCount, ...] = ()
    about: Mapping[str, int] = field(default_factory=dict)

    def joined(self, later: Plan) -> Plan:
        """Return the plan of this step and of a later one, which adds to it."""
        return Plan(
            rows=_added(self.rows, later.rows),
            reasons=self.reasons + later.reasons,
            kept=tuple(dict.fromkeys((*self.kept, *later.kept))),
            orphaned=_added(self.orphaned, later.orphaned),
            decisions={**self.decisions, **later.decisions},
            reclaim=later.reclaim or self.reclaim,
            estimates=joined(self.estimates, later.estimates),
            via=later.via or self.via,
            indexes=later.indexes or self.indexes,
            rules=tuple(dict.fromkeys((*self.rules, *later.rules))),
            about={**self.about, **later.about},
        )

    def counted(self, aged: Mapping[str, int]) -> Plan:
        """Return the plan with the rows that went by their age where they had been estimated.

        Args:
            aged: rows by table; of a table that is not named the estimate stays.
        """
        known = {table: aged[table] for table in self.about if table in aged}
        reasons = tuple(
            replace(reason, rows=known[reason.what])
            if reason.what in known and reason.why == OLD
            else reason
            for reason in self.reasons
        )
        rows = {
            table: sum(reason.rows for reason in reasons if reason.what == table) for table in known
        }
        about = {table: stays for table, stays in self.about.items() if table not in known}
        return replace(self, rows={**self.rows, **rows}, reasons=given(reasons), about=about)

    @property
    def estimate(self) -> Estimate:
        """What the whole work takes and gives back."""
        return in_all(self.estimates)

    @property
    def bytes_back(self) -> dict[str | None, int]:
        """Bytes that come back, by table; None is an SQLite file as a whole."""
        found: dict[str | None, int] = {
            table: decision.gives_back
            for table, decision in self.decisions.items()
            if decision.gives_back
        }
        later: list[tuple[str | None, int]] = [(c.table, c.gives_back) for c in self.reclaim]
        later += [(one.table, one.gives_back) for one in self.indexes]
        for table, back in later:
            if back:
                found[table] = found.get(table, 0) + back
        return found

    @property
    def fingerprint(self) -> str:
        """A short text that is the same for the same plan and differs for any other."""
        told = json.dumps(self._contents(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain data, its forecast and its fingerprint beside it."""
        return {
            **self._contents(),
            "bytes_back": sum(self.bytes_back.values()),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Plan:
        """Read a plan that `as_json` returned."""
        return cls(
            rows=dict(told.get("rows", {})),
            reasons=tuple(Reason(**reason) for reason in told.get("reasons", ())),
            kept=tuple(Kept(**kept) for kept in told.get("kept", ())),
            orphaned=dict(told.get("orphaned", {})),
            decisions={
                table: Decision(**{**decision, "costs": _costs(decision["costs"])})
                for table, decision in told.get("decisions", {}).items()
            },
            reclaim=tuple(
                Choice(**{**choice, "ways": _costs(choice.get("ways", {}))})
                for choice in told.get("reclaim", ())
            ),
            estimates={
                estimate["table"]: Estimate(
                    **{key: value for key, value in estimate.items() if key != "table"}
                )
                for estimate in told.get("estimates", ())
            },
            via=Via(**told["via"]) if told.get("via") else None,
            indexes=tuple(IndexChoice(**choice) for choice in told.get("indexes", ())),
            rules=tuple(RuleCount(**one) for one in told.get("rules", ())),
            about=dict(told.get("about", {})),
        )

    def _contents(self) -> dict[str, Any]:
        rules = {"rules": [asdict(one) for one in self.rules]} if self.rules else {}
        return {
            "rows": dict(self.rows),
            "reasons": [asdict(reason) for reason in self.reasons],
            "kept": [asdict(kept) for kept in self.kept],
            "orphaned": dict(self.orphaned),
            "decisions": {table: asdict(decision) for table, decision in self.decisions.items()},
            "reclaim": [asdict(choice) for choice in self.reclaim],
            "estimates": [
                {"table": table, **asdict(estimate)} for table, estimate in self.estimates.items()
            ],
            "via": asdict(self.via) if self.via else None,
            "indexes": [asdict(choice) for choice in self.indexes],
            **rules,
            **({"about": dict(self.about)} if self.about else {}),
        }


def _costs(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Cost]:
    return {way: Cost(**cost) for way, cost in told.items()}


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {
        table: one.get(table, 0) + other.get(table, 0) for table in dict.fromkeys((*one, *other))
    }


def joined(
    one: Mapping[str | None, Estimate], other: Mapping[str | None, Estimate]
) -> dict[str | None, Estimate]:
    """Return the estimates of this work and of later work, by table."""
    return {
        table: one.get(table, Estimate()).joined(other.get(table, Estimate()))
        for table in dict.fromkeys((*one, *other))
    }


def with_indexes(plan: Plan, choices: tuple[IndexChoice, ...]) -> Plan:
    """Return a plan with what becomes of indexes, and what that takes."""
    return replace(plan, indexes=choices, estimates=joined(plan.estimates, estimates_of(choices)))


def given(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return the reasons for which rows go at all."""
    return tuple(reason for reason in reasons if reason.rows)
