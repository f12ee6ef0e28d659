"""Windows as they are asked for: what is taken, what is refused, and how long one is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request import windows
from prefect_maintenance.request.windows import Window, parse_windows, zone_of

NIGHTLY = {"cron": "0 22 * * *", "duration": "4h"}


def parsed(**more: Any) -> Window:
    [window] = parse_windows({"windows": [{**NIGHTLY, **more}]})
    return window


def test_what_a_window_does_not_say_is_to_allow_by_utc() -> None:
    window = parsed()
    assert (window.allows, window.timezone, window.duration) == (True, "UTC", timedelta(hours=4))
    assert window.cron.text == "0 22 * * *"
    assert parsed(kind="deny", timezone="Europe/Berlin").allows is False
    assert parse_windows({}) == parse_windows({"windows": []}) == ()


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("4h", 14400), ("90m", 5400), ("1h30m", 5400), ("1H 30M", 5400), ("45s", 45),
        ("7d", 604800), (5400, 5400), (1.5, 1.5), ("5400", 5400), ("1d2h3m4s", 93784),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_people_write_it(duration: Any, seconds: float) -> None:
    assert parsed(duration=duration).duration == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("0 22 * * *", "must be a list"),
        ({"cron": "0 22 * * *"}, "must be a list"),
        (7, "must be a list"),
        (["0 22 * * *"], "window 1 must map cron, duration, timezone, kind to values, not"),
        ([NIGHTLY, {**NIGHTLY, "tz": "UTC"}], "the key 'tz' of window 2 is unknown; known are"),
        ([{"duration": "4h"}], "cron of window 1 must be five fields"),
        ([{**NIGHTLY, "cron": 22}], "cron of window 1 must be five fields"),
        ([NIGHTLY, {**NIGHTLY, "cron": "0 24 * * *"}], "cron of window 2 must be five fields"),
        ([{**NIGHTLY, "cron": "0 0 30 2 *"}], "of '0 0 30 2 *', no month has that day"),
        ([{"cron": "0 22 * * *"}], "duration of window 1 must be e.g. 4h"),
        *(
            ([{**NIGHTLY, "duration": wrong}], "duration of window 1 must be e.g. 4h")
            for wrong in (0, -1, 0.5, "0m", "", "8d", "604801", "h", "4h4", "soon", True, [4],
                          float("nan"), float("inf"), "1.5h", "9" * 40)
        ),
        ([{**NIGHTLY, "kind": "allows"}], "kind of window 1 must be one of allow, deny"),
        ([{**NIGHTLY, "kind": ["deny"]}], "kind of window 1 must be one of allow, deny"),
        *(
            ([NIGHTLY, {**NIGHTLY, "timezone": wrong}], "timezone of window 2 must be the name")
            for wrong in ("Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "\0", 1, ["a"])
        ),
    ],
)  # fmt: skip
def test_a_window_that_cannot_be_is_refused_by_its_number_and_key(told: Any, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_windows({"windows": told})
    assert str(raised.value).startswith("windows")
    assert said in str(raised.value)
    assert len(str(raised.value)) < 200


def test_a_machine_without_time_zones_can_check_and_says_at_work_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "available_timezones", set)
    window = parsed(timezone="Mars/Olympus")
    with pytest.raises(SettingsError, match="install the package tzdata"):
        window.open_until(datetime(2026, 11, 26, tzinfo=UTC))
    assert zone_of("UTC") is UTC


@pytest.mark.parametrize(
    ("cron", "duration", "zone", "opens", "closes"),
    [
        # Across midnight and the end of a year.
        ("0 22 31 12 *", "4h", "UTC", "2026-12-31T22:00Z", "2027-01-01T02:00Z"),
        # Clocks are put forward within it: it closes at 07:00 of the clock.
        ("0 22 * * sat", "8h", "Europe/Berlin", "2026-03-28T21:00Z", "2026-03-29T05:00Z"),
        # They are put back within it: it closes at 05:00.
        ("0 22 * * sat", "8h", "Europe/Berlin", "2026-10-24T20:00Z", "2026-10-25T04:00Z"),
        # 02:30 does not exist, or exists twice.
        ("30 2 * * *", "1h", "Europe/Berlin", "2026-03-29T01:00Z", "2026-03-29T02:00Z"),
        ("30 2 * * *", "30m", "Europe/Berlin", "2026-10-25T00:30Z", "2026-10-25T01:00Z"),
        ("0 0 29 2 *", "7d", "America/New_York", "2028-02-29T05:00Z", "2028-03-07T05:00Z"),
    ],
)
def test_a_window_is_open_from_its_first_second_until_its_time_has_passed(
    cron: str, duration: str, zone: str, opens: str, closes: str
) -> None:
    window = parsed(cron=cron, duration=duration, timezone=zone)
    begin, end = datetime.fromisoformat(opens), datetime.fromisoformat(closes)
    moment = timedelta(microseconds=1)
    assert window.open_until(begin - moment) is None
    assert window.open_until(begin) == end
    assert window.open_until(end - moment) == end
    assert window.open_until(end) is None
    assert window.opens_after(begin - moment) == begin
