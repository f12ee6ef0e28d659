"""The API way leaves the server its turn and keeps to its time, on a clock that a test turns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from prefect_maintenance.errors import Stopped
from prefect_maintenance.events import Events, Progress
from prefect_maintenance.execute import api_pace
from prefect_maintenance.execute.api_pace import ApiPace
from prefect_maintenance.pace.governors import Answer, Moment, Stop, Wait
from prefect_maintenance.pace.pace import Pace

IDLE = 0.02


@dataclass
class Server:
    """A server whose reads and calls take what a test says, on a clock of its own."""

    read_seconds: float = IDLE
    run_seconds: float = 0.004
    answers: bool = True
    now: float = 0.0
    next_reads: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def read(self) -> bool:
        self.now += self.next_reads.pop(0) if self.next_reads else self.read_seconds
        return self.answers

    def pace(self, most: int = 50, budget: float = math.inf) -> ApiPace:
        made = ApiPace(read=self.read, most=most, budget=budget, clock=self.clock)
        made.begin()
        return made

    def call(self, pace: ApiPace) -> int:
        size = pace.size
        with pace.calling(size):
            self.now += size * self.run_seconds
        return size


def asked(pace: ApiPace, waited: float = 0.0) -> Answer:
    return pace(Moment("flow_run", 0.0, waited))


def wait(pace: ApiPace, waited: float = 0.0) -> Wait:
    answer = asked(pace, waited)
    assert isinstance(answer, Wait)
    assert answer.kind == "api"
    return answer


def sizes(server: Server, pace: ApiPace, calls: int) -> Iterator[int]:
    for _ in range(calls):
        yield server.call(pace)


def test_a_call_grows_until_it_lasts_as_long_as_reads_can_bear() -> None:
    server = Server()
    *_, last = sizes(server, server.pace(), 20)
    # Calls of twice an idle read: whoever reads meanwhile waits three times as long as idle.
    assert last in (9, 10)
    server.run_seconds = IDLE / 100
    assert list(sizes(server, server.pace(), 20))[-1] == 50
    server.run_seconds = 1.0
    assert list(sizes(server, server.pace(), 20))[-1] == 1


def test_a_call_is_never_larger_than_was_asked_for() -> None:
    server = Server(run_seconds=0.0)
    assert set(sizes(server, server.pace(most=2), 10)) == {2}


def test_the_next_call_waits_until_reads_are_nearly_as_quick_as_before_the_first() -> None:
    server = Server()
    pace = server.pace()
    assert asked(pace) is None
    server.now += api_pace.EVERY
    server.next_reads = [1.01 * api_pace.SLOWER * IDLE, IDLE, IDLE, 10.0, IDLE, 1.1 * IDLE]
    told = wait(pace)
    assert told.seconds == pytest.approx(3.03 * IDLE)
    assert told.why == "a read of the API: 61 ms, idle 20 ms"
    # A stop is heeded between two waits, so none is long.
    assert wait(pace).seconds == 1.0
    assert asked(pace) is None


def test_a_server_that_was_quick_is_not_looked_at_between_any_two_calls() -> None:
    server = Server()
    pace = server.pace()
    assert asked(pace) is None
    server.read_seconds = 1.0
    server.now += 0.9 * api_pace.EVERY
    before = server.now
    assert asked(pace) is None
    assert server.now == before
    server.now += 0.1 * api_pace.EVERY
    assert wait(pace).seconds == 1.0
    # A server that was slow is looked at before the next call, however soon that comes.
    assert wait(pace).seconds == 1.0


def test_a_server_that_answers_no_read_is_waited_for() -> None:
    server = Server()
    pace = server.pace()
    server.answers = False
    assert "no answer" in wait(pace).why


def test_a_server_that_stays_slow_gets_a_small_call_from_time_to_time() -> None:
    server = Server()
    pace = server.pace()
    server.read_seconds = 1.0
    wait(pace, waited=59.9)
    assert asked(pace, waited=60.0) is None


def test_nobody_waits_after_the_last_call() -> None:
    server = Server()
    pace = server.pace()
    pace.put_off(10.0, "the Prefect API answered 503")
    pace.end()
    assert asked(pace) is None


def test_the_budget_counts_calls_reads_and_pauses_and_no_wait_outlasts_it() -> None:
    server = Server()
    pace = server.pace(budget=2.0)
    before = pace.spent
    assert before == pytest.approx(11 * IDLE)
    server.read_seconds = 0.3
    assert wait(pace).seconds == pytest.approx(0.3)
    assert pace.spent == pytest.approx(before + 0.9)
    assert wait(pace).seconds == pytest.approx(0.5 - before)
    assert pace.spent == pytest.approx(2.0)
    assert asked(pace) is None
    assert pace.over(1) == "api_budget (2 s) was used up"


def test_the_first_calls_tell_whether_the_rest_fits_the_budget() -> None:
    server = Server(run_seconds=0.1)
    pace = server.pace(budget=100.0)
    assert pace.over(10**6) == ""
    done = sum(sizes(server, pace, 10))
    per_run = pace.spent / done
    fits = int((100.0 - pace.spent) / per_run)
    assert pace.over(fits) == ""
    assert f"the other {fits + 2:,} would take" in pace.over(fits + 2)


def test_without_a_budget_nothing_is_too_much() -> None:
    server = Server(run_seconds=1e6)
    pace = server.pace()
    list(sizes(server, pace, 20))
    assert pace.over(10**9) == ""


def test_a_server_that_asks_to_be_called_later_is_called_no_sooner() -> None:
    server = Server()
    pace = server.pace()
    pace.put_off(1.5, "the Prefect API answered 503")
    assert wait(pace) == Wait("the Prefect API answered 503", 1.0, "api")
    server.now += 1.0
    assert wait(pace).seconds == pytest.approx(0.5)
    server.now += 0.5
    assert asked(pace) is None


def test_a_stop_is_heeded_in_a_pause() -> None:
    server = Server()
    pace = server.pace()
    pace.put_off(3600, "the Prefect API answered 503")
    asked_to_stop: list[Moment] = []

    def stop(moment: Moment) -> Answer:
        asked_to_stop.append(moment)
        return Stop("stopped by the file") if len(asked_to_stop) > 1 else None

    slept = Pace(Events(), (pace, stop))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect_maintenance.pace.pace.time.sleep", lambda _seconds: None)
        with pytest.raises(Stopped, match="stopped by the file"):
            slept(Progress("flow_run", 1, 2))
    assert slept.events.waited == {"api": 1.0}
