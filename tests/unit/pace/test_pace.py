"""What ends a step between two batches, and what the credentials' file must be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_maintenance.errors import SettingsError, Stopped
from prefect_maintenance.flow import CREDENTIALS, read_credentials
from prefect_maintenance.pace.pace import Pace, Progress, unread

AT = Progress("log", 1, 2)


def stopped(pace: Pace) -> str:
    with pytest.raises(Stopped) as raised:
        pace(AT)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nothing_goes_on_while_the_stop_file_is_there(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    pace = Pace(stop_file=stop)
    pace(AT)
    stop.touch()
    assert f"stopped by the file {stop} while at log" in stopped(pace)
    stop.unlink()
    pace(AT)


def test_a_step_ends_when_its_time_is_used_up_and_not_before() -> None:
    pace = Pace(max_runtime=3600)
    pace(AT)
    pace._started -= 3600
    assert "the time budget of 3600 s was used up while at log" in stopped(pace)
    pace.max_runtime = 0
    pace(AT)


def test_a_step_ends_when_nobody_reads_what_it_says() -> None:
    reader, writer = os.pipe()
    pace = Pace(abandoned=lambda: unread(writer))
    pace(AT)
    os.close(reader)
    assert "whoever started the run was gone" in stopped(pace)
    os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_step_at_the_next_batch_and_nothing_in_the_middle(
    number: signal.Signals,
) -> None:
    before, pace = signal.getsignal(number), Pace()
    with pace.heeding_signals():
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
