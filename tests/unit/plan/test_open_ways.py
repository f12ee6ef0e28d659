"""How the space of a table comes back: mode, what is in the way, the lock and the disk decide."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prefect_maintenance.measure.room import Places, Room, for_copy, for_deletes, for_index
from prefect_maintenance.measure.sizes import TableSize
from prefect_maintenance.plan.choices import Choice, choose
from prefect_maintenance.plan.closed import in_order
from prefect_maintenance.plan.decisions import Situation, decide
from prefect_maintenance.request.settings import Reclaim

MIB = 2**20
# Half of it is free, so that about 500 MiB are copied in 6 s, moved in 28 s, swapped in 10 ms.
TABLE = TableSize(
    "task_run", 100_000, "exact", 600 * MIB, 0, 400 * MIB, 1000 * MIB, 0, 500 * MIB, "test", None,
    largest_index_bytes=100 * MIB,
)  # fmt: skip
KEY = {"rewrite": "a foreign key leads to or from it"}
NO_COPY = dict.fromkeys(("rewrite", "full", "repack"), "no room for the copy")
NOTHING_FITS = {**NO_COPY, "compact": "no room for a compaction"}
DISK = {"/data": "a", "/data/pg_wal": "b", "/fast": "c"}


def chosen(mode: str, max_lock: float, closed: Mapping[str, str]) -> Choice:
    return choose(TABLE, 0, Reclaim(mode, 100 * MIB, 20, max_lock), closed)


@pytest.mark.parametrize(
    ("mode", "max_lock", "closed", "action"),
    [
        ("auto", 1.0, {}, "rewrite"),
        ("auto", 1.0, KEY, "compact"),
        ("auto", 60.0, KEY, "full"),
        ("auto", 60.0, NO_COPY, "compact"),
        ("auto", 60.0, NOTHING_FITS, "plain"),
        ("auto", 60.0, {**KEY, "compact": "a trigger of its fires at updates"}, "full"),
        ("auto", 1.0, {**KEY, "compact": "a trigger of its fires at updates"}, "plain"),
        # Shorter than a swap, and than VACUUM's while it cuts the end off.
        ("auto", 0.02, {}, "rewrite"),
        ("auto", 0.02, KEY, "plain"),
        ("auto", 0.005, {}, "plain"),
        ("rewrite", 60.0, {}, "rewrite"),
        ("rewrite", 60.0, KEY, "plain"),
        ("rewrite", 0.005, {}, "plain"),
        ("compact", 1.0, {}, "compact"),
        ("compact", 1.0, KEY, "compact"),
        ("compact", 0.005, {}, "plain"),
        ("compact", 1.0, NOTHING_FITS, "plain"),
        ("repack", 1.0, {}, "rewrite"),
        ("repack", 1.0, KEY, "repack"),
        ("repack", 1.0, NO_COPY, "compact"),
        # Asked for by name it may take as long as it takes, but needs the disk.
        ("full", 0.005, {}, "full"),
        ("full", 1.0, KEY, "full"),
        ("full", 1.0, NO_COPY, "plain"),
        ("plain", 60.0, {}, "plain"),
        ("none", 60.0, {}, "none"),
    ],
)
def test_the_most_wanted_way_that_is_open_is_taken(
    mode: str, max_lock: float, closed: Mapping[str, str], action: str
) -> None:
    choice = chosen(mode, max_lock, closed)
    assert choice.action == action
    for way, cost in choice.ways.items():
        assert (cost.why_not == "") == (way == action), way
        assert cost.seconds > 0
        assert cost.wal_bytes > 0
        assert cost.extra_bytes > 0
        if way == action != mode != "full":
            assert cost.lock_seconds <= max_lock
    open_ways = mode not in ("none", "plain")
    assert (choice.left > 0) == (action == "plain" and open_ways)
    assert (choice.gives_back > 0) == (action not in ("plain", "none"))


def test_each_way_says_why_it_is_not_taken() -> None:
    ways = chosen("auto", 1.0, KEY).ways
    assert ways["rewrite"].why_not == KEY["rewrite"]
    assert "its lock would last about" in ways["full"].why_not
    assert "max_lock is 1 s" in ways["full"].why_not
    assert chosen("auto", 1.0, {}).ways["compact"].why_not.startswith("it takes longer")
    assert chosen("compact", 1.0, {}).ways["rewrite"].why_not == "vacuum is compact"
    left = chosen("auto", 0.005, KEY)
    for reason in (KEY["rewrite"], "full: its lock", "compact: its lock"):
        assert reason in left.why


@pytest.mark.parametrize(
    ("mib", "max_lock", "closed", "action"),
    [
        (10, 1.0, KEY, "full"),
        (100, 1.0, KEY, "compact"),
        (100, 1.0, {**KEY, "compact": "it has rules"}, "full"),
        # Whoever allows a longer lock than by default wants it done sooner.
        (100, 1.5, KEY, "full"),
        (1000, 1.5, KEY, "compact"),
    ],
)
def test_a_lock_that_would_be_noticed_is_avoided_where_a_compaction_is_open(
    mib: int, max_lock: float, closed: Mapping[str, str], action: str
) -> None:
    whole = mib * MIB
    size = TableSize(
        "task_run", 1_000_000, "exact", whole, 0, 0, whole, 0, whole // 5 * 4, "test", None
    )
    choice = choose(size, 0, Reclaim("auto", 0, 0, max_lock), closed)
    assert choice.action == action
    if (mib, action) == (100, "compact"):
        assert "a compaction is open: it is taken for up to 0.1 s" in choice.ways["full"].why_not


@pytest.mark.parametrize(
    ("mode", "closed", "told"),
    [
        ("full", NO_COPY, "; vacuum: compact would be open"),
        ("rewrite", KEY, "; vacuum: compact would be open"),
        ("compact", {"compact": "it has rules"}, "; vacuum: rewrite would be open"),
        ("full", NOTHING_FITS, "no room for the copy"),
    ],
)
def test_where_no_way_is_open_that_was_asked_for_another_one_is_named(
    mode: str, closed: Mapping[str, str], told: str
) -> None:
    assert chosen(mode, 1.0, closed).why.endswith(told)


def test_a_lock_that_was_asked_for_by_name_is_told() -> None:
    full = chosen("full", 1.0, {})
    seconds = full.ways["full"].lock_seconds
    assert seconds > 1
    assert f"keep everybody out for about {seconds:,.3g} s" in full.why
    assert "everybody" not in chosen("full", 60.0, {}).why


def test_a_copy_that_turns_out_not_to_fit_is_followed_by_a_compaction_where_that_is_open() -> None:
    assert chosen("auto", 60.0, KEY).otherwise == "compact"
    assert chosen("auto", 1.0, {}).otherwise == "compact"
    assert chosen("auto", 60.0, {**KEY, "compact": "a trigger"}).otherwise == "plain"
    assert chosen("full", 60.0, KEY).otherwise == "plain"
    assert chosen("rewrite", 60.0, {}).otherwise == "plain"


def test_a_table_whose_long_values_have_the_space_is_not_compacted_for_the_rest() -> None:
    size = TableSize(
        "artifact", 1000, "exact", 50 * MIB, 940 * MIB, 10 * MIB, 1000 * MIB, 0, 500 * MIB, "", None
    )
    choice = choose(size, 0, Reclaim("auto", 100 * MIB, 20), KEY)
    assert choice.action == "plain"
    assert "less than vacuum_min_bytes" in choice.ways["compact"].why_not
    assert choice.left > 400 * MIB


def test_rows_go_in_the_way_that_is_open_and_the_other_one_says_why_not() -> None:
    auto = Reclaim("auto", 100 * MIB, 20)
    for asked in ("auto", "rewrite"):
        for wanted, closed, reason in (
            (auto, NO_COPY, "no room for the copy"),
            (Reclaim("auto", 100 * MIB, 20, 0.005), {}, "its lock would last about 0.01 s"),
        ):
            decision = decide(Situation(TABLE, 90_000, 1.0, closed), asked, wanted)
            assert decision.strategy == "delete"
            assert reason in decision.why
            assert reason in decision.costs["rewrite"].why_not
            assert decision.costs["delete"].why_not == ""
    # Little goes: deletes are the cheaper way, but the disk of the WAL is full.
    closed = {"delete": "no room for deleting"}
    for given, strategy in (({}, "delete"), (closed, "rewrite")):
        decision = decide(Situation(TABLE, 1000, 1.0, given), "auto", Reclaim("plain", 0, 0))
        assert decision.strategy == strategy
    assert decision.costs["delete"].why_not == "no deletes: no room for deleting"


def room(data: int, wal: int, fast: int = 0) -> Room:
    free = {"a": data * MIB, "b": wal * MIB, "c": fast * MIB}
    return Room("/data", "/data/pg_wal", DISK, free, wal_most=100 * MIB, wal_grows=80 * MIB)


def test_what_is_needed_is_compared_with_what_is_free_on_each_disk_and_told_with_numbers() -> None:
    places = Places("/fast", "", ("",), 0.4)
    copy = 100 * MIB
    # Sixty for the rows on one disk, forty for the indexes and as much for sorts on another.
    assert for_copy(room(80, 100, 60), places, copy) == ""
    assert for_copy(room(80, 100, 59), places, copy) == (
        "no room for the copy: it needs 60.0 MiB for the table, "
        "59.0 MiB is free on the disk of /fast"
    )
    assert (
        "it needs 40.0 MiB for its indexes and 40.0 MiB for sorting, 79.0 MiB is free"
        in for_copy(room(79, 100, 60), places, copy)
    )
    assert "100.0 MiB of WAL, 99.0 MiB is free on the disk of /data/pg_wal" in for_copy(
        room(80, 99, 60), places, copy
    )
    # The server uses WAL again: no more comes than twice what it keeps as a rule.
    assert for_copy(room(800, 200, 600), places, 10 * copy) == ""
    assert "200.0 MiB of WAL" in for_copy(room(800, 199, 600), places, 10 * copy)


def test_deletes_need_wal_only_and_no_more_than_the_server_lets_it_grow() -> None:
    assert for_deletes(room(0, 80), 1000 * MIB) == ""
    assert for_deletes(room(0, 79), 1000 * MIB) == (
        "no room for deleting: it needs 80.0 MiB of WAL, "
        "79.0 MiB is free on the disk of /data/pg_wal"
    )
    assert for_deletes(room(0, 79), 79 * MIB) == ""


def test_a_compaction_needs_room_for_one_index_and_for_its_sort_where_memory_is_too_small() -> None:
    index, wal = 20 * MIB, 1000 * MIB
    in_memory, spilled = (Places("", "", ("",), 0.4, m * MIB) for m in (40, 39))
    assert for_index(room(20, 80), in_memory, index, wal) == ""
    assert "20.0 MiB for an index" in for_index(room(19, 80), in_memory, index, wal)
    assert "80.0 MiB of WAL" in for_index(room(20, 79), in_memory, index, wal)
    assert "20.0 MiB for sorting" in for_index(room(39, 80), spilled, index, wal)
    assert for_index(room(40, 80), spilled, index, wal) == ""
    ways = chosen("auto", 1.0, KEY).ways
    assert ways["compact"].extra_bytes < ways["full"].extra_bytes / 4


def test_what_nobody_can_see_counts_as_room() -> None:
    unseen = Room("/data", "/data/pg_wal", {}, {})
    assert for_copy(unseen, Places("", "", ("",), 0.4), 100 * MIB) == ""
    assert unseen.after("", 5) == unseen


def test_what_one_table_gives_back_the_next_may_take() -> None:
    places, before = Places("", "", (), 0.4), room(50, 1000)
    assert for_copy(before, places, 60 * MIB) != ""
    assert for_copy(before.after("", 10 * MIB), places, 60 * MIB) == ""
    assert for_copy(before.after("/fast", 10 * MIB), places, 60 * MIB) != ""


def test_the_smallest_copy_comes_first() -> None:
    assert in_order({"log": 30, "events": 10, "event_resources": 10, "artifact": 20}) == [
        "events", "event_resources", "artifact", "log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "seconds", "action"),
    [("auto", 7, "rewrite"), ("auto", 5, "compact"), ("full", 5, "plain"), ("rewrite", 5, "plain")],
)
def test_no_copy_begins_that_its_window_does_not_leave_the_time_for(
    mode: str, seconds: float, action: str
) -> None:
    choice = choose(TABLE, 0, Reclaim(mode, 100 * MIB, 20, 60.0, seconds))
    assert choice.action == action
    for way in ("rewrite", "full"):
        assert ("its window leaves 5 s" in choice.ways[way].why_not) == (seconds == 5)
