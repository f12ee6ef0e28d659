"""The work waits for the server, gives up in the end, and follows limits that change meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect_maintenance.measure.load import Autovacuum, Load, Standby
from prefect_maintenance.pace.batch_size import BatchSize
from prefect_maintenance.pace.governors import Answer, Moment, Stop, Wait
from prefect_maintenance.pace.limits_file import Limits
from prefect_maintenance.pace.nice import Nice
from prefect_maintenance.pace.throttling import Throttling
from prefect_maintenance.request.throttle import OFF, Throttle

MIB = 2**20


@dataclass
class Server:
    """Has the load that a test gives it."""

    now: Load | None = None
    told: int = 0

    def __call__(self) -> Load | None:
        return self.now

    def warn_hidden_wal(self) -> None:
        self.told += 1


@dataclass
class Site:
    """A server, thresholds, and a governor that looks at both."""

    server: Server = field(default_factory=Server)
    limits: Throttle = field(default_factory=Throttle)

    def __post_init__(self) -> None:
        self.governor = Throttling(lambda: self.limits, self.server)

    def answer(self, load: Load | None, waited: float = 0.0) -> Answer:
        self.server.now = load
        return self.governor(Moment("log", 0.1, waited))


def behind(mib: int) -> Load:
    return Load(standbys=(Standby("b", mib * MIB),))


def test_a_wait_has_room_before_it_ends_and_none_before_it_begins() -> None:
    site = Site()
    assert site.answer(behind(250)) is None
    assert site.answer(behind(257)) == Wait("standby b is 257.0 MiB behind", 1.0, "replica")
    assert site.answer(behind(250)) == Wait("standby b is 250.0 MiB behind", 1.0, "replica")
    assert site.answer(behind(204)) is None
    assert site.answer(behind(250)) is None


def test_what_ends_a_server_first_is_said_first() -> None:
    answer = Site().answer(Load(standbys=behind(300).standbys, archive=99, active=99))
    assert isinstance(answer, Wait)
    assert (answer.kind, answer.why) == ("archive", "99 WAL segments wait for the archive")


def test_a_server_that_cannot_be_seen_is_not_waited_for_and_takes_nobody_for_gone() -> None:
    site = Site()
    assert site.answer(behind(0)) is None
    assert site.answer(None) is None
    assert isinstance(site.answer(Load()), Wait)


def test_an_autovacuum_that_cleans_up_after_the_run_itself_is_not_waited_for() -> None:
    site, load = Site(), Load(vacuumed=(Autovacuum("log", 7),))
    site.governor.touched = frozenset({"log"})
    assert site.answer(load) is None
    site.governor = Throttling(lambda: site.limits, site.server)
    assert site.answer(load) == Wait("autovacuum is at work on log", 1.0, "autovacuum")


def test_the_first_look_that_can_be_had_is_what_others_are_compared_with() -> None:
    site = Site()
    assert site.answer(None) is None
    assert site.answer(Load(active=40)) is None
    assert site.answer(Load(active=99)) is None


def test_a_wait_that_takes_too_long_ends_the_step_and_says_what_it_waited_for() -> None:
    site = Site(limits=Throttle(give_up=60))
    assert isinstance(site.answer(behind(300)), Wait)
    assert isinstance(site.answer(behind(300), waited=59.9), Wait)
    answer = site.answer(behind(300), waited=60)
    assert isinstance(answer, Stop)
    assert answer.why == (
        "gave up after 60 s of waiting at log: standby b is 300.0 MiB behind; run again to go on"
    )
    site.limits = Throttle(give_up=0)
    assert isinstance(site.answer(behind(300), waited=10**6), Wait)


def test_what_others_had_waited_for_before_does_not_count() -> None:
    site = Site(limits=Throttle(give_up=60))
    assert site.answer(behind(0)) is None
    assert isinstance(site.answer(behind(300), waited=9000), Wait)
    assert site.answer(behind(0), waited=9059) is None
    assert isinstance(site.answer(behind(300), waited=9090), Wait)
    assert isinstance(site.answer(behind(300), waited=9149), Wait)
    assert isinstance(site.answer(behind(300), waited=9150), Stop)


def test_nothing_is_looked_at_once_it_is_all_off() -> None:
    site = Site(limits=OFF)
    assert site.answer(behind(999)) is None
    assert site.governor._first is None


def test_an_api_that_has_become_slow_is_waited_for() -> None:
    @dataclass
    class Api:
        """Takes as long as a test says."""

        idle: float | None = 0.1
        now: float | None = None

        def __call__(self) -> float | None:
            return self.now

    api, site = Api(), Site()
    site.governor.latency = api
    assert site.answer(None) is None
    api.now = 0.31
    assert site.answer(None) == Wait(
        "the Prefect API takes 310 ms to answer, 100 ms before", 1.0, "api"
    )
    api.now = 0.2
    assert site.answer(None) is None


def test_wal_that_is_hidden_is_said_where_it_has_a_threshold() -> None:
    site = Site()
    site.answer(Load())
    assert site.server.told == 0
    site.limits = Throttle(wal_bytes=1)
    site.answer(Load())
    assert site.server.told == 1


def test_nice_waits_as_often_as_long_as_the_batch_took_and_never_long_at_once() -> None:
    nice = Nice(lambda: Throttle(nice=2))
    assert nice(Moment("log", worked=0.2, waited=0.0)) == Wait(
        "2 times as long as the batch took", 0.4, "nice"
    )
    assert nice(Moment("log", worked=0.2, waited=0.4)) is None
    answer = nice(Moment("log", worked=60.0, waited=0.0))
    assert isinstance(answer, Wait)
    assert answer.seconds == 1.0
    assert Nice(Throttle)(Moment("log", worked=60.0, waited=0.0)) is None


def test_batches_shrink_while_they_take_too_long_and_grow_back_to_what_was_asked_for() -> None:
    batches = BatchSize(lambda: 0.5)
    assert batches.of(20_000) == 20_000
    batches.took(0.6)
    assert batches.of(20_000) == 16_000
    batches.took(0.47)
    assert batches.of(20_000) == 16_000
    batches.took(0.1)
    assert batches.of(20_000) == 17_600
    for _ in range(5):
        batches.took(0.1)
        assert batches.of(20_000) <= 20_000
    assert batches.of(20_000) == 20_000


def test_a_batch_never_gets_so_small_that_nothing_goes_on() -> None:
    batches = BatchSize(lambda: 0.5)
    for _ in range(99):
        batches.of(20_000)
        batches.took(9.0)
    assert batches.of(20_000) == 100
    assert batches.of(7) == 1


def test_only_what_asked_for_a_size_says_something_of_the_next_and_no_target_changes_none() -> None:
    batches = BatchSize(lambda: 0.5)
    batches.took(9.0)
    assert batches.of(20_000) == 20_000
    batches.took(9.0)
    batches.took(9.0)
    assert batches.of(20_000) == 16_000
    batches.target = float
    batches.took(9.0)
    assert batches.of(20_000) == 20_000


@dataclass
class Watched:
    """A limits file, what was said of it, and a clock."""

    path: Path
    told: list[str] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.limits = Limits(Throttle(nice=1), self.path, self.told.append, lambda: self.now)

    def after(self, text: str | None, *, seconds: float = 1.0) -> Throttle:
        """Return the limits after the file was written, or removed."""
        if text is None:
            self.path.unlink()
        else:
            beside = self.path.with_suffix(".new")
            beside.write_text(text)
            beside.replace(self.path)
        self.now += seconds
        return self.limits()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "limits")


def test_the_limits_are_those_of_the_file_while_there_is_one(watched: Watched) -> None:
    assert watched.limits() == Throttle(nice=1)
    assert watched.after('{"give_up": 7}') == Throttle(nice=1, give_up=7)
    assert watched.after('{"enabled": false}') == OFF
    assert watched.after(None) == Throttle(nice=1)
    assert watched.told == []


def test_the_file_is_looked_at_once_a_second(watched: Watched) -> None:
    watched.limits()
    assert watched.after('{"give_up": 7}', seconds=0.9).give_up == 3600
    watched.now += 0.1
    assert watched.limits().give_up == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "{path} is not JSON"),
        ("[1]", "{path} must map thresholds to numbers"),
        ('{"give_up": -1}', "{path}.give_up must be a whole number"),
        ('{"given_up": 1}', "{path} names an unknown threshold: 'given_up'"),
        ('{"nice": NaN}', "{path}.nice must be a number"),
        (json.dumps({"nice": "1" * 70_000}), "{path} has more than 65536 bytes"),
    ],
)
def test_a_content_that_cannot_be_is_said_once_and_the_limits_stay(
    watched: Watched, content: str, said: str
) -> None:
    assert watched.after('{"give_up": 7}').give_up == 7
    assert watched.after(content).give_up == 7
    watched.now += 5
    assert watched.limits().give_up == 7
    assert len(watched.told) == 1
    assert watched.told[0].startswith(said.format(path=watched.path))
    assert watched.told[0].endswith("; the limits stay as they were")
    assert watched.after('{"give_up": 8}').give_up == 8
