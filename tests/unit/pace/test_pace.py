"""What ends a step between two batches, and what the credentials' file must be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_maintenance.errors import SettingsError, Stopped
from prefect_maintenance.events import Event, Events, Progress, Waiting
from prefect_maintenance.flow import CREDENTIALS, read_credentials
from prefect_maintenance.pace.budget import Budget
from prefect_maintenance.pace.governors import Answer, Governor, Moment, Stop, Wait
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.parent import Parent
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.pace.stop_file import StopFile

AT = Progress("log", 1, 2)


def asking(governor: Governor) -> Pace:
    return Pace(Events(), (governor,))


def stopped(pace: Pace) -> str:
    with pytest.raises(Stopped) as raised:
        pace(AT)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nothing_goes_on_while_the_stop_file_is_there(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    pace = asking(StopFile(stop))
    pace(AT)
    stop.touch()
    assert f"stopped by the file {stop} while at log" in stopped(pace)
    stop.unlink()
    pace(AT)


def test_a_step_ends_when_its_time_is_used_up_and_not_before() -> None:
    budget = Budget(3600)
    pace = asking(budget)
    pace(AT)
    budget._began -= 3600
    assert "the time budget of 3600 s was used up while at log" in stopped(pace)
    budget.seconds = 0
    pace(AT)


def test_a_step_ends_when_nobody_reads_what_it_says() -> None:
    reader, writer = os.pipe()
    pace = asking(Parent(writer))
    pace(AT)
    os.close(reader)
    assert "whoever started the run was gone" in stopped(pace)
    os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_step_at_the_next_batch_and_nothing_in_the_middle(
    number: signal.Signals,
) -> None:
    before, signals = signal.getsignal(number), Signals()
    pace = asking(signals)
    with signals.heeded():
        signal.raise_signal(number)
        assert f"stopped by {number.name} while at log" in stopped(pace)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.chmod(0o640), "can be read by others (mode 640); chmod 600 it"),
        (lambda file: file.chmod(0o604), "can be read by others (mode 604); chmod 600 it"),
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_text("{"), "is not JSON"),
    ],
)
def test_credentials_that_others_could_read_are_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    file = tmp_path / "credentials.json"
    file.write_text('{"db_url": "sqlite:////nowhere"}')
    file.chmod(0o600)
    monkeypatch.setenv(CREDENTIALS, str(file))
    assert read_credentials() == {"db_url": "sqlite:////nowhere"}
    spoil(file)
    with pytest.raises(SettingsError) as raised:
        read_credentials()
    assert said in str(raised.value)


def test_the_longest_wait_is_waited_and_said_and_then_everybody_is_asked_again() -> None:
    asked: list[float] = []
    told: list[Event] = []

    def once(moment: Moment) -> Answer:
        asked.append(moment.waited)
        return Wait("a standby is behind", 0.02, "lock") if len(asked) < 3 else None

    def briefly(moment: Moment) -> Answer:
        return Wait("autovacuum is at work", 0.001, "cluster") if moment.waited < 0.001 else None

    pace = Pace(Events(told.append), (briefly, once))
    pace(AT)
    assert len(asked) == 3
    assert pace.events.waited == {"lock": 0.04}
    assert told == [
        AT,
        Waiting("log", "a standby is behind", 0.02, "lock"),
        Waiting("log", "a standby is behind", 0.02, "lock"),
    ]
    assert asked == sorted(asked)


def test_a_stop_comes_before_any_wait(tmp_path: Path) -> None:
    told: list[Event] = []
    pace = Pace(Events(told.append), (lambda _: Wait("for ever", 3600, "lock"), StopFile(tmp_path)))
    with pytest.raises(Stopped):
        pace(AT)
    assert not any(isinstance(event, Waiting) for event in told)


def test_what_came_before_the_work_counts_for_no_batch() -> None:
    moments: list[Moment] = []

    def note(moment: Moment) -> Answer:
        moments.append(moment)
        return None

    pace = asking(note)
    pace._let_go -= 3600
    pace.begin()
    pace(AT)
    assert moments[0].worked < 3600


def test_one_more_governor_is_asked_within_its_block_only() -> None:
    pace = Pace()
    with pace.also(lambda _: Stop("enough; run again to go on")), pytest.raises(Stopped):
        pace(AT)
    pace(AT)
