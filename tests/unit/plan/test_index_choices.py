"""Which bloated indexes are built anew: where all of a table's give back enough, for sure."""

from __future__ import annotations

import pytest
from prefect_maintenance.measure.indexes import Found
from prefect_maintenance.plan.indexes import IndexChoice, choose_bloated, estimates_of
from prefect_maintenance.request.settings import Reclaim

MIB = 2**20
WANTED = Reclaim("auto", 100 * MIB, 20)


def found(size: int, percent: int, name: str = "ix") -> Found:
    return Found("log", name, "bloated", size, size * percent // 90, percent)


@pytest.mark.parametrize(
    ("indexes", "chosen"),
    [
        ([found(200 * MIB, 60)], ["ix"]),
        ([found(100 * MIB, 60)], []),
        ([found(100 * MIB, 60, "a"), found(100 * MIB, 60, "b")], ["a", "b"]),
        ([found(900 * MIB, 49)], []),
        ([found(900 * MIB, 49, "a"), found(200 * MIB, 90, "b")], ["b"]),
        ([], []),
    ],
    ids=["large", "small", "together", "ordinary", "one of two", "none"],
)
def test_indexes_are_built_anew_where_they_give_back_enough(
    indexes: list[Found], chosen: list[str]
) -> None:
    assert [one.index for one in choose_bloated(indexes, WANTED)] == chosen


def test_a_stricter_share_than_that_of_ordinary_work_counts() -> None:
    strict = Reclaim("auto", 0, 80)
    assert choose_bloated([found(MIB, 79)], strict) == ()
    assert len(choose_bloated([found(MIB, 80)], strict)) == 1


def test_the_work_is_estimated_for_what_is_built_and_nothing_else() -> None:
    built = IndexChoice("log", "a", "bloated", "rebuild", 100 * MIB, 60 * MIB, "")
    left = IndexChoice("events", "b", "bloated", "none", 100 * MIB, 0, "")
    [(table, estimate)] = estimates_of([built, built, left]).items()
    assert (table, estimate.bytes_back) == ("log", 120 * MIB)
    assert estimate.wal_bytes >= 80 * MIB
    assert estimate.lock_ms == 0
    assert estimate.seconds > 0
    assert estimates_of([left]) == {}
