"""Which rows of archives are wanted: all, those of a run, or those that are dated in a range."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..catalogue import (
    ARTIFACT,
    ARTIFACT_COLLECTION,
    BY_NAME,
    EVENT_RESOURCES,
    EVENTS,
    FLOW_RUN,
    TASK_RUN,
)
from ..request.restore import RestoreRequest
from .archive_lines import WENT_BY
from .archive_manifest import Manifest
from .restore_files import Found, files_of, rows_in

# The first that is set dates a run, as the retention does.
_AGES = ("end_time", "state_timestamp", "start_time", "expected_start_time")
# How an event names the run that it tells of.
_RESOURCES = {FLOW_RUN.name: "prefect.flow-run.", TASK_RUN.name: "prefect.task-run."}
# Of a table's rows, the ids that others name.
_NAMED = (EVENTS.name, ARTIFACT.name, TASK_RUN.name)

Row = Mapping[str, Any]


class Selection:
    """The rows that are wanted; tables are to be asked for in the order of their references.

    Attributes:
        wanted: what was asked for.
        went_by: says by which rule the wanted run went, where the archive knows it.
    """

    def __init__(self, wanted: RestoreRequest, archives: Iterable[Found]) -> None:
        self.wanted = wanted
        self.went_by: list[str] = []
        self._all = not (wanted.flow_run or wanted.rule or wanted.dated)
        self._ids: dict[str, set[str]] = {name: set() for name in (FLOW_RUN.name, *_NAMED)}
        if not self._all:
            self._follow(list(archives))

    def __call__(self, table: str, row: Row, called: Collection[str] = ()) -> bool:
        """Tell whether a row is wanted.

        Args:
            table: of the row.
            row: its values.
            called: what its file calls the rules whose rows are wanted.
        """
        if self._all:
            return True
        chosen = row.get(WENT_BY) in called
        chosen = chosen or self._belongs(table, row)
        chosen = chosen or (self._dated(table, row) and table != FLOW_RUN.name)
        if chosen and table in _NAMED:
            self._ids[table].add(row["id"])
        return chosen

    def _follow(self, archives: list[Found]) -> None:
        """Find the wanted runs, and the subflows of each at whatever depth."""
        runs, tasks = self._ids[FLOW_RUN.name], self._ids[TASK_RUN.name]
        for row, manifest in _rows(archives, FLOW_RUN.name):
            by_rule = row.get(WENT_BY) in manifest.rules_named(self.wanted.rule)
            if row["id"] == self.wanted.flow_run or by_rule or self._dated(FLOW_RUN.name, row):
                runs.add(row["id"])
            if row["id"] == self.wanted.flow_run and (called := row.get(WENT_BY)):
                self.went_by.append(f"flow run {row['id']} went by {manifest.name_of(called)}")
        found = -1
        while found != len(runs):
            found = len(runs)
            for row, _ in _rows(archives, TASK_RUN.name):
                if row["flow_run_id"] in runs:
                    tasks.add(row["id"])
            for row, _ in _rows(archives, FLOW_RUN.name):
                if row["parent_task_run_id"] in tasks:
                    runs.add(row["id"])

    def _belongs(self, table: str, row: Row) -> bool:
        """Tell whether a row is a wanted run or belongs to one."""
        if table == FLOW_RUN.name:
            return row["id"] in self._ids[table]
        if table == ARTIFACT_COLLECTION.name:
            return row["latest_id"] in self._ids[ARTIFACT.name]
        if table == EVENT_RESOURCES.name:
            return row["event_id"] in self._ids[EVENTS.name]
        if table == EVENTS.name:
            named = str(row["resource_id"])
            return any(
                named.startswith(begin) and named.removeprefix(begin) in self._ids[kind]
                for kind, begin in _RESOURCES.items()
            )
        return any(
            row[parent.column] in self._ids.get(parent.table, ())
            for parent in BY_NAME[table].parents
        )

    def _dated(self, table: str, row: Row) -> bool:
        if not self.wanted.dated or BY_NAME[table].entity is None:
            return False
        columns = _AGES if table in _RESOURCES else (BY_NAME[table].age,)
        at = _instant(next((row[name] for name in columns if row[name] is not None), None))
        begin, until = self.wanted.begin, self.wanted.until
        return at is not None and (begin is None or at >= begin) and (until is None or at < until)


def _rows(archives: list[Found], table: str) -> Iterator[tuple[Row, Manifest]]:
    for path, entry, manifest in files_of(archives, table):
        for row in rows_in(path, entry):
            yield dict(zip(entry.names, row, strict=True)), manifest


def _instant(text: str | None) -> datetime | None:
    """Read an instant of either database; None for what is not in Python's years."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
