"""Delete flow runs with all that hangs on them: through the API what it can guard, else by SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from ..catalogue import FLOW_RUN
from ..errors import ApiBusy, ApiError, ConnectionFailed, MaintenanceError
from ..events import FellBack
from ..plan import candidates
from ..plan.via import OLD_SERVER
from .deletion import Delete
from .row_guards import Single, cut, singles, trees
from .ways import ByApi
from .worklist import (
    INDEX_WORKLIST_TOP,
    SINGLES_LEFT,
    positions,
    worklist,
    worklist_length,
    worklist_of_runs,
)

# A server that fails this many batches in a row will not come round by being asked more.
FAILURES_IN_A_ROW = 3
# A call that the server could not take is tried so many times.
TRIES = 5


def delete_flow_runs(job: Delete) -> None:
    """Delete flow runs, each tree whole, in the way that the plan says.

    Raises:
        ApiError: deletions failed that only the API was to do.
    """
    database, bound = job.database, {"flow_runs": job.cutoffs.flow_runs, **job.rules.bound}
    candidates.find_trees(database)
    with worklist(database, worklist_of_runs(job.rules)):
        database.run(INDEX_WORKLIST_TOP)
        total = worklist_length(database)
        calls = _Calls(job, job.by_api, bound, total) if job.by_api else None
        if calls:
            calls.make()
        tried = calls.tried if calls else 0
        for first, last in positions(database, job.by_sql.runs_a_batch):
            found = trees(database, first, last, tried)
            for piece in cut([(tree.top, tree.leaves) for tree in found], job.most):
                done = job.by_sql.runs(piece, bound)
                if job.by_api:
                    job.by_api.unanswered.took(done.ids)
                job.note(FLOW_RUN.name, job.by_sql.name, done, total)
        if calls:
            calls.note_late()
        job.tell_left(FLOW_RUN.name)
        if calls:
            calls.raise_any()


@dataclass
class _Calls:
    """The calls that delete the listed runs which the API can guard, the oldest first.

    Attributes:
        total: runs of the list.
        tried: position up to which the API was asked to delete them.
    """

    job: Delete
    api: ByApi
    bound: Mapping[str, object]
    total: int
    tried: int = 0
    _in_a_row: int = 0
    _failures: list[str] = field(default_factory=list)

    def make(self) -> None:
        """Make call after call until no run is left, or the others are to go by SQL.

        Raises:
            ApiError: the API keeps failing, and nothing else is to delete these runs.
            ConnectionFailed: it cannot be reached any more, likewise.
        """
        left, pace = self.job.database.scalar(SINGLES_LEFT), self.api.pace
        with self.api.hurried(), self.job.pace.also(pace):
            pace.begin()
            while batch := self._next():
                left -= self.note_late()
                why = pace.over(left)
                done = None if why else self.api.runs(batch, self.bound)
                if done is None:
                    self._fall_back(why or OLD_SERVER)
                    return
                after = self._after(done.error)
                if after == "on":
                    self.tried = batch[-1].position
                    left -= len(batch)
                if after == "over" or not left:
                    pace.end()
                self.job.note(FLOW_RUN.name, self.api.name, done, self.total)
                if after == "over" and done.error:
                    self._give_up(done.error)
                    return

    def note_late(self) -> int:
        """Count the runs that the server deleted after their call had failed; returns how many."""
        late = self.api.late()
        if late.ids:
            self.job.note(FLOW_RUN.name, self.api.name, late, self.total)
        return len(late.ids)

    def raise_any(self) -> None:
        """Fail when calls failed whose runs nothing else was to delete.

        Raises:
            ApiError: so many failed.
        """
        if self._failures:
            raise ApiError(
                f"{len(self._failures)} calls failed, the first: {self._failures[0]}; run again"
            )

    def _next(self) -> list[Single]:
        found = singles(self.job.database, self.tried, self.api.pace.size)
        # A call has one guard.
        alike: Iterable[Single] = next(
            (runs for _, runs in groupby(found, key=lambda run: (run.rule, run.untagged))), ()
        )
        return next(iter(cut([(run, run.leaves) for run in alike], self.job.by_sql.most)), [])

    def _after(self, error: MaintenanceError | None) -> Literal["on", "again", "over"]:
        """Say how it goes on after a call: with the next runs, the same ones, or not at all."""
        if error is None:
            self._in_a_row = 0
            return "on"
        busy = error if isinstance(error, ApiBusy) else None
        self._in_a_row += not (busy and busy.maintained)
        if busy or isinstance(error, ConnectionFailed):
            if self._in_a_row >= TRIES:
                return "over"
            told = busy.after if busy else None
            self.api.pace.put_off(2.0**self._in_a_row if told is None else told, str(error))
            return "again"
        if self.api.gives_way:
            return "over"
        self._failures.append(str(error))
        return "over" if self._in_a_row >= FAILURES_IN_A_ROW else "on"

    def _give_up(self, error: MaintenanceError) -> None:
        self.note_late()
        if self.api.gives_way:
            self._fall_back(f"the API failed: {error}")
        elif isinstance(error, ApiBusy | ConnectionFailed):
            raise error
        else:
            raise ApiError(
                f"gave up after {self._in_a_row} failed batches in a row: {self._failures[0]}; "
                "run again"
            )

    def _fall_back(self, why: str) -> None:
        self.job.ledger.events(FellBack(FLOW_RUN.name, f"the rest by SQL: {why}"))
