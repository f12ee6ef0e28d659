"""When the work may go on: a deny beats an allow, soon is waited for, later ends the step."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from prefect_maintenance.events import Events, Progress
from prefect_maintenance.pace.governors import Moment, Stop, Wait
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.windows import WAIT_AT_MOST, Windows, opening, seconds_left
from prefect_maintenance.request.windows import Window, parse_windows

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AT = Moment("log", 0, 0)
NIGHT = {"cron": "0 22 * * *", "duration": "4h", "timezone": "Europe/Berlin"}


def some(*told: dict[str, Any]) -> tuple[Window, ...]:
    return parse_windows({"windows": list(told)})


def deny(cron: str, duration: str) -> dict[str, Any]:
    return {"cron": cron, "duration": duration, "kind": "deny"}


def asked(at: datetime, *told: dict[str, Any]) -> Wait | Stop | None:
    return Windows(some(*told), lambda: at)(AT)


def test_without_any_window_and_within_one_the_work_goes_on() -> None:
    assert asked(NOON) is None
    assert asked(NOON, {"cron": "0 12 * * *", "duration": "1h"}) is None
    assert asked(NOON, deny("0 13 * * *", "1h")) is None


def test_a_deny_beats_an_allow() -> None:
    allow = {"cron": "0 10 * * *", "duration": "6h"}
    assert asked(NOON, allow) is None
    answer = asked(NOON, allow, deny("0 11 * * *", "2h"))
    assert isinstance(answer, Stop)
    assert answer.goes_on == NOON + timedelta(hours=1)


def test_with_one_allow_the_work_is_only_done_inside() -> None:
    answer = asked(NOON, NIGHT)
    assert isinstance(answer, Stop)
    assert answer.why == (
        "no window was open while at log; the next run goes on in the next window, which "
        "opens 2026-11-26 22:00 Europe/Berlin"
    )
    assert answer.goes_on is not None
    assert answer.goes_on.isoformat(timespec="minutes") == "2026-11-26T22:00+01:00"


def test_a_window_that_opens_within_minutes_is_waited_for() -> None:
    opens = datetime(2026, 11, 26, 21, tzinfo=UTC)
    answer = asked(opens - WAIT_AT_MOST, NIGHT)
    assert isinstance(answer, Wait)
    assert answer.kind == "window"
    assert answer.why == "no window is open before 2026-11-26 22:00 Europe/Berlin"
    # The other governors are to be asked meanwhile.
    assert answer.seconds == 1
    assert isinstance(asked(opens - WAIT_AT_MOST - MINUTE, NIGHT), Stop)
    last = asked(opens - timedelta(seconds=0.25), NIGHT)
    assert isinstance(last, Wait)
    assert last.seconds == 0.25
    assert asked(opens, NIGHT) is None


def test_the_wait_for_a_window_is_counted_and_ends_when_it_opens() -> None:
    opens = datetime(2026, 11, 26, 21, tzinfo=UTC)
    clock = iter([opens - timedelta(seconds=0.02), opens])
    pace = Pace(Events(), (Windows(some(NIGHT), lambda: next(clock)),))
    pace(Progress("log", 1, 2))
    assert pace.events.waited == {"window": 0.02}


@pytest.mark.parametrize(
    "told",
    [
        [deny("* * * * *", "1m")],
        [deny("0 0 * * *", "1d")],
        [{"cron": "0 12 * * *", "duration": "1h"}, deny("30 11 * * *", "2h")],
    ],
)
def test_windows_that_leave_no_time_are_a_failure(told: list[dict[str, Any]]) -> None:
    answer = asked(NOON, *told)
    assert isinstance(answer, Stop)
    assert answer.goes_on is None
    assert "none opens again" in answer.why
    assert answer.remedy == "correct prefect_maintenance_windows"


@pytest.mark.parametrize(
    ("told", "hours"),
    [
        ([], math.inf),
        ([NIGHT], 4),
        ([{"cron": "0 10 * * *", "duration": "3h"}], 1),
        # The second one goes on where the first one ends, and the deny ends both.
        ([{"cron": "0 10 * * *", "duration": "3h"}, {"cron": "0 13 * * *", "duration": "3h"}], 4),
        ([{"cron": "0 * * * *", "duration": "1h"}, deny("0 18 * * *", "1h")], 6),
        ([deny("0 11 * * *", "2h")], 22),
        ([deny("0 0 1 1 *", "1h")], math.inf),
        ([{"cron": "0 * * * *", "duration": "1h"}], math.inf),
        ([deny("* * * * *", "1m")], math.inf),
    ],
)
def test_the_time_that_windows_leave_is_that_until_the_first_closing(
    told: list[dict[str, Any]], hours: float
) -> None:
    assert seconds_left(some(*told), NOON) == hours * 3600


def drawn_window(drawn: random.Random) -> dict[str, Any]:
    minute, hour = drawn.choice(["0", "*/20", "7,41"]), drawn.choice(["*", "2", "*/5", "22-23"])
    return {
        "cron": f"{minute} {hour} * * {drawn.choice(['*', '6,0', '1-5'])}",
        "duration": drawn.choice(["5m", "20m", "1h30m", "9h", "26h"]),
        "timezone": drawn.choice(["UTC", "Europe/Berlin", "America/New_York"]),
        "kind": drawn.choice(["allow", "deny"]),
    }


@pytest.mark.parametrize("seed", range(6))
def test_work_is_allowed_in_the_very_minutes_that_the_windows_leave(seed: int) -> None:
    """Each window's openings laid out one by one, over two days around a change of clocks."""
    drawn = random.Random(seed)
    windows = some(*(drawn_window(drawn) for _ in range(drawn.randint(1, 4))))
    change = drawn.choice(["2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-11-01T06:00Z"])
    begin = datetime.fromisoformat(change) - timedelta(days=1)
    minutes = [begin + n * MINUTE for n in range(2 * 24 * 60)]
    times = {True: set[datetime](), False: set[datetime]()}
    for window in windows:
        opens = window.opens_after(begin - timedelta(days=3))
        while opens is not None and opens <= minutes[-1]:
            times[window.allows].update(m for m in minutes if opens <= m < opens + window.duration)
            opens = window.opens_after(opens)
    allowed = times[True] if any(window.allows for window in windows) else set(minutes)
    free = sorted(allowed - times[False])
    for one, following in pairwise([begin - MINUTE, *free]):
        found = opening(windows, following)
        assert found is not None
        assert found.at == following
        # From a minute that is not free, the next free one is when work goes on.
        if one >= begin and following - one > MINUTE:
            found = opening(windows, one + MINUTE)
            assert found is not None
            assert found.at == following
    shut = drawn.sample(sorted(set(minutes) - set(free)) or minutes[:1], 1)[0]
    found = opening(windows, shut)
    assert (found is not None and found.at == shut) == (shut in free)
