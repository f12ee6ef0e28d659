"""Thresholds have names and kinds; a wrong one is refused in one line that names it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request.options import REQUEST
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.request.throttle import Throttle, parse_throttle


def test_the_table_names_the_thresholds_that_there_are() -> None:
    assert REQUEST["throttle"].known == tuple(field.name for field in fields(Throttle))


def test_what_is_not_named_keeps_its_default() -> None:
    limits = Settings.parse({"throttle": {"nice": "0.5", "give_up": 60}}, check=True).limits
    assert asdict(limits.throttle) == {**asdict(Throttle()), "nice": 0.5, "give_up": 60}
    assert Settings.parse({}, check=True).limits.throttle == Throttle()


@pytest.mark.parametrize("value", [0, None, False])
def test_a_threshold_can_be_turned_off(value: Any) -> None:
    name = "autovacuum" if value is False else "replica_lag_bytes"
    assert getattr(parse_throttle({name: value}), name) == 0


def test_all_of_them_can_be_turned_off_at_once_and_then_nothing_is_left() -> None:
    off = parse_throttle({"enabled": False, "nice": 3, "batch_seconds": 1})
    assert set(asdict(off).values()) == {0}
    assert parse_throttle({"nice": 2}, off) == off
    assert parse_throttle({"enabled": True, "nice": 2}).nice == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"replica_lag": 1}, "throttle names an unknown threshold: 'replica_lag'; known are enabl"),
        ({"nice": -1}, "throttle.nice must be a number, 0 or more, at most"),
        ({"nice": True}, "throttle.nice must be a number"),
        ({"nice": float("nan")}, "throttle.nice must be a number"),
        ({"nice": [1]}, "throttle.nice must be a number"),
        ({"archive_segments": 1.5}, "throttle.archive_segments must be a whole number, 0 or more"),
        ({"archive_segments": "many"}, "throttle.archive_segments must be a whole number"),
        ({"wal_bytes": 2**60}, "throttle.wal_bytes must be a whole number"),
        (
            {"disk_free_percent": 101},
            "throttle.disk_free_percent must be a number, 0 or more, at m",
        ),
        ({"autovacuum": "perhaps"}, "throttle.autovacuum must be true or false, not 'perhaps'"),
        ({"enabled": 1}, "throttle.enabled must be true or false, not 1"),
        ([], "throttle must map thresholds to numbers, e.g. {nice: 1}, not []"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({"throttle": given}, check=True)
    text = str(raised.value)
    assert text.startswith(said)
    assert "\n" not in text
    assert len(text) < 350
