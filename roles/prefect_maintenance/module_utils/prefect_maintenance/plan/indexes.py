"""Which indexes are built anew or dropped: decided from measurements, before anything is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ..catalogue import TABLES
from ..database.connection import Database
from ..measure.indexes import ORDINARY, Found, bloated, invalid, may_reindex
from ..request.settings import Reclaim
from .estimate import Estimate, of_index

# Release notes of PostgreSQL 14.4.
_SOUND_FROM = 140004


@dataclass(frozen=True)
class IndexChoice:
    """What becomes of an index that is INVALID or bloated, and why, in one sentence.

    Attributes:
        table: whose it is.
        index: its name.
        problem: "invalid" or "bloated".
        action: "rebuild"; "drop" of what the next step removes before it begins; "with its table"
            where that is written anew; or "none".
        bytes: on disk.
        gives_back: bytes that should come back.
        why: the reason.
        do: of an INVALID one, the statement that helps where the maintenance does not.
    """

    table: str
    index: str
    problem: str
    action: str
    bytes: int
    gives_back: int
    why: str
    do: str = ""

    @property
    def changes(self) -> bool:
        """Whether it is built anew."""
        return self.action == "rebuild"


def plan_indexes(
    database: Database, wanted: Reclaim, rows: Mapping[str, int], rewritten: Collection[str | None]
) -> tuple[IndexChoice, ...]:
    """Decide what becomes of the indexes that are INVALID or bloated.

    Args:
        database: where; nothing is found on SQLite.
        wanted: mode and thresholds.
        rows: that each table has when its indexes are built anew; one without is not looked at
            for bloat.
        rewritten: tables that are written anew in the same run, and their indexes with them.
    """
    found: list[IndexChoice] = []
    for table in TABLES if database.is_postgresql else ():
        name, fresh = table.name, table.name in rewritten
        choices = [_of_invalid(one, fresh=fresh) for one in invalid(database, name)]
        if name in rows and not fresh:
            choices += choose_bloated(bloated(database, name, rows[name]), wanted)
        if choices and (why := _left(database, name, wanted)):
            choices = [_undone(one, why) if one.changes else one for one in choices]
        found += choices
    return tuple(found)


def choose_bloated(found: Iterable[Found], wanted: Reclaim) -> tuple[IndexChoice, ...]:
    """Decide about the bloated indexes of one table: all that pass the thresholds, or none.

    What comes back for sure counts, so that an index that was built right now is left alone.
    """
    large = [one for one in found if one.percent >= max(wanted.min_percent, ORDINARY)]
    sure = sum(one.bytes * one.percent // 100 for one in large)
    if not large or sure < wanted.min_bytes:
        return ()
    why = "it is at least twice as large as its rows need"
    return tuple(
        IndexChoice(
            one.table, one.index, one.problem, "rebuild", one.bytes, one.bytes_back, why
        )
        for one in large
    )  # fmt: skip


def estimates_of(choices: Iterable[IndexChoice]) -> dict[str | None, Estimate]:
    """Estimate what the work on the indexes takes and gives back, by table."""
    found: dict[str | None, Estimate] = {}
    for one in choices:
        if one.changes:
            work = of_index(one.gives_back, one.bytes - one.gives_back)
            found[one.table] = found.get(one.table, Estimate()).joined(work)
    return found


def _of_invalid(one: Found, *, fresh: bool) -> IndexChoice:
    do = f"DROP INDEX CONCURRENTLY {one.quoted}"
    if one.out_of_reach:
        action, why = "none", "an interrupted REINDEX CONCURRENTLY of the table's TOAST left it"
        why += "; GRANT USAGE ON SCHEMA pg_toast to the role in db_url, and the next step drops it"
    elif one.left_over:
        action, why = "drop", "an interrupted REINDEX CONCURRENTLY left it"
    else:
        do = f"REINDEX INDEX CONCURRENTLY {one.quoted}"
        action = "with its table" if fresh else "rebuild"
        why = "an interrupted CREATE INDEX CONCURRENTLY left it: writes pay for it, queries do not"
        why += " use it"
    return IndexChoice(one.table, one.index, one.problem, action, one.bytes, 0, why, do)


def _left(database: Database, table: str, wanted: Reclaim) -> str:
    """Say why no index of a table may be built anew; empty when it may."""
    if wanted.mode in ("none", "plain"):
        return f"vacuum is {wanted.mode}"
    if database.version < _SOUND_FROM:
        return "REINDEX CONCURRENTLY may lose entries before PostgreSQL 14.4: upgrade the server"
    if not may_reindex(database, table):
        return f"the role in db_url does not own {table}"
    return ""


def _undone(one: IndexChoice, why: str) -> IndexChoice:
    return replace(one, action="none", gives_back=0, why=f"{one.why}; {why}")
