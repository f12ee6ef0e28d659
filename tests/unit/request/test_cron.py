"""When a line of cron comes: against a library, and minute by minute around changes of clocks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from prefect_maintenance.request.cron import Cron

MINUTE = timedelta(minutes=1)
# Instants shortly before clocks change: an hour, half an hour, at midnight, southern summers.
CHANGES = {
    "Europe/Berlin": ("2026-03-29T00:00Z", "2026-10-24T23:00Z"),
    "America/New_York": ("2026-03-08T06:00Z", "2026-11-01T05:00Z"),
    "Australia/Lord_Howe": ("2026-04-04T14:00Z", "2026-10-03T14:30Z"),
    "Africa/Cairo": ("2026-04-23T21:00Z", "2026-10-29T20:00Z"),
    "America/Santiago": ("2026-04-05T02:00Z", "2026-09-06T03:00Z"),
    "Asia/Kathmandu": ("2026-01-01T00:00Z",),
    "UTC": ("2028-02-28T12:00Z", "2026-12-31T22:00Z"),
}


def one_field(random: random.Random, least: int, most: int) -> str:
    a = random.randint(least, most - 1)
    return random.choice(
        [
            "*", "*", f"*/{random.randint(1, most)}", str(a), f"{a}-{random.randint(a + 1, most)}",
            f"{a}-{random.randint(a + 1, most)}/{random.randint(1, 9)}",
            f"{a}/{random.randint(1, 9)}", f"{random.randint(least, most)},{a}",
        ]
    )  # fmt: skip


def any_line(random: random.Random) -> str:
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    return " ".join(one_field(random, least, most) for least, most in bounds)


def coming(cron: Cron, after: datetime, zone: str) -> Iterator[datetime]:
    while (following := cron.following(after, ZoneInfo(zone))) is not None:
        yield (after := following)


def test_a_line_comes_when_the_library_of_debian_cron_says() -> None:
    # The library loses an instant where clocks change by half an hour.
    zones = [zone for zone in CHANGES if zone != "Australia/Lord_Howe"]
    drawn, compared = random.Random(1), 0
    while compared < 200:
        text, zone = any_line(drawn), drawn.choice(zones)
        near = datetime.fromisoformat(drawn.choice(CHANGES[zone]))
        after = near + drawn.randint(-90, 90) * MINUTE * drawn.choice([1, 1000])
        try:
            library = CronSim(text, after.astimezone(ZoneInfo(zone)))
        except CronSimError:
            # It also refuses a day that no month has where a day of the week would do.
            continue
        expected = [one.astimezone(UTC) for one in islice(library, 5)]
        assert list(islice(coming(Cron.parse(text), after, zone), 5)) == expected, (text, zone)
        compared += 1


def by_hand(cron: str, zone: str, begin: datetime, minutes: int) -> list[datetime]:
    """Look at the clock each minute; a fixed time also comes when the clock jumps over it."""
    minute, hour, *_ = cron.split()
    fixed = not (minute.startswith("*") or hour.startswith("*"))
    line, found, seen = Cron.parse(cron), [], set[datetime]()
    before = (begin - MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for number in range(minutes):
        at = begin + number * MINUTE
        clock = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        passed = {clock}
        while fixed and before + MINUTE < clock:
            passed.add(before := before + MINUTE)
        before = clock
        due = {
            one for one in passed
            if one.minute in line.minutes and one.hour in line.hours and line._falls_on(one.date())
        }  # fmt: skip
        if due - seen if fixed else due:
            found.append(at)
        seen |= due
    return found


@pytest.mark.parametrize("zone", CHANGES)
def test_around_a_change_of_clocks_a_line_comes_as_a_clock_that_is_watched(zone: str) -> None:
    drawn = random.Random(zone)
    lines = ["30 2 * * *", "*/20 * * * *", "15 0-4 * * *", "0,30 2 * * *", "* * * * *"]
    for change in CHANGES[zone]:
        begin = datetime.fromisoformat(change) - 120 * MINUTE
        for text in [*lines, *(f"{drawn.randint(0, 59)} {drawn.randint(0, 4)} * * *",)]:
            expected = by_hand(text, zone, begin, 420)
            came = coming(Cron.parse(text), begin - MINUTE, zone)
            assert list(islice(came, len(expected))) == expected, (text, change)
            for one in expected[-20:]:
                cron, tz = Cron.parse(text), ZoneInfo(zone)
                assert cron.latest(one - 30 * MINUTE, one, tz) == one
                earlier = [other for other in expected if other < one]
                assert cron.latest(begin - MINUTE, one - MINUTE / 2, tz) == max(
                    earlier, default=None
                )


@pytest.mark.parametrize(
    ("text", "after", "zone", "expected"),
    [
        # 02:30 does not exist: at once when the clock shows a time again.
        ("30 2 * * *", "2026-03-28T12:00Z", "Europe/Berlin", ["2026-03-29T01:00Z"]),
        # 02:30 exists twice: the first time only.
        (
            "30 2 * * *", "2026-10-24T12:00Z", "Europe/Berlin",
            ["2026-10-25T00:30Z", "2026-10-26T01:30Z"],
        ),
        ("0 22 * * mon-fri", "2026-11-27T22:00Z", "UTC", ["2026-11-30T22:00Z"]),
        ("0 0 31 * *", "2026-01-31T00:00Z", "UTC", ["2026-03-31T00:00Z", "2026-05-31T00:00Z"]),
        ("0 0 29 feb *", "2026-01-01T00:00Z", "UTC", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
        ("0 0 29 2 */7", "2026-01-01T00:00Z", "UTC", ["2032-02-29T00:00Z"]),
        # Either the first of the month or a Monday.
        ("0 0 1 * 1", "2026-08-30T00:00Z", "UTC", ["2026-08-31T00:00Z", "2026-09-01T00:00Z"]),
        ("0 0 * * 7", "2026-11-26T00:00Z", "UTC", ["2026-11-29T00:00Z"]),
        ("0 0 * * SUN", "2026-11-26T00:00Z", "UTC", ["2026-11-29T00:00Z"]),
        ("0 0 30 2 1", "2026-02-01T00:00Z", "UTC", ["2026-02-02T00:00Z"]),
    ],
)  # fmt: skip
def test_a_line_comes_on_days_of_months_and_weeks_and_when_clocks_change(
    text: str, after: str, zone: str, expected: list[str]
) -> None:
    came = coming(Cron.parse(text), datetime.fromisoformat(after), zone)
    found = list(islice(came, len(expected)))
    assert found == [datetime.fromisoformat(one) for one in expected]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has 0 fields, not 5"),
        ("0 22 * *", "it has 4 fields"),
        ("0 0 22 * * *", "it has 6 fields"),
        ("60 * * * *", "its minute must be from 0 to 59"),
        ("0 24 * * *", "its hour must be from 0 to 23"),
        ("0 0 0 * *", "its day of the month must be from 1 to 31"),
        ("0 0 * 13 *", "its month must be from 1 to 12"),
        ("0 0 * * 8", "its day of the week must be from 0 to 7"),
        ("5-1 * * * *", "its minute must be from 0 to 59, in order"),
        ("0 0 * * fri-mon", "its day of the week must be from 0 to 7, in order"),
        ("*/0 * * * *", "its minute must be"),
        ("1,,2 * * * *", "its minute cannot be read"),
        ("-5 * * * *", "its minute cannot be read"),
        ("0 noon * * *", "its hour cannot be read"),
        ("0 0 * mon *", "its month cannot be read"),
        ("0 0 L * *", "its day of the month cannot be read"),
        ("0 0 ٣ * *", "its day of the month cannot be read"),
        ("0 0 30 2 *", "no month has that day"),
        ("0 0 31 4,6,9,11 *", "no month has that day"),
    ],
)
def test_a_line_that_is_none_or_never_comes_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Cron.parse(text)
