"""Which runs are stuck: unfinished for longer than their state may last, without a sign of life."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from ..catalogue import FLOW_RUN
from ..database.connection import Database
from ..request.instants import iso, now
from ..server.stuck import heard_of, paused
from .hanging import count_leaving
from .rules import Rules
from .signs_of_life import empty_tables, find_families, instant, make_tables, newest_signs
from .words import listed, words

if TYPE_CHECKING:
    from ..server.api import PrefectApi

LATE = "LATE"
# Names of the state SCHEDULED in which a run waits for its first start. In the others, such as
# AwaitingRetry and Resuming, it has started before.
LATE_NAMES = ("Late", "Scheduled")
# A worker sends a heartbeat every 30 seconds. One that was heard of since is taken to live: its
# machine may have been away for a while.
_HEARD = timedelta(hours=1)
_HOLD = "a tag of it, or of a run that hangs together with it, is a hold"
# Runs whose rows one statement counts.
_COUNTED = 1000

_STUCK = "INSERT INTO prefect_maintenance_stuck (id) SELECT r.id FROM flow_run r WHERE {overdue}"
_OVERDUE = "r.state_type = '{state}' AND r.state_timestamp < :cutoff"
# A run that was given another time keeps the time at which it was first expected.
_OVERDUE_LATE = f"""
    r.state_type = 'SCHEDULED' AND r.state_name IN ({words(LATE_NAMES)})
    AND r.expected_start_time < :cutoff AND r.next_scheduled_start_time < :cutoff
    AND r.start_time IS NULL AND r.run_count = 0 AND r.parent_task_run_id IS NULL
"""
# Parents before their subflows: once one has ended, it is no sign of life of those below it.
_FOUND = """
SELECT CAST(r.id AS VARCHAR) AS id, r.name AS name, r.state_name AS state_name, r.{since} AS since,
       CAST(r.labels AS VARCHAR) AS labels, CAST(r.deployment_id AS VARCHAR) AS deployment,
       CAST(r.work_queue_id AS VARCHAR) AS queue, CAST(r.tags AS VARCHAR) AS tags, {held} AS held
FROM prefect_maintenance_stuck s JOIN flow_run r ON r.id = s.id
ORDER BY r.created, r.id
"""
_HELD = """EXISTS (
    SELECT 1 FROM prefect_maintenance_stuck_family f JOIN flow_run h ON h.id = f.member
    WHERE f.run = r.id AND {held})
"""

_RESTARTS = """
SELECT CAST(e.resource AS VARCHAR) FROM events e
WHERE e.event = 'prefect.worker.started' AND e.occurred > :since
"""
_TASK_RUNS = """
SELECT CAST(t.id AS VARCHAR) FROM task_run t
WHERE t.flow_run_id IN {run} AND {unfinished}
  AND NOT EXISTS (SELECT 1 FROM flow_run c WHERE c.parent_task_run_id = t.id)
"""
_LEFT = "SELECT CAST(r.id AS VARCHAR) FROM flow_run r WHERE r.id IN {ids}"

# Stands for an instant before all that Python has, such as minus infinity.
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class StuckRun:
    """A run that has been unfinished for longer than its state may last.

    Attributes:
        id: of the run.
        name: of the run.
        state: that it is in; LATE is one that was scheduled and never started.
        since: when it came into that state; of a late one, when it was to start.
        seconds: since then.
        why_not: why it is left as it is; None where it is ended, or would be.
        done: whether it was ended, or a late one deleted.
        worker: that it was given to; empty where nothing tells.
    """

    id: str
    name: str
    state: str
    since: str
    seconds: int
    why_not: str | None = None
    done: bool = False
    worker: str = ""

    @property
    def due(self) -> bool:
        """Whether it is still to be ended."""
        return self.why_not is None and not self.done


@dataclass(frozen=True)
class Overdue:
    """A stuck run as it is found, with what else has to be asked about it.

    Attributes:
        run: as the report has it.
        at: when it came into its state.
        pool: of the worker that it was given to.
        suspended: it has no process, so no worker has it.
        tagged: it has tags.
        deployment: that it is of.
        queue: that it waits in.
    """

    run: StuckRun
    at: datetime
    pool: str
    suspended: bool
    tagged: bool
    deployment: str | None
    queue: str | None


@dataclass(frozen=True)
class StuckRuns:
    """Finds stuck runs; asked again about one, it says what is true by then.

    Attributes:
        days: after which a run is stuck, by state.
        reference: the instant that they are counted back from.
    """

    database: Database
    rules: Rules
    days: Mapping[str, int]
    reference: datetime

    def cutoff(self, state: str) -> datetime:
        """Return the instant before which a run must have come into a state."""
        return self.reference - timedelta(days=self.days[state])

    def find(self) -> list[Overdue]:
        """Return all runs that are overdue, those with a sign of life too, parents first."""
        make_tables(self.database)
        with self.database.snapshot():
            return [one for state in self.days for one in self._look(state)]

    def again(self, state: str, ids: Collection[str]) -> list[Overdue]:
        """Return those runs of some that are overdue in a state as they are now."""
        return list(self._look(state, ids))

    def restarted(self, worker: str, since: datetime) -> bool:
        """Tell whether a worker is known to have started anew, without the runs it had before."""
        told = (json.loads(row[0]) for row in self.database.rows(_RESTARTS, since=since))
        return any(one.get("prefect.resource.name") == worker for one in told)

    def spoken_for(self, api: PrefectApi, found: Iterable[Overdue]) -> list[Overdue]:
        """Return runs with what the server says for them: a worker lives, or a pause holds one.

        Raises:
            ApiError: the server does not answer.
        """

        @cache
        def waits(deployment: str | None, queue: str | None) -> str:
            return paused(api, deployment, queue)

        @cache
        def lives(pool: str, worker: str) -> bool:
            return heard_of(api, pool, worker, now() - _HEARD)

        def said(one: Overdue) -> str | None:
            if one.run.state == LATE:
                return waits(one.deployment, one.queue) or None
            worker = "" if one.suspended else one.run.worker
            if worker and lives(one.pool, worker) and not self.restarted(worker, one.at):
                return f"its worker {worker} still sends heartbeats"
            return None

        return [
            replace(one, run=replace(one.run, why_not=one.run.why_not or said(one)))
            for one in found
        ]

    def task_runs(self, run: str) -> list[str]:
        """Return the unfinished task runs of a run that stand for no subflow."""
        unfinished = self.rules.is_unfinished("t")
        sql = _TASK_RUNS.format(run=listed([run]), unfinished=unfinished)
        return [str(row[0]) for row in self.database.rows(sql)]

    def _look(self, state: str, ids: Collection[str] | None = None) -> Iterator[Overdue]:
        database, cutoff = self.database, self.cutoff(state)
        late = state == LATE
        overdue = _OVERDUE_LATE if late else _OVERDUE.format(state=state)
        if self.rules.own:
            overdue += f" AND r.id NOT IN {listed(self.rules.own)}"
        if ids is not None:
            overdue += f" AND r.id IN {listed(ids)}"
        empty_tables(database)
        database.run(_STUCK.format(overdue=overdue), cutoff=cutoff)
        find_families(database, self.rules)
        signs = {} if late else newest_signs(database, cutoff)
        since = "expected_start_time" if late else "state_timestamp"
        held, holds = "FALSE", self.rules.holds.now
        if tagged := holds.of("h"):
            held = _HELD.format(held=tagged)
        sql = _FOUND.format(since=since, held=held)
        for row in database.rows(sql, **(holds.bound if tagged else {})):
            yield self._overdue(state, row, signs.get(row.id, ""))

    def _overdue(self, state: str, row: Any, sign: str) -> Overdue:
        labels, since = json.loads(row.labels or "{}") or {}, instant(row.since) or _FIRST
        run = StuckRun(
            id=row.id,
            name=row.name,
            state=state,
            since=iso(since),
            seconds=int((self.reference - since).total_seconds()),
            why_not=_HOLD if row.held else f"it gave a sign of life: {sign}" if sign else None,
            worker=str(labels.get("prefect.worker.name") or ""),
        )
        pool = str(labels.get("prefect.work-pool.name") or "")
        suspended = state == "PAUSED" and row.state_name == "Suspended"
        tagged = bool(json.loads(row.tags or "[]"))
        return Overdue(run, since, pool, suspended, tagged, row.deployment, row.queue)


def leaving(database: Database, ids: Sequence[str]) -> dict[str, int]:
    """Count by table what leaves with flow runs that the API deletes."""
    found: dict[str, int] = {}
    for at in range(0, len(ids), _COUNTED):
        some = listed(ids[at : at + _COUNTED])
        row = database.rows(count_leaving(FLOW_RUN, some, trailers=True))[0]
        found = {table: found.get(table, 0) + rows for table, rows in row._asdict().items()}
    return found


def left(database: Database, ids: Sequence[str]) -> list[str]:
    """Return those of some flow runs that are there."""
    return [str(row[0]) for row in database.rows(_LEFT.format(ids=listed(ids)))]
