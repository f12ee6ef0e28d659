"""What the rows' way was estimated to cost, beside what it really cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .ways import worth_telling

_KEYS = ("bytes_back", "seconds", "wal_bytes", "extra_bytes", "lock_ms")


@dataclass(frozen=True)
class Cost:
    """One line: an estimate or a measurement, None where it says nothing.

    Attributes:
        table: on its first line, else nothing.
        why: the way was chosen, on the same line; of another way, why it was not.
    """

    table: str
    what: str
    why: tuple[str, ...]
    bytes_back: int | None = None
    seconds: float | None = None
    wal_bytes: int | None = None
    extra_bytes: int | None = None
    lock_ms: float | None = None


def costs(report: Mapping[str, Any]) -> tuple[Cost, ...]:
    """Return the lines of the whole run and of each table, of a report that has every key."""
    whole = [("estimated", report["estimate"]), ("measured", report["measured"])]
    # An SQLite file gives its space back as a whole.
    told = str(report["database"]["reclaim_why"])
    found = _lines("the whole run", (told,) * bool(told), [one for one in whole if one[1]])
    for table in report["tables"]:
        why = tuple(w for w in (table["strategy_why"], _worth_telling(table)) if w)
        found += _lines(table["name"], why, list(_of(table, report)))
    return tuple(found)


def took(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the work on a table really took and gave back, in the words of an estimate."""
    before, after = table.get("bytes_before"), table.get("bytes_after")
    return {
        "bytes_back": None if before is None or after is None else before - after,
        "seconds": table.get("seconds", 0.0),
        "wal_bytes": table.get("wal_bytes", 0),
        "lock_ms": table.get("lock_ms_max", 0),
    }


def _of(table: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    chosen = "rewrite" if "rewrite" in table["ways"] else "delete"
    ways, whole = table["estimates"], table["estimate"]
    gone = report["deleted"].get(table["name"], 0)
    if not (ways or gone or whole.get("bytes_back") or _worth_telling(table)):
        return
    if ways or whole:
        yield "estimated", {**ways.get(chosen, {}), **whole}
    if not report["check_mode"]:
        yield "measured", {"extra_bytes": table["extra_bytes"], **took(table)}
    for way in sorted(set(ways) - {chosen}):
        yield f"otherwise, by {way}", ways[way]
    for choice in worth_telling(report):
        for way, cost in choice["ways"].items() if choice["table"] == table["name"] else ():
            if cost["why_not"]:
                yield f"space back by {way}", {**cost, "lock_ms": 1000 * cost["lock_seconds"]}


def _worth_telling(table: Mapping[str, Any]) -> str:
    return str(table["reclaim_why"]) if table["reclaim"] not in ("none", "plain") else ""


def _lines(
    name: str, why: tuple[str, ...], told: list[tuple[str, Mapping[str, Any]]]
) -> list[Cost]:
    return [
        Cost(
            "" if at else name,
            what,
            tuple(filter(None, [cost.get("why_not")])) if at else why,
            **{key: cost[key] for key in _KEYS if key in cost},
        )
        for at, (what, cost) in enumerate(told)
    ]
