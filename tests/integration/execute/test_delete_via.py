"""Flow runs go through the API while that fits its budget and the server bears it, else by SQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import sqlalchemy as sa
from maintenance import engine_for, request, run_step
from prefect_maintenance.errors import ConnectionFailed
from prefect_maintenance.events import FellBack
from prefect_maintenance.execute import flow_runs
from prefect_maintenance.pace.pace import Pace
from takers import OLD, Instead, between, fill_with_what_goes
from world import dump

from lab.server import PrefectServer

READ, DELETION = "/flow_runs/filter", "/flow_runs/bulk_delete"
# What `fill_with_what_goes` makes: runs that the API can guard, and others that go.
SINGLES, OTHERS = 12, 6 + 2 * 7
THROUGH_API = {"api": SINGLES, "sql": OTHERS}


@pytest.fixture
def engine(shared_server: PrefectServer) -> Iterator[sa.Engine]:
    engine = engine_for(shared_server.db_url)
    fill_with_what_goes(engine)
    yield engine
    engine.dispose()


def old_runs(engine: sa.Engine) -> int:
    return sum(run["end_time"] == OLD for run in dump(engine, ["flow_run"])["flow_run"].values())


def fallbacks(pace: Pace) -> list[str]:
    return [told.why for told in pace.events.kept if isinstance(told, FellBack)]


@pytest.mark.parametrize("way", ["auto", "api", "sql"])
def test_a_check_tells_the_way_of_every_row_that_the_run_takes(
    shared_server: PrefectServer, engine: sa.Engine, way: str
) -> None:
    asked = request(shared_server, run_delete_via=way, batch_size=50)
    checked = run_step("delete", asked, check=True).report
    done = run_step("delete", asked).report
    assert checked.delete_via == done.delete_via
    assert done.delete_via["way"] == ("sql" if way == "sql" else "mixed")
    for name in ("flow_run", "task_run", "artifact", "flow_run_state"):
        ways = checked.table(name).ways
        assert ways == done.table(name).ways
        assert checked.table(name).strategy_why == done.table(name).strategy_why
    expected = {"sql": SINGLES + OTHERS} if way == "sql" else THROUGH_API
    assert done.table("flow_run").ways == expected


def test_without_an_api_all_goes_by_sql_and_the_report_says_why(engine: sa.Engine) -> None:
    done = run_step("delete", request(engine)).report
    assert (done.delete_via["way"], done.delete_via["why"]) == ("sql", "there is no api_url")
    assert done.table("flow_run").ways == {"sql": SINGLES + OTHERS}


@dataclass
class Slow:
    """Holds two reads after the first call, for longer than any read took before it."""

    arrivals: list[float] = field(default_factory=list)
    calls: int = 0
    held: int = 0

    def __call__(self, path: str) -> Instead | None:
        if path.endswith(DELETION):
            self.calls += 1
        elif path.endswith(READ) and not self.calls:
            self.arrivals.append(time.monotonic())
        elif path.endswith(READ) and self.held < 2:
            self.held += 1
            # They come one after the other, so no read took longer than that.
            longest = max(later - sooner for sooner, later in pairwise(self.arrivals))
            threading.Event().wait(4 * longest)
        return None


def test_the_next_call_comes_when_the_server_is_as_quick_as_before(
    shared_server: PrefectServer, engine: sa.Engine
) -> None:
    slow, pace = Slow(), Pace()
    with between(shared_server, instead=slow) as url:
        asked = request(shared_server.db_url, api_url=url, batch_size=5)
        done = run_step("delete", asked, pace=pace).report
    assert slow.held == 2
    assert pace.events.waited["api"] > 0
    assert done.table("flow_run").ways == THROUGH_API
    assert fallbacks(pace) == []


def test_what_does_not_fit_the_budget_after_all_goes_by_sql(
    shared_server: PrefectServer, engine: sa.Engine
) -> None:
    pace = Pace()

    def come_later(path: str) -> Instead | None:
        return (503, {"Retry-After": "3600"}) if path.endswith(DELETION) else None

    with between(shared_server, instead=come_later) as url:
        asked = request(shared_server.db_url, api_url=url, api_budget=1)
        done = run_step("delete", asked, pace=pace).report
    assert old_runs(engine) == 0
    assert done.delete_via["way"] == "sql"
    assert done.delete_via["why"].endswith("the rest by SQL: api_budget (1 s) was used up")
    assert done.table("flow_run").ways == {"sql": SINGLES + OTHERS}
    assert pace.events.waited.get("api", 0.0) <= 1.0


def test_a_server_under_maintenance_is_waited_for_however_often_it_says_so(
    shared_server: PrefectServer, engine: sa.Engine
) -> None:
    answers = [(503, {"Retry-After": "0", "Prefect-Maintenance": "true"})] * (flow_runs.TRIES + 1)
    pace = Pace()

    def maintained(path: str) -> Instead | None:
        return answers.pop() if answers and path.endswith(DELETION) else None

    with between(shared_server, instead=maintained) as url:
        asked = request(shared_server.db_url, api_url=url)
        done = run_step("delete", asked, pace=pace).report
    assert answers == []
    assert done.table("flow_run").ways == THROUGH_API
    assert fallbacks(pace) == []


def test_what_the_server_deletes_after_the_call_for_it_has_failed_is_counted_once(
    shared_server: PrefectServer, engine: sa.Engine
) -> None:
    refused, looked = threading.Event(), threading.Event()

    def late(path: str) -> Instead | None:
        if path.endswith(READ) and refused.is_set():
            looked.set()
        if not path.endswith(DELETION) or refused.is_set():
            return None
        refused.set()
        return 503, {"Retry-After": "0"}

    def work_on() -> None:
        if refused.is_set():
            looked.wait(20)

    before = {name: len(rows) for name, rows in dump(engine).items()}
    with between(shared_server, work_on, late, afterwards=True) as url:
        asked = request(shared_server.db_url, api_url=url)
        done = run_step("delete", asked).report
    left = {name: len(rows) for name, rows in dump(engine).items()}
    assert looked.is_set()
    assert done.table("flow_run").ways == THROUGH_API
    for name in ("flow_run", "flow_run_state", "task_run", "log"):
        assert done.deleted[name] == before[name] - left[name], name


@pytest.mark.parametrize("way", ["auto", "api"])
def test_a_server_that_is_lost_in_the_middle_is_replaced_by_sql_unless_it_was_asked_for(
    shared_server: PrefectServer, engine: sa.Engine, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_runs, "TRIES", 1)
    deletions: list[str] = []

    def hang_up(path: str) -> Instead | None:
        deletions.extend([path] * path.endswith(DELETION))
        if len(deletions) > 1:
            raise OSError
        return None

    with between(shared_server, instead=hang_up) as url:
        asked = request(shared_server.db_url, api_url=url, run_delete_via=way, batch_size=5)
        if way == "api":
            with pytest.raises(ConnectionFailed, match="cannot reach the Prefect API"):
                run_step("delete", asked)
            assert old_runs(engine) == SINGLES - 5 + OTHERS
            return
        done = run_step("delete", asked).report
    assert old_runs(engine) == 0
    assert done.delete_via["way"] == "mixed"
    assert "the API failed: cannot reach the Prefect API" in done.delete_via["why"]
    assert done.table("flow_run").ways == {"api": 5, "sql": SINGLES - 5 + OTHERS}
