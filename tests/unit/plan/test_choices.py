"""Decisions of the engine that need no database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from prefect_maintenance.errors import ConnectionFailed, LockTimeout, StepFailed, Stopped
from prefect_maintenance.events import Event, Events, Progress, TableDone
from prefect_maintenance.events import Stopped as StoppedEvent
from prefect_maintenance.execute.ledger import Ledger
from prefect_maintenance.measure.sizes import TableSize
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.plan.choices import choose
from prefect_maintenance.plan.decisions import Decision, Situation, decide
from prefect_maintenance.request.policy import Cutoffs, parse_policy
from prefect_maintenance.request.secrets import secrets_of
from prefect_maintenance.request.settings import Reclaim, Settings

MIB = 2**20
NOW = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)


def table(total: int, bloat: int = 0, rows: int = 1000) -> TableSize:
    return TableSize("log", rows, "exact", total, 0, 0, total, 0, bloat, "test", None)


AUTO = Reclaim("auto", 100 * MIB, 20)
FOREIGN_KEY = {"rewrite": "a foreign key leads to or from it"}


@pytest.mark.parametrize(
    ("size", "deleted", "mode", "action"),
    [
        (table(1000 * MIB, 500 * MIB), 0, "auto", "rewrite"),
        (table(1000 * MIB, 500 * MIB), 0, "rewrite", "rewrite"),
        (table(1000 * MIB, 500 * MIB), 0, "repack", "rewrite"),
        (table(1000 * MIB, 500 * MIB), 0, "full", "full"),
        (table(1000 * MIB, 500 * MIB), 0, "compact", "compact"),
        (table(1000 * MIB, 500 * MIB), 0, "plain", "plain"),
        (table(1000 * MIB, 500 * MIB), 0, "none", "none"),
        (table(1000 * MIB, 199 * MIB), 0, "auto", "plain"),
        (table(110 * MIB, 99 * MIB), 0, "auto", "plain"),
        (table(1000 * MIB), 900, "auto", "rewrite"),
        (table(1000 * MIB), 100, "auto", "plain"),
        (table(0, rows=0), 0, "auto", "plain"),
    ],
)
def test_a_table_is_rewritten_only_above_both_thresholds(
    size: TableSize, deleted: int, mode: str, action: str
) -> None:
    assert choose(size, deleted, Reclaim(mode, 100 * MIB, 20)).action == action


def test_a_compaction_promises_nothing_of_the_long_values() -> None:
    wanted = Reclaim("compact", 100 * MIB, 20)
    size = TableSize(
        "artifact", 1_000_000, "exact", 300 * MIB, 600 * MIB, 100 * MIB, 1000 * MIB, 0, 500 * MIB,
        "test", None,
    )  # fmt: skip
    choice = choose(size, 0, wanted)
    assert (choice.action, choice.gives_back) == ("compact", 200 * MIB)
    assert "600.0 MiB of long values stay where they are" in choice.why
    refused = choose(size, 0, wanted, {"compact": "it has rules"})
    assert refused.action == "plain"
    assert "compact: it has rules" in refused.why


@pytest.mark.parametrize("mode", ["auto", "full", "rewrite", "repack", "compact"])
def test_nothing_is_rewritten_for_less_than_the_measurement_may_be_wrong_by(mode: str) -> None:
    wish = Reclaim(mode, 0, 0)
    way = mode if mode in ("full", "compact") else "rewrite"
    rows = 1000 * MIB // 400
    for size, action in (
        (table(0, rows=0), "plain"),
        (table(3 * 8192, 8192, rows=40), "plain"),
        (table(1000 * MIB, 0, rows), "plain"),
        (table(1000 * MIB, 100 * MIB, rows), "plain"),
        (table(1000 * MIB, 150 * MIB, rows), way),
        # A page has room for four of these rows, and never for a part of the fifth.
        (table(1000 * MIB, 200 * MIB, 1000 * MIB // 1640), "plain"),
        (table(1000 * MIB, 300 * MIB, 1000 * MIB // 1640), way),
    ):
        assert choose(size, 0, wish).action == action, size


def decided(
    share: float,
    total: int = 2000 * MIB,
    *,
    asked: str = "auto",
    wish: Reclaim = AUTO,
    ordered: float = 1.0,
    closed: Mapping[str, str] = MappingProxyType({}),
) -> Decision:
    rows = total // 400
    heap, index = total * 6 // 10, total * 4 // 10
    size = TableSize("log", rows, "exact", heap, 0, index, total, 0, 0, "test", None)
    return decide(Situation(size, int(share * rows), ordered, closed), asked, wish)


@pytest.mark.parametrize(
    ("share", "wish", "strategy"),
    [
        (0.01, AUTO, "delete"),
        (0.15, AUTO, "delete"),
        # From here on the space is to come back, and what stays is copied either way.
        (0.25, AUTO, "rewrite"),
        (0.99, AUTO, "rewrite"),
        # Nobody wants the space: only the price counts.
        (0.25, Reclaim("plain", 0, 0), "delete"),
        (0.99, Reclaim("plain", 0, 0), "rewrite"),
        (0.99, Reclaim("none", 0, 0), "rewrite"),
    ],
)
def test_the_cheaper_way_is_chosen_unless_the_copy_is_made_anyhow(
    share: float, wish: Reclaim, strategy: str
) -> None:
    assert decided(share, wish=wish).strategy == strategy


def test_a_small_table_is_purged_by_deletes() -> None:
    assert decided(0.9, total=4 * MIB).strategy == "delete"


def test_what_is_asked_for_is_done_unless_something_is_in_the_way() -> None:
    assert decided(0.99, asked="delete").strategy == "delete"
    assert decided(0.01, asked="rewrite").strategy == "rewrite"
    refused = decided(0.99, asked="rewrite", closed=FOREIGN_KEY)
    assert refused.strategy == "delete"
    assert FOREIGN_KEY["rewrite"] in refused.why


def test_the_price_of_a_rewrite_follows_what_is_kept_and_that_of_deletes_what_goes() -> None:
    plain = Reclaim("plain", 0, 0)
    few, many = decided(0.5, wish=plain).costs, decided(0.99, wish=plain).costs
    assert many["rewrite"].wal_bytes < few["rewrite"].wal_bytes / 40
    assert many["rewrite"].extra_bytes < few["rewrite"].extra_bytes / 40
    assert many["delete"].wal_bytes > few["delete"].wal_bytes
    assert many["rewrite"].lock_seconds == few["rewrite"].lock_seconds
    full = decided(0.5, wish=Reclaim("full", 0, 0)).costs["delete"]
    assert full.lock_seconds > 100 * few["rewrite"].lock_seconds


def test_deletes_that_are_scattered_over_the_heap_write_more() -> None:
    side_by_side, anywhere = decided(0.1), decided(0.1, ordered=0.0)
    assert anywhere.costs["delete"].wal_bytes > 3 * side_by_side.costs["delete"].wal_bytes


def test_every_cutoff_is_counted_from_one_instant() -> None:
    policy = parse_policy({"retention_days": 10, "retention": {"logs": "3"}})
    cutoffs = Cutoffs.of(policy, NOW)
    assert cutoffs.flow_runs == NOW - timedelta(days=10)
    assert cutoffs.logs == NOW - timedelta(days=3)
    assert cutoffs.orphans == NOW - timedelta(hours=1)


def test_a_later_step_counts_from_the_instant_of_the_first() -> None:
    first = Settings.parse({"reference_time": "2026-06-30T19:00:00+07:00"}, check=False)
    assert first.cutoffs.reference == NOW
    again = Settings.parse({"report": {"reference_time": "2026-06-30T12:00:00Z"}}, check=False)
    assert again.cutoffs == first.cutoffs


def test_secrets_are_known_in_every_form_they_take() -> None:
    asked = {
        "db_url": "postgresql://u:p%40ss@h/d",
        "api_url": "http://h/api",
        "api_auth_string": "admin:pw-1",
        "api_key": "key-2",
        "api_headers": {"X-Auth": "token-3"},
    }
    known = set(secrets_of(Settings.parse(asked, check=False)))
    assert {"p@ss", "p%40ss", "admin:pw-1", "pw-1", "key-2", "token-3"} <= known


def test_a_failed_table_is_reported_after_the_others_were_done() -> None:
    ledger = Ledger(lambda: 0)
    with ledger.working_on("log"):
        ledger.add("log", 5, "delete")
        raise LockTimeout("no lock")
    with ledger.working_on("events"):
        ledger.add("events", 7, "delete")
    done = [event for event in ledger.events.kept if isinstance(event, TableDone)]
    assert [(event.table, event.rows, event.error) for event in done] == [
        ("log", 5, "no lock"),
        ("events", 7, None),
    ]
    with pytest.raises(StepFailed, match="log: no lock"):
        ledger.raise_failures()


@pytest.mark.parametrize("error", [Stopped("enough"), ConnectionFailed("gone")])
def test_a_stop_or_a_lost_connection_ends_the_step_and_keeps_the_count(error: Exception) -> None:
    ledger = Ledger(lambda: 0)

    def work() -> None:
        with ledger.working_on("log"):
            ledger.add("log", 5, "delete")
            raise error

    with pytest.raises(type(error)):
        work()
    assert ledger.rows == {"log": 5}


def test_the_pace_goes_on_until_it_is_asked_to_stop() -> None:
    shown: list[Event] = []
    signals = Signals()
    pace = Pace(Events(shown.append), (signals,))
    pace(Progress("log", 1, 2))
    signals.note("SIGTERM")
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        pace(Progress("log", 2, 2))
    why = "stopped by SIGTERM while at log; run again to go on"
    assert shown == [Progress("log", 1, 2), Progress("log", 2, 2), StoppedEvent(why)]
