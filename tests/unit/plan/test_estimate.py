"""What the work takes and gives back, from measurements alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prefect_maintenance.measure.sizes import TableSize
from prefect_maintenance.plan.choices import choose
from prefect_maintenance.plan.decisions import Situation, decide
from prefect_maintenance.plan.estimate import (
    Estimate,
    in_all,
    of_deletes,
    of_file,
    of_full,
    of_rewrite,
)
from prefect_maintenance.plan.plan import Plan
from prefect_maintenance.request.settings import Reclaim

MIB = 2**20
ROWS = 1_000_000
SIZE = TableSize(
    "log", ROWS, "exact", 600 * MIB, 0, 400 * MIB, 1000 * MIB, 0, 0, "test", None,
    loose_bytes=100 * MIB, least_bytes=MIB,
)  # fmt: skip
AUTO = Reclaim("auto", 100 * MIB, 20)


def test_the_work_of_two_steps_adds_up_and_its_longest_lock_stays() -> None:
    one, other = Estimate(10, 1.5, 100, 20), Estimate(5, 0.5, 30, 15)
    assert one.joined(other) == Estimate(15, 2.0, 130, 20)
    joined = Plan(estimates={"log": one}).joined(Plan(estimates={"log": other, "events": one}))
    assert joined.estimates == {"log": Estimate(15, 2.0, 130, 20), "events": one}
    assert joined.estimate == Estimate(25, 3.5, 230, 20)


def test_what_tables_of_a_file_lose_comes_back_with_the_file_or_not_at_all() -> None:
    tables: dict[str | None, Estimate] = {"log": Estimate(70, 1.0), "events": Estimate(20, 1.0)}
    assert in_all(tables).bytes_back == 90
    kept = in_all({**tables, None: Estimate()})
    assert (kept.bytes_back, kept.seconds) == (0, 2.0)
    assert in_all({**tables, None: Estimate(80, 0.5, 0, 500)}) == Estimate(80, 2.5, 0, 500)


def test_a_copy_lacks_what_its_indexes_had_of_room_and_never_takes_less_than_an_empty_table() -> (
    None
):
    assert SIZE.copy_bytes(0) == 900 * MIB
    assert SIZE.copy_bytes(ROWS // 2) == pytest.approx(450.5 * MIB)
    assert SIZE.copy_bytes(ROWS) == MIB
    assert SIZE.copy_bytes(2 * ROWS) == MIB
    empty = replace(SIZE, rows=0, bytes=8192, loose_bytes=0)
    assert empty.copy_bytes(0) == 8192


def test_room_in_indexes_comes_back_with_a_rewrite_but_is_no_reason_for_one() -> None:
    rewritten = choose(SIZE, ROWS // 2, AUTO)
    assert rewritten.action == "rewrite"
    assert rewritten.gives_back == SIZE.bytes - SIZE.copy_bytes(ROWS // 2)
    assert "549.5 MiB, 55 % of it" in rewritten.why
    few = choose(replace(SIZE, loose_bytes=400 * MIB), ROWS // 10, AUTO)
    assert (few.action, few.gives_back) == ("plain", 0)


def test_a_purge_that_copies_gives_back_all_but_the_copy_and_one_that_deletes_nothing() -> None:
    found = Situation(SIZE, ROWS // 2, 1.0)
    assert decide(found, "rewrite", AUTO).gives_back == 1000 * MIB - SIZE.copy_bytes(ROWS // 2)
    assert decide(found, "delete", AUTO).gives_back == 0


def test_vacuum_writes_to_the_wal_unless_the_table_is_written_anew() -> None:
    plain, rewritten = (of_deletes(SIZE, ROWS // 2, 1.0, rewritten=r) for r in (False, True))
    assert plain.wal_bytes > 1.2 * rewritten.wal_bytes
    assert rewritten.wal_bytes > 300 * MIB
    assert of_deletes(SIZE, 0, 1.0) == Estimate(seconds=0.0)


def test_only_what_keeps_everybody_out_has_a_lock_as_long_as_the_work() -> None:
    full, swapped = of_full(SIZE, 500 * MIB), of_rewrite(SIZE, 500 * MIB)
    assert full.lock_ms == int(1000 * full.seconds)
    assert swapped.lock_ms < 100
    assert swapped.wal_bytes == full.wal_bytes > 500 * MIB
    of_a_file = of_file(SIZE, 500 * MIB)
    assert (of_a_file.lock_ms, of_a_file.wal_bytes) == (full.lock_ms, 0)
