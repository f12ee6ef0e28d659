"""What tells a step in the background that nobody follows it any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prefect_maintenance.pace.governors import Moment, Stop
from prefect_maintenance.pace.heartbeat import Heartbeat

AT = Moment("log", 0.0, 0.0)


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    path = tmp_path / "alive"
    path.touch()
    return path


def test_a_step_ends_once_the_sign_of_life_has_stayed_the_same_and_not_before(sign: Path) -> None:
    now = [1000.0]
    heartbeat = Heartbeat(sign, 90, lambda: now[0])
    assert heartbeat(AT) is None
    now[0] += 89
    assert heartbeat(AT) is None
    now[0] += 1
    told = "whoever started the run was gone while at log; run again to go on"
    assert heartbeat(AT) == Stop(told)


def test_any_other_time_of_the_file_is_a_sign_of_life_also_one_that_is_long_ago(
    sign: Path,
) -> None:
    now = [1000.0]
    heartbeat = Heartbeat(sign, 90, lambda: now[0])
    for at in (10**9, 2 * 10**9, 10**9):
        heartbeat.look()
        now[0] += 89
        os.utime(sign, (at, at))
        assert heartbeat(AT) is None


def test_a_look_while_a_long_batch_is_at_work_counts(sign: Path) -> None:
    now = [1000.0]
    heartbeat = Heartbeat(sign, 90, lambda: now[0])
    os.utime(sign, (1, 1))
    heartbeat.look()
    now[0] += 600
    assert heartbeat.gone
    assert isinstance(heartbeat(AT), Stop)


def test_a_sign_of_life_that_was_taken_away_ends_the_step_at_once(sign: Path) -> None:
    heartbeat = Heartbeat(sign, 90)
    assert heartbeat(AT) is None
    sign.unlink()
    assert isinstance(heartbeat(AT), Stop)
