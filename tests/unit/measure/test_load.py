"""What a server answers of its load is understood, also what only some roles may see."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.measure.load import Autovacuum, Load, Standby, load_of

QUIET: dict[str, Any] = {
    "standbys": None,
    "slots": None,
    "slot_keep": -1,
    "archives": True,
    "archiver": ["000000010000000A000000FE", None, None],
    "segment": "000000010000000A000000FF",
    "segment_bytes": 16 * 2**20,
    "ready": None,
    "wal": None,
    "active": 2,
    "vacuumed": None,
}


def test_a_quiet_server_has_nothing_to_bear() -> None:
    assert load_of(QUIET) == Load(archive=0, active=2)


def test_a_standby_that_is_hidden_has_a_name_and_no_lag() -> None:
    seen = load_of({**QUIET, "standbys": [["b", None, None], ["c", 5, 0.1]]})
    assert seen.standbys == (Standby("b", None), Standby("c", 5, 0.1))


def test_an_autovacuum_may_be_hidden() -> None:
    seen = load_of({**QUIET, "vacuumed": [[None, 7, False], ["log", 8, True]]})
    assert seen.vacuumed == (Autovacuum(None, 7), Autovacuum("log", 8, urgent=True))


@pytest.mark.parametrize(
    ("answer", "waiting"),
    [
        ({"ready": 7}, 7),
        ({"segment": "000000010000000B00000004"}, 5),
        # A new timeline begins at the same place.
        ({"segment": "000000020000000A000000FF"}, 0),
        ({"segment": "000000010000000A000000FF", "segment_bytes": 2**20}, 0),
        ({"archiver": ["000000010000000A000000FD", "000000010000000A000000FE", True]}, 1),
        ({"archiver": [None, "000000010000000A000000F0", True]}, 15),
        ({"archiver": [None, None, None]}, None),
        ({"archiver": ["00000002.history", None, None]}, None),
        ({"archives": False, "ready": 7}, 0),
    ],
)
def test_the_segments_that_wait_are_counted_or_reckoned(
    answer: dict[str, Any], waiting: int | None
) -> None:
    assert load_of({**QUIET, **answer}).archive == waiting
