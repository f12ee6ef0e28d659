"""What a run does to the database, decided before it does it and able to be written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .choices import Choice, Cost, Decision


@dataclass(frozen=True)
class Kept:
    """Rows that are old enough to go and stay all the same, and the reason.

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
        kept: what stays although it is old enough.
        orphaned: those of `rows` whose parent is gone and whose age alone would keep them.
        decisions: how the rows of the tables that are purged by age go.
        reclaim: how the space of each table comes back, or of an SQLite file as a whole.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    orphaned: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    reclaim: tuple[Choice, ...] = ()

    def joined(self, later: Plan) -> Plan:
        """Return the plan of this step and of a later one, which adds to it."""
        return Plan(
            rows=_added(self.rows, later.rows),
            kept=tuple(dict.fromkeys((*self.kept, *later.kept))),
            orphaned=_added(self.orphaned, later.orphaned),
            decisions={**self.decisions, **later.decisions},
            reclaim=later.reclaim or self.reclaim,
        )

    @property
    def bytes_back(self) -> dict[str | None, int]:
        """Bytes that come back, by table; None is an SQLite file as a whole."""
        found: dict[str | None, int] = {
            table: decision.gives_back
            for table, decision in self.decisions.items()
            if decision.gives_back
        }
        for choice in self.reclaim:
            if choice.gives_back:
                found[choice.table] = found.get(choice.table, 0) + choice.gives_back
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
            kept=tuple(Kept(**kept) for kept in told.get("kept", ())),
            orphaned=dict(told.get("orphaned", {})),
            decisions={
                table: Decision(
                    **{
                        **decision,
                        "costs": {way: Cost(**cost) for way, cost in decision["costs"].items()},
                    }
                )
                for table, decision in told.get("decisions", {}).items()
            },
            reclaim=tuple(Choice(**choice) for choice in told.get("reclaim", ())),
        )

    def _contents(self) -> dict[str, Any]:
        return {
            "rows": dict(self.rows),
            "kept": [asdict(kept) for kept in self.kept],
            "orphaned": dict(self.orphaned),
            "decisions": {table: asdict(decision) for table, decision in self.decisions.items()},
            "reclaim": [asdict(choice) for choice in self.reclaim],
        }


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {
        table: one.get(table, 0) + other.get(table, 0) for table in dict.fromkeys((*one, *other))
    }
