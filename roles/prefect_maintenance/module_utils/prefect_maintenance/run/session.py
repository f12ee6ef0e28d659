"""What every step does before and around its part: open, prove, hold the place, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..database import privileges
from ..database.clock import require_sound
from ..database.connection import Database, connect
from ..database.one_runner import only_runner
from ..database.visibility import blind_spots
from ..errors import ArchiveFailed, ConnectionFailed, MaintenanceError, Stopped
from ..events import StepStarted
from ..execute.archive import Archive
from ..execute.ledger import Ledger
from ..measure import disk_space, leftovers
from ..measure.disk_space import Disks, NoRoom
from ..measure.examine import Server, examine
from ..measure.integrity import require_intact
from ..measure.room import Free, for_deletes
from ..measure.sizes import TableSize, database_bytes, measure, sqlite_free_bytes
from ..pace.cluster import place_in_cluster
from ..pace.pace import Pace
from ..pace.single_writer import SingleWriter
from ..pace.windows import seconds_left
from ..plan.due import oldest_due
from ..plan.estimate import Estimate
from ..plan.hold_counts import HoldCount, hold_counts
from ..plan.plan import Plan, joined
from ..plan.rules import Rules
from ..report.fold import fold
from ..report.report import Report
from ..request.instants import now
from ..request.settings import Reclaim, Settings
from . import archiving
from .outcome import Outcome, planned
from .rules import laid_down, rules_of
from .throttled import throttled

if TYPE_CHECKING:
    from ..server.api import PrefectApi

_FREE_DISK = "free some disk there, or lower max_wal_size"


@dataclass
class Session:
    """A step at work on its database.

    Attributes:
        report: of the run so far.
        archive: where rows are written before they go; None where they are not.
        removed: old archives that this step has removed, or would in a check.
    """

    step: str
    settings: Settings
    pace: Pace
    database: Database
    server: Server
    report: Report
    archive: Archive | None
    _began: float
    removed: int = 0

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began

    @cached_property
    def rules(self) -> Rules:
        """The policy as SQL, for this server and the holds that are there."""
        return rules_of(self.settings, self.database, self.server)

    @cached_property
    def staged_rules(self) -> Rules:
        """The same, with what they look up about flow runs laid down in the session."""
        return laid_down(self.database, self.rules)

    @property
    def held(self) -> tuple[HoldCount, ...]:
        """What each tag holds, of the runs that were laid down."""
        reference = self.settings.cutoffs.reference
        return hold_counts(self.database, self.staged_rules.holds, reference)

    def prove(self) -> None:
        """Prove that API and database belong together, else raise; when both are given."""
        with self.opened_api() as api:
            if api is not None:
                self.prove_with(api)

    def prove_with(self, api: PrefectApi) -> None:
        """Prove that an open API speaks for this database; a check leaves no mark for it."""
        # Prefect takes longer to import than most steps do without it.
        from ..server.proof import prove_same_server

        version = api.version()
        write = not self.settings.check and self.step != "bloat_info"
        prove_same_server(api, self.database, write=write)
        self.report = self.report.with_api(api.url, version, api.vacuum_service())

    @cached_property
    def wanted(self) -> Reclaim:
        """What becomes of the space, with the time that the windows leave for it."""
        left = seconds_left(self.settings.limits.windows, now())
        return replace(self.settings.reclaim, max_seconds=left)

    @property
    def proven(self) -> bool:
        """Whether a step before has proved whose database this is."""
        api = self.settings.api
        return api is not None and self.report.server.get("api_url") == api.url

    @contextmanager
    def opened_api(self) -> Iterator[PrefectApi | None]:
        """Open the API where one is given."""
        if self.settings.api is None:
            yield None
            return
        # Prefect takes longer to import than most steps do without it.
        from ..server.api import open_api

        with open_api(self.settings.api) as api:
            yield api

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be the only runner on the database, at a place in its cluster; a check needs neither.

        What a killed run left is removed first, or the report says why something had to stay.

        Raises:
            Busy: another run is at work on the database.
            Stopped: somebody had asked to stop, no window is open, or the wait for a place took
                too long.
        """
        if self.settings.check:
            yield
            return
        limits, database = self.settings.limits, self.database
        self.pace.ask("the beginning")
        with only_runner(database), place_in_cluster(database, limits.per_cluster, self.pace):
            left = leftovers.remove_all(database, limits.lock_timeout)
            self.report = self.report.with_warnings(left)
            yield

    def carry_out(
        self, work: Callable[[Ledger], None], *, watch_api: bool = True
    ) -> tuple[Ledger, MaintenanceError | None]:
        """Do the work; returns what was done and what ended it, so that none of it is lost.

        The report has what happened.

        Args:
            work: fills the ledger.
            watch_api: wait for an API that has become slow; what calls it looks by itself.
        """
        ledger = Ledger(self.database.wal_bytes, self.pace.events)
        before = self.report.deleted
        error: MaintenanceError | None = None
        governors = () if self.database.is_postgresql else (SingleWriter(self.database),)
        for writer in governors:
            self.pace.batch = writer.batch
        api = self.settings.api if watch_api and self.proven else None
        try:
            with (
                throttled(self.database, self.settings, self.pace, api, self.disks, before),
                self.pace.also(*governors),
            ):
                work(ledger)
            ledger.raise_failures()
        except Stopped as stopped:
            # That no window is open any more hides no failure.
            error = (stopped.goes_on and ledger.failure) or stopped
        except MaintenanceError as failed:
            error = failed
        ledger.close()
        self.report = fold(self.report, self.pace.events.kept)
        try:
            self.note_archive(ledger.rows, error)
        except ArchiveFailed as failed:
            error = error or failed
        return ledger, error

    def note_archive(self, rows: Mapping[str, int], error: MaintenanceError | None = None) -> None:
        """Close the archive of the step and report it; old ones go when nothing has failed.

        Raises:
            ArchiveFailed: it could not be closed.
        """
        if self.archive is not None:
            self.report, self.removed = archiving.ended(
                self.archive, self.settings, self.report, rows, failed=error is not None
            )

    def planned(self, plan: Plan) -> Outcome:
        """Close the step when it only planned, or had nothing to do."""
        self.note_archive({})
        return planned(self.step, self.report, plan, self.seconds, also=bool(self.removed))

    def measure_left(self, error: MaintenanceError | None) -> None:
        """Measure what a failed step leaves, because no step comes after it that would."""
        if error is None or isinstance(error, ConnectionFailed):
            return
        try:
            self.note_sizes("after_delete")
            self.note_due()
        except MaintenanceError as failed:
            told = f"the sizes are those of before the step: {failed}"
            self.report = self.report.with_warnings([told])

    def note_sizes(self, moment: str, *, ages: bool = True) -> tuple[TableSize, ...]:
        """Measure everything and note it for a moment: "before", "after_delete" or "after"."""
        sizes = measure(self.database, ages=ages, tell=self.pace.events)
        self.report = self.report.with_sizes(moment, sizes)
        if not self.database.is_postgresql:
            self.report = self.report.with_database(free_bytes=sqlite_free_bytes(self.database))
        return sizes

    @property
    def disks(self) -> Disks:
        """Where is looked for what is free: here, else what the run's first step was told."""
        noted = tuple(Free(**one) for one in self.report.database.get("disks", ()))
        then = int(self.report.database["bytes_before"])
        return Disks(self.database, noted, self.settings.db_free_bytes, then)

    def note_scarce_disk(self) -> None:
        """Warn where the WAL of deletions may fill its disk."""
        for told in disk_space.scarce(self.disks):
            self.report = self.report.with_warnings([told]).with_remedy(told, _FREE_DISK)

    def require_room(self, plan: Plan) -> None:
        """Make sure that the WAL of a plan's deletions and their archive fit, before all else.

        Raises:
            NoRoom: the WAL does not fit.
            ArchiveFailed: the archive does not, or it cannot be written.
        """
        room = self.disks.look() if self.database.is_postgresql else None
        if room and (lacking := for_deletes(room, plan.estimate.wal_bytes)):
            raise NoRoom(f"nothing was deleted: {lacking}; {_FREE_DISK}")
        if self.archive is not None:
            archiving.require(self.archive, self.database, plan, room)

    def with_pages(self, plan: Plan) -> Plan:
        """Add to a plan the pages that rows leave to an SQLite file, which keeps them for now."""
        if self.database.is_postgresql:
            return plan
        lost: dict[str | None, Estimate] = {None: Estimate()}
        for table in self.report.tables:
            goes, rows = plan.rows.get(table.name, 0), table.rows_before
            if goes and rows:
                pages = int((table.bytes_before or 0) * min(1.0, goes / rows))
                lost[table.name] = Estimate(pages)
        return replace(plan, estimates=joined(plan.estimates, lost))

    def note_due(self) -> None:
        """Note the oldest rows that should have gone."""
        due = oldest_due(self.database, self.rules, self.settings.cutoffs)
        self.report = self.report.with_due(due)


@contextmanager
def begun(step: str, settings: Settings, pace: Pace) -> Iterator[Session]:
    """Open the database of a step and start its clock.

    Raises:
        PrivilegeError: the role lacks a privilege for one of the steps that are to follow.
        SettingsError: the reference time lies in the future.
        MaintenanceError: the database cannot be reached, is none that the tool knows, or its
            clock is far from this machine's.
        Corrupt: the file of an SQLite database is damaged.
    """
    began = time.monotonic()
    with connect(settings.db_url, settings.limits.lock_timeout, pace.events) as database:
        first = step == "bloat_info" and settings.before and database.is_postgresql
        if first:
            needed = privileges.missing_privileges(database, ("measure", *settings.before))
            privileges.refuse(database, needed)
        server = examine(database)
        require_sound(database, settings.cutoffs.reference)
        report = Report.resume(settings, now())
        report = report.with_server(server, database_bytes(database))
        # Once a run: the steps before have told.
        if not database.is_postgresql and not report.database.get("intact"):
            require_intact(database)
            report = report.with_database(intact=True)
        if first:
            report = report.with_warnings(blind_spots(database))
        pace.events(StepStarted(step))
        archive = archiving.archive_for(step, settings, database, server, report)
        if archive is not None and not settings.check:
            database = replace(database, keeper=archive)
        yield Session(step, settings, pace, database, server, report, archive, began)
