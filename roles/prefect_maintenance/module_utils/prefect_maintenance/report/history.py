"""Earlier runs of a host, as files that the controller keeps: their names, and what they say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STATUSES = ("ok", "partial", "failed")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass(frozen=True)
class Run:
    """A run as a later one remembers it.

    Attributes:
        instant: at which it ended, or began; its file's name.
        bytes_before: of the whole database; None when it was not measured, as `bytes_after`.
        tables: bytes of each table after the run.
    """

    instant: str
    status: str
    rows: int
    seconds: float
    bytes_before: int | None
    bytes_after: int | None
    tables: Mapping[str, int]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, report: Mapping[str, Any], instant: str) -> Run:
        """Make one of a report, as its JSON stands.

        Raises:
            ValueError: it is no report of this tool.
        """
        try:
            database = report.get("database", {})
            run = cls(
                instant,
                report["status"],
                sum(int(_number(rows)) for rows in report.get("deleted", {}).values()),
                float(_number(report.get("seconds", 0))),
                _known(database.get("bytes_before")),
                _known(database.get("bytes_after")),
                {
                    str(table["name"]): int(_number(table["bytes_after"]))
                    for table in report.get("tables", ())
                    if table.get("bytes_after") is not None
                },
                tuple(map(str, report.get("warnings", ()))),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None
        if run.status not in STATUSES or report.get("check_mode"):
            raise ValueError("no run")
        return run


def instant(report: Mapping[str, Any], otherwise: str) -> str:
    """Return when a run ended, else began, and the other instant for one that says neither.

    What a report says comes from a target; only an instant becomes the name of a file.
    """
    said = (str(report.get(key, "")) for key in ("finished", "started"))
    return next((one for one in said if _INSTANT.fullmatch(one)), otherwise)


def surplus(names: Iterable[str], keep: int) -> list[str]:
    """Return which of the files of a host's folder are its oldest runs beyond those to keep."""
    runs = [name for name in sorted(names) if _is_run(name)]
    return runs[: max(0, len(runs) - keep)]


def newest(names: Iterable[str], limit: int) -> list[str]:
    """Return which of the files of a host's folder are its last runs, the oldest first."""
    return [name for name in sorted(names) if _is_run(name)][-limit:] if limit > 0 else []


def foreign(names: Iterable[str]) -> list[str]:
    """Return which of the files of a host's folder no run has left there."""
    return sorted(name for name in names if not _is_run(name))


def read(texts: Mapping[str, str]) -> tuple[list[Run], list[str]]:
    """Return the runs that are in files, by their order, and the names of the files with none.

    Args:
        texts: of the files by their names.
    """
    runs, broken = [], []
    for name, text in texts.items():
        try:
            runs.append(Run.of(json.loads(text), name.removesuffix(".json")))
        except (ValueError, RecursionError):
            broken.append(name)
    return runs, broken


def before(runs: Sequence[Run], instant: str) -> list[Run]:
    """Return the runs before an instant; all of them when there is none."""
    return [run for run in runs if not instant or run.instant < instant]


def _is_run(name: str) -> bool:
    return name.endswith(".json") and bool(_INSTANT.fullmatch(name.removesuffix(".json")))


def _known(value: Any) -> int | None:
    return None if value is None else int(_number(value))


def _number(value: Any) -> float:
    """Return what a plot can draw.

    Raises:
        ValueError: it cannot be drawn.
    """
    if isinstance(value, int | float) and 0 <= value < math.inf:
        return value
    raise ValueError(f"{value!r} is no amount")
