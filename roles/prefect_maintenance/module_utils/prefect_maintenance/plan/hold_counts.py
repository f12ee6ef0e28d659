"""What each tag holds: how many runs, since when and until when, and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..catalogue import ARTIFACT, FLOW_RUN, LOG
from ..database.connection import Database
from ..request.values import short
from .hanging import Hanging, cascading
from .holds import Holds, is_wrong, until
from .rule_counts import bytes_of_a_run, told
from .words import age, finite

# A hold that ends within so many days is about to end.
_SOON = timedelta(days=7)
# What belongs to more runs than these is not counted, because that could take long.
_FEW_RUNS = 10_000
_REASON = "hold:"

_RUNS = f"""
SELECT h.tag, count(*), min({finite(age("r"))})
FROM prefect_maintenance_held h JOIN flow_run r ON r.id = h.id GROUP BY h.tag
"""
_EVERY = f"SELECT count(*) FROM {FLOW_RUN.name}"
_BELONG = """
SELECT h.tag, count(*) FROM {rows} JOIN prefect_maintenance_held h ON h.id = {key} GROUP BY h.tag
"""
_HANGING = (
    *cascading(FLOW_RUN),
    *(Hanging(table, f"{table.name} x", "x.flow_run_id") for table in (LOG, ARTIFACT)),
)


@dataclass(frozen=True)
class HoldCount:
    """What one tag holds; a run with two such tags counts for both.

    Attributes:
        tag: as it stands on runs or on their deployment.
        reason: that the tag gives, after `hold:`.
        until: the last day on which it holds, in UTC; None is for good.
        runs: that it holds.
        oldest: instant that the age of the oldest of them counts from.
        rows: the runs and what belongs to them; the runs alone where these are very many.
        bytes: that they take, as an estimate; None when nobody knows.
        ends_soon: whether it ends within a week.
        wrong: whether its date cannot be read, so that it holds for good.
    """

    tag: str
    reason: str
    until: str | None
    runs: int
    oldest: str | None
    rows: int
    bytes: int | None
    ends_soon: bool
    wrong: bool


def hold_counts(database: Database, holds: Holds, reference: datetime) -> tuple[HoldCount, ...]:
    """Count what each tag holds, by their names.

    Args:
        database: in the session in which the held runs were laid down.
        holds: what keeps flow runs.
        reference: the instant that decides which end soon.
    """
    if not holds.listed:
        return ()
    found = {tag: (runs, oldest) for tag, runs, oldest in database.rows(_RUNS)}
    rows = {tag: runs for tag, (runs, _) in found.items()}
    if sum(rows.values()) <= _FEW_RUNS:
        for hanging in _HANGING:
            for tag, count in database.rows(_BELONG.format(rows=hanging.rows, key=hanging.key)):
                rows[tag] += count
    each = bytes_of_a_run(database, database.scalar(_EVERY) if database.is_postgresql else 0)
    return tuple(
        _count(tag, found[tag], rows[tag], each, reference) for tag in sorted(found, key=str)
    )


def _count(
    tag: str,
    found: tuple[int, datetime | str | None],
    rows: int,
    each: float | None,
    reference: datetime,
) -> HoldCount:
    runs, oldest = found
    last = until(tag)
    return HoldCount(
        tag=tag,
        reason=tag.removeprefix(_REASON).strip() if tag.startswith(_REASON) else "",
        until=last.isoformat() if last else None,
        runs=runs,
        oldest=told(oldest),
        rows=rows,
        bytes=None if each is None else round(each * runs),
        ends_soon=last is not None and last <= (reference.astimezone(UTC) + _SOON).date(),
        wrong=is_wrong(tag),
    )


def hold_warnings(found: Iterable[HoldCount]) -> list[str]:
    """Say which tags hold for good because their date cannot be read."""
    return [
        f"the tag {short(one.tag)} holds {one.runs:,} {'run' if one.runs == 1 else 'runs'} for "
        "good: its date cannot be read; write keep-until:YYYY-MM-DD"
        for one in found
        if one.wrong
    ]
