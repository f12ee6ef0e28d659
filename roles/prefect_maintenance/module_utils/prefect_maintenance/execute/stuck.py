"""End stuck runs through the API, each asked again right before its call."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ..catalogue import FLOW_RUN
from ..errors import ApiBusy, ApiError, ConnectionFailed
from ..events import Progress, StuckRunsSettled
from ..pace.governors import Moment, Wait
from ..pace.pace import Pace
from ..plan.stuck import LATE, LATE_NAMES, Overdue, StuckRun, StuckRuns, leaving, left
from ..request.options.limits import BULK_LIMIT
from ..server.stuck import delete_late, end_run
from .archive_rows import archive_leaving
from .flow_runs import FAILURES_IN_A_ROW, TRIES
from .ledger import Ledger

if TYPE_CHECKING:
    from ..server.api import PrefectApi

_MOVED = "it moved on meanwhile"


@dataclass
class Later:
    """Lets the next call come when a busy server asked for it: a governor."""

    _until: float = -math.inf
    _why: str = ""

    def put_off(self, seconds: float, why: str) -> None:
        """Let the next call come after so many seconds."""
        self._until, self._why = time.monotonic() + seconds, why

    def __call__(self, moment: Moment) -> Wait | None:
        """Answer for this moment."""
        left = self._until - time.monotonic()
        # Nobody who asks to stop waits for longer.
        return Wait(self._why, min(left, 1.0), "api") if left > 0 else None


@dataclass
class EndStuck:
    """The end of stuck runs.

    Attributes:
        api: ends them.
        runs: says again of each what is true right before its call.
        found: those that the plan found, parents first.
        ended: the runs that have been ended, by their ids.
    """

    api: PrefectApi
    runs: StuckRuns
    found: Sequence[Overdue]
    pace: Pace
    ledger: Ledger
    ended: list[str] = field(default_factory=list)
    _later: Later = field(default_factory=Later)
    _left: deque[Callable[[], object]] = field(default_factory=deque)

    def __call__(self) -> None:
        """End what is still stuck, and delete what is still late.

        Raises:
            ApiError: a call failed; the others were made, unless too many failed in a row.
            Stopped: between two calls.
        """
        self._left.extend(self._calls())
        made, in_a_row, failures = 0, 0, []
        with self.api.patience.none(), self.pace.also(self._later):
            while self._left and in_a_row < FAILURES_IN_A_ROW:
                total = made + len(self._left)
                self.pace(Progress(FLOW_RUN.name, made, total, "calls for stuck runs"))
                error = self._made(self._left.popleft())
                made, in_a_row = made + 1, in_a_row + 1 if error else 0
                failures += [error] if error else []
        if failures:
            raise ApiError(
                f"{len(failures)} calls for stuck runs failed, the first: {failures[0]}; run again"
            )

    def _made(self, call: Callable[[], object]) -> str:
        """Make a call, again while the server asks for that; returns why it failed, if it did."""
        told = ""
        for attempt in range(TRIES):
            try:
                call()
            except ApiBusy as busy:
                told = str(busy)
                self._later.put_off(2.0**attempt if busy.after is None else busy.after, told)
                self.pace.ask(FLOW_RUN.name)
            except (ApiError, ConnectionFailed) as error:
                if self.runs.database.connection.invalidated:
                    raise
                return str(error)
            else:
                return ""
        return told

    def _calls(self) -> Iterator[Callable[[], object]]:
        due = [one for one in self.found if one.run.due]
        yield from (partial(self._end, one) for one in due if one.run.state != LATE)
        yield from (partial(self._delete, batch) for batch in _batches(due))

    def _end(self, one: Overdue) -> None:
        for run in self._still_due([one]):
            self._end_now(run)

    def _end_now(self, run: StuckRun) -> None:
        days = run.seconds // 86400
        lasted = f"{days} day{'' if days == 1 else 's'}"
        told = f"ended by prefect_maintenance: {run.state} for {lasted} without a sign of life"
        why_not = end_run(self.api, "flow_runs", run.id, run.state, told)
        self._settle((run.id,), why_not)
        if why_not is None:
            self.ended.append(run.id)
            # Each may hold the slot of a limit by tag.
            self._left.extendleft(
                partial(end_run, self.api, "task_runs", task_run, run.state, told)
                for task_run in self.runs.task_runs(run.id)
            )

    def _delete(self, batch: Sequence[Overdue]) -> None:
        """Delete late runs that wait for the same queue."""
        ids = [run.id for run in self._still_due(batch)]
        if not ids:
            return
        archive_leaving(self.runs.database, FLOW_RUN, ids)
        database, before = self.runs.database, leaving(self.runs.database, ids)
        tagged, cutoff = batch[0].tagged, self.runs.cutoff(LATE)
        if not delete_late(self.api, ids, LATE_NAMES, cutoff, tagged=tagged):
            for run in ids:
                if any(one.run.due for one in self.runs.again(LATE, [run])):
                    self.api.delete("flow_runs", run)
        stay = left(database, ids)
        after = leaving(database, stay)
        for table, rows in before.items():
            way = "late" if table == FLOW_RUN.name else "cascade"
            self.ledger.add(table, rows - after.get(table, 0), way)
        self._settle(tuple(stay), _MOVED)
        self._settle(tuple(run for run in ids if run not in stay), None)

    def _still_due(self, some: Sequence[Overdue]) -> list[StuckRun]:
        """Return runs in one state as they are now; those not to be ended any more are settled."""
        found = self.runs.again(some[0].run.state, [one.run.id for one in some])
        due = []
        for one in self.runs.spoken_for(self.api, found):
            if one.run.due:
                due.append(one.run)
            else:
                self._settle((one.run.id,), one.run.why_not)
        there = {one.run.id for one in found}
        self._settle(tuple(one.run.id for one in some if one.run.id not in there), _MOVED)
        return due

    def _settle(self, runs: tuple[str, ...], why_not: str | None) -> None:
        if runs:
            self.ledger.events(StuckRunsSettled(runs, why_not))


def _batches(found: Iterable[Overdue]) -> Iterator[Sequence[Overdue]]:
    """Cut late runs into the batches of one call each, every batch of one deployment and queue."""
    alike: dict[tuple[str | None, str | None, bool], list[Overdue]] = {}
    for one in found:
        if one.run.state == LATE:
            alike.setdefault((one.deployment, one.queue, one.tagged), []).append(one)
    for some in alike.values():
        yield from (some[at : at + BULK_LIMIT] for at in range(0, len(some), BULK_LIMIT))
