"""Holds: tags of a run, or of its deployment, that keep it whatever its age.

A tag `keep-until:2027-03-31` holds until the end of that day in UTC; one whose date cannot be read
holds for good. Which tags have ended is decided once a step, over the tags that are there then: a
tag that comes later holds when it fits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ..database.connection import Database
from ..request.instants import now
from .patterns import Patterns

# A run as it was when the step began, see `stage`.
HELD = "EXISTS (SELECT 1 FROM prefect_maintenance_held h WHERE h.id = {id})"
_OF_DEPLOYMENT = """({r}.deployment_id IS NOT NULL AND {r}.deployment_id IN (
    SELECT d.id FROM deployment d WHERE {tagged}))"""

_GAINED = """
SELECT f.id FROM flow_run f WHERE f.updated >= :held_since AND {of_run}
UNION ALL
SELECT f.id FROM flow_run f JOIN deployment d ON d.id = f.deployment_id
WHERE d.updated >= :held_since AND {of_deployment}
"""

# Of runs that have changed, which an index leads to; and only where a deployment has come to hold
# its runs, each run is asked for its deployment.
_NOT_GAINED = """NOT EXISTS (
    SELECT 1 FROM flow_run f
    WHERE f.id = {run} AND f.updated >= :held_since AND {of_run})
AND CASE WHEN EXISTS (
    SELECT 1 FROM deployment d WHERE d.updated >= :held_since AND {of_deployment})
THEN NOT EXISTS (
    SELECT 1 FROM flow_run f JOIN deployment d ON d.id = f.deployment_id
    WHERE f.id = {run} AND d.updated >= :held_since AND {of_deployment})
ELSE TRUE END"""
# Prefect dates every change of a row; clocks may differ, and who changed it may commit late.
LATE = timedelta(hours=1)

_UNTIL = "keep-until:"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

# Many runs have the same tags.
_TAGS_THERE = """
SELECT DISTINCT g.value FROM (
    SELECT DISTINCT r.tags FROM flow_run r WHERE r.tags <> '[]'
    UNION SELECT d.tags FROM deployment d WHERE d.tags <> '[]') s, {tags}
WHERE {fits}
"""
_CREATE = """
CREATE TEMPORARY TABLE prefect_maintenance_held AS
SELECT r.id AS id, CAST('' AS VARCHAR) AS tag FROM flow_run r WHERE 1 = 0
"""
_STAGE = """
INSERT INTO prefect_maintenance_held (id, tag)
SELECT r.id, CAST(g.value AS VARCHAR) FROM flow_run r, {of_run} WHERE r.tags <> '[]' AND {holds}
UNION
SELECT r.id, CAST(g.value AS VARCHAR)
FROM flow_run r JOIN deployment d ON d.id = r.deployment_id, {of_deployment}
WHERE d.tags <> '[]' AND {holds}
"""


@dataclass(frozen=True)
class Holds:
    """What keeps flow runs, as SQL conditions.

    Attributes:
        tags: patterns of the tags that hold.
        expired: tags that fit and hold no more.
        there: tags that were found in the database and hold.
        patterns: how patterns are written.
        since: the runs that were held then were laid down for this session; None where none were.
        watching: holds that came later are looked for too, among what has changed since.
    """

    tags: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    patterns: Patterns = field(default_factory=Patterns)
    since: datetime | None = None
    watching: bool = False

    @property
    def bound(self) -> dict[str, Any]:
        """The values that the conditions bind."""
        if not self.tags:
            return {}
        return {
            "hold_tags": self.patterns.value(self.tags),
            "hold_expired": self.patterns.words(self.expired),
            "held_since": self.since and self.since - LATE,
        }

    @property
    def now(self) -> Holds:
        """The same, looked for in the rows as they are now."""
        return replace(self, since=None)

    @property
    def watched(self) -> Holds:
        """The runs that were laid down, and those that have come to be held since."""
        return replace(self, watching=True)

    @property
    def listed(self) -> bool:
        """Whether held runs stand in prefect_maintenance_held, and there are any."""
        return self.since is not None and bool(self.there)

    def of(self, alias: str) -> str:
        """Run `alias` is held; nothing when none can be."""
        if self.listed:
            return HELD.format(id=f"{alias}.id")
        if self.since or not self.tags:
            return ""
        of_deployment = _OF_DEPLOYMENT.format(r=alias, tagged=self._tagged("d.tags"))
        return f"({self._tagged(f'{alias}.tags')} OR {of_deployment})"

    @property
    def gained(self) -> str:
        """Select the runs that have come to be held since :held_since; nothing when none can be.

        Prefect dates every change of a row, and there is an index on that.
        """
        if not self.tags:
            return ""
        return _GAINED.format(of_run=self._tagged("f.tags"), of_deployment=self._tagged("d.tags"))

    def not_gained(self, run: str) -> str:
        """The run of that id has not come to be held since; nothing when that is not watched."""
        if not (self.watching and self.since and self.tags):
            return ""
        of_run, of_deployment = self._tagged("f.tags"), self._tagged("d.tags")
        return _NOT_GAINED.format(run=run, of_run=of_run, of_deployment=of_deployment)

    @property
    def holding(self) -> str:
        """Tag `g.value` holds."""
        fits = self.patterns.fits("g.value", "hold_tags")
        return f"{fits} AND {self.patterns.none_of('g.value', 'hold_expired')}"

    def _tagged(self, column: str) -> str:
        return self.patterns.tagged(column, self.holding)


def find(database: Database, tags: tuple[str, ...], reference: datetime) -> Holds:
    """Look for tags that hold; writes nothing.

    Args:
        database: where.
        tags: patterns of the tags that hold.
        reference: the instant that decides which have ended.
    """
    holds = Holds(tags, patterns=Patterns(database.is_postgresql))
    if not tags:
        return holds
    fits = holds.patterns.fits("g.value", "hold_tags")
    sql = _TAGS_THERE.format(tags=holds.patterns.tags("s.tags"), fits=fits)
    there = sorted(str(row[0]) for row in database.rows(sql, **holds.bound))
    expired = tuple(tag for tag in there if has_ended(tag, reference))
    return replace(holds, expired=expired, there=tuple(t for t in there if t not in expired))


def stage(database: Database, holds: Holds) -> Holds:
    """Lay down the runs that are held, for this session; returns the holds that rest on it.

    The table is made anew, so that the runs are those of this instant.
    """
    since = now()
    if holds.there:
        database.run("DROP TABLE IF EXISTS prefect_maintenance_held")
        database.run(_CREATE)
        sql = _STAGE.format(
            of_run=holds.patterns.tags("r.tags"),
            of_deployment=holds.patterns.tags("d.tags"),
            holds=holds.holding,
        )
        database.run(sql, **holds.bound)
        database.run("CREATE INDEX prefect_maintenance_held_at ON prefect_maintenance_held (id)")
        if database.is_postgresql:
            database.run("ANALYZE prefect_maintenance_held")
    return replace(holds, since=since)


def until(tag: str) -> date | None:
    """Return the last day on which a tag holds; None when it is one without such a day."""
    told = tag.removeprefix(_UNTIL)
    if told == tag or not _DATE.fullmatch(told):
        return None
    try:
        return date.fromisoformat(told)
    except ValueError:
        return None


def is_wrong(tag: str) -> bool:
    """Tell whether a tag should name its last day, and that cannot be read."""
    return tag.startswith(_UNTIL) and until(tag) is None


def has_ended(tag: str, reference: datetime) -> bool:
    """Tell whether the last day of a tag was over at an instant."""
    last = until(tag)
    return last is not None and reference.astimezone(UTC).date() > last
