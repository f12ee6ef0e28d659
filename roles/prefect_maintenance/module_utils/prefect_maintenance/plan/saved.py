"""A plan to be kept, and how a later one compares with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..request.as_written import differences
from ..request.instants import iso
from ..request.saved_plan import SCHEMA, SavedPlan, sealed
from ..request.version import VERSION
from ..units import count
from .plan import Plan
from .rule_counts import RuleCount

# A plan that lies about for longer was forgotten where a schedule finds it.
OLDEST = timedelta(days=30)
_NAMED = 6


@dataclass(frozen=True)
class Circumstances:
    """What a plan is made for, and must find again.

    Attributes:
        host: name of the server in the inventory; empty where nobody named it.
        database: what tells it from any other.
        revision: of Prefect's schema.
        reference: the instant that every cutoff is counted back from.
        policy: the options that decide, as `as_written` has them.
    """

    host: str
    database: str
    revision: str | None
    reference: datetime
    policy: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return them as plain data, with the version of this tool."""
        return {
            "tool": VERSION,
            "host": self.host,
            "database": self.database,
            "revision": self.revision,
            "reference_time": iso(self.reference),
            "policy": dict(self.policy),
        }


def document(plan: Plan, found: Circumstances, made: datetime, refused: str) -> dict[str, Any]:
    """Return a plan as plain data to be kept, with all that a later run is held to.

    Args:
        plan: of the whole run.
        found: what it was made for.
        made: when.
        refused: why a run would not carry it out; empty when it would.
    """
    detailed = plan.as_json()
    told = {
        "schema": SCHEMA,
        "made": iso(made),
        **found.as_json(),
        "rows": {table: rows for table, rows in plan.rows.items() if rows},
        **({"rules": [_short(one) for one in plan.rules]} if plan.rules else {}),
        "bytes_back": detailed["bytes_back"],
        "fingerprint": detailed["fingerprint"],
        **({"refused": refused} if refused else {}),
    }
    return {**sealed(told), "plan": detailed}


def drift(
    saved: SavedPlan,
    found: Circumstances,
    rows: Mapping[str, int],
    rules: Iterable[RuleCount],
    percent: int,
    now: datetime,
) -> str:
    """Say why a saved plan may not be applied, from what to what it changed; or nothing.

    That fewer rows go than were planned is no reason: the rest of a run that was ended goes
    on, and a second one finds nothing.

    Args:
        saved: the plan.
        found: what the run that is to apply it finds; of the policy its steps' part so far.
        rows: that would go now, by table, with those that went in this run.
        rules: what each makes go now.
        percent: by which there may be more.
        now: the present.
    """
    is_now = found.as_json()
    was = {key: getattr(saved, key) for key in is_now if key != "policy"}
    was |= {key: saved.policy.get(key) for key in found.policy}
    is_now |= is_now.pop("policy")
    if not found.host:
        is_now["host"] = saved.host
    said = [*differences(was, is_now), *_more(saved.rows, rows, percent)]
    said += _more_by_rules(saved.rules, rules, percent)
    if (age := now - saved.made) > OLDEST:
        said.insert(0, f"it is {age.days} days old, more than {OLDEST.days}")
    more = [f"and {len(said) - _NAMED} more"] if len(said) > _NAMED else []
    return "; ".join([*said[:_NAMED], *more])


def _more(was: Mapping[str, int], now: Mapping[str, int], percent: int) -> Iterator[str]:
    for table, rows in now.items():
        then = was.get(table, 0)
        if 100 * rows > (100 + percent) * then:
            told = f"{table}: {count(then)} rows then, {count(rows)} now"
            yield f"{told}, more than plan_drift {percent} % allows"


def _more_by_rules(
    was: Iterable[Mapping[str, Any]], now: Iterable[RuleCount], percent: int
) -> Iterator[str]:
    """Name the rules that make more go, in proportion to what all of their kind made go.

    Few rows of one rule are no matter: what finished since then moves one of the last ten out.
    """
    then = {(one["kind"], one["number"]): one["rows"] for one in was}
    for one in now:
        all_then = sum(rows for (kind, _), rows in then.items() if kind == one.kind)
        before = then.get((one.kind, one.number), 0)
        if 100 * (one.rows - before) > percent * all_then:
            called = f"{one.kind} rule {one.number} '{one.name}'" if one.number else one.name
            told = f"{called}: {count(before)} rows then, {count(one.rows)} now"
            yield f"{told}, more than plan_drift {percent} % of all {count(all_then)} allows"


def _short(one: RuleCount) -> dict[str, Any]:
    return {"kind": one.kind, "number": one.number, "name": one.name, "rows": one.rows}


def over(rows: Mapping[str, int], most: int) -> str:
    """Say that more rows would go than may, with the tables that have most; or nothing.

    Args:
        rows: that would go, by table.
        most: that may; 0 is any number.
    """
    total = sum(rows.values())
    if not most or total <= most:
        return ""
    largest = sorted(rows.items(), key=lambda one: -one[1])
    tables = ", ".join(f"{table} {count(goes)}" for table, goes in largest[:_NAMED] if goes)
    return f"{count(total)} rows would go, more than max_rows ({count(most)}): {tables}"
