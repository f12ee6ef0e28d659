"""Which states may be stuck, and after how many days, is checked in one line that names the key."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request.settings import Settings


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([], "stuck must map states to days, e.g. {RUNNING: 7, PENDING: 2}, not []"),
        ("RUNNING", "stuck must map states to days"),
        ({"COMPLETED": 3}, "stuck has 'COMPLETED', which is no state of an unfinished run; known"),
        ({"SCHEDULED": 3}, "stuck has 'SCHEDULED'"),
        ({"running": 3}, "stuck has 'running'"),
        ({7: 3}, "stuck has 7"),
        ({"x" * 9999: 3}, "stuck has 'xxx"),
        ({"RUNNING": 0}, "stuck.RUNNING must be a whole number of days, 1 or more, at most 36500"),
        ({"RUNNING": 36501}, "stuck.RUNNING must be"),
        ({"LATE": -1}, "stuck.LATE must be"),
        ({"LATE": 1.5}, "stuck.LATE must be"),
        ({"PAUSED": "a week"}, "stuck.PAUSED must be"),
        ({"PENDING": None}, "stuck.PENDING must be"),
        ({"PENDING": True}, "stuck.PENDING must be"),
    ],
)
def test_a_wrong_value_gets_one_line(told: Any, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({"stuck": told}, check=True)
    text = str(raised.value)
    assert text.startswith(says)
    assert len(text) < 200
    assert "\n" not in text


@pytest.mark.parametrize("told", [None, {}])
def test_nothing_is_ended_unless_that_is_asked_for(told: Any) -> None:
    assert Settings.parse({"stuck": told}, check=True).stuck == {}


def test_days_may_be_written_as_text() -> None:
    assert Settings.parse({"stuck": {"RUNNING": "7"}}, check=True).stuck == {"RUNNING": 7}
