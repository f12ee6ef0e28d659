"""How large an index is right after it was built: against sizes that PostgreSQL has made."""

from __future__ import annotations

import pytest
from prefect_maintenance.measure.fresh_indexes import Index, Key, at_most, fresh, loose

KIB = 1024
UUID, INSTANT, LEVEL = Key(16, -1, 0), Key(8, -1, 0), Key(2, 2, 0)
# A column that names another row: 4,000 of them.
PARENT = Key(16, 4000, 0)
NOTHING = Key(16, 0, 1)


def index(size: int, *keys: Key, kind: str = "btree", unique: bool = False) -> Index:
    return Index(size, kind, unique, share=1.0, waiting=4096 * KIB, keys=keys)


@pytest.mark.parametrize(
    ("rows", "built", "keys", "unique"),
    [
        (400_000, 12_344, (UUID,), True),
        (400_000, 8_792, (INSTANT,), False),
        (400_000, 15_888, (PARENT, INSTANT), False),
        (400_000, 2_944, (PARENT,), False),
        (400_000, 2_728, (LEVEL,), False),
        (400_000, 2_728, (NOTHING,), False),
        (60_000, 4_000, (Key(27, 1, 0), UUID), False),
        (60_000, 1_872, (UUID,), True),
        (26_301, 480, (Key(16, -0.326, 0),), False),
    ],
    ids=[
        "primary key", "instants", "two columns", "parents", "a few values", "only nulls",
        "text and id", "smaller primary key", "three rows a key",
    ],
)  # fmt: skip
def test_the_size_of_a_fresh_index_is_known_within_a_tenth(
    rows: int, built: int, keys: tuple[Key, ...], unique: bool
) -> None:
    found = fresh(index(0, *keys, unique=unique), rows)
    assert found == pytest.approx(built * KIB, rel=0.1)


def test_an_index_without_a_row_is_two_pages() -> None:
    assert fresh(index(0, UUID, unique=True), 0) <= 2 * 8192


def test_a_partial_index_has_its_share_of_the_rows() -> None:
    half = Index(0, "btree", unique=False, share=0.5, waiting=0, keys=(INSTANT,))
    assert fresh(half, 400_000) == pytest.approx(fresh(index(0, INSTANT), 200_000))


def test_keys_in_no_order_leave_room_and_an_index_that_is_full_has_none() -> None:
    assert loose(index(16_728 * KIB, UUID, unique=True), 400_000) > 4000 * KIB
    assert loose(index(12_000 * KIB, UUID, unique=True), 400_000) == 0


@pytest.mark.parametrize("keys", [(UUID,), (PARENT,), (LEVEL,), (PARENT, INSTANT), (NOTHING,)])
def test_the_most_that_a_fresh_index_takes_does_not_rest_on_how_often_a_key_comes_again(
    keys: tuple[Key, ...],
) -> None:
    assert at_most(index(0, *keys), 400_000) == at_most(index(0, *keys, unique=True), 400_000)
    assert at_most(index(0, *keys), 400_000) >= fresh(index(0, *keys), 400_000)


def test_of_a_gin_index_no_more_is_idle_than_may_wait() -> None:
    small, large = index(1752 * KIB, kind="gin"), index(900 * 1024 * KIB, kind="gin")
    assert loose(small, 60_000) == pytest.approx(0.95 * 1752 * KIB, rel=0.06)
    assert loose(large, 9_000_000) <= 4096 * KIB


@pytest.mark.parametrize("kind", ["btree", "hash", "gist"])
def test_an_index_of_which_nothing_is_known_counts_as_full(kind: str) -> None:
    assert loose(index(1752 * KIB, kind=kind), 60_000) == 0
