"""The report: what changed, what was kept and why; made of what happened, step after step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from ..measure.autovacuum import Setting
from ..measure.blockers import Blocker
from ..measure.examine import Server
from ..measure.growth import Growth
from ..measure.sizes import TableSize
from ..plan.choices import REWRITING, Choice
from ..plan.hold_counts import HoldCount, hold_warnings
from ..plan.plan import Kept, Plan
from ..plan.stuck import StuckRun
from ..plan.what_if import WhatIf
from ..request.instants import iso, now
from ..request.settings import Settings
from . import delete_via
from .ending import Ending
from .estimated import as_json, measured
from .findings import IndexState, mended, read
from .plain import with_forecast
from .rules import without_empty
from .tables import DELETED, TableReport
from .verdict import Need

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """The whole run, over all its steps.

    Attributes:
        schema: the number of this form of the report; keys may be added to it, never renamed.
        host: name of the server in the inventory; in the flow, of its machine.
        check_mode: whether nothing was changed, so that `deleted` says what would go.
        status: "ok"; after a failure "partial" when the run has changed something, else "failed";
            "partial" also when a step ended because no window was open, which is no failure.
        goes_on: when the next window opens, by its own clocks, after a step that ended because none
            was open; else empty.
        finished: when the last step so far ended; empty before the first has.
        status_if_lost: what `status` is when the run ends after this step without an answer of
            the next one, because a process was killed or a connection was lost.
        started: when the first step began, in UTC.
        seconds: that the steps took together.
        reference_time: the instant that every cutoff is counted back from.
        server: address and version of the Prefect API, and the settings of Prefect's own vacuum
            service (`db_vacuum`); empty where the run had no API.
        database: dialect, version, revision of Prefect's schema, `bytes_before`, `bytes_after`,
            `disks` as found on another host; of an SQLite file what became of its space.
        policy: days of retention by entity, and the states whose flow runs may go.
        cutoffs: by entity, the instant before which it may go.
        deleted: rows that left each table, however they went; in a check those that would go.
        kept: what is older than its cutoff and stays, and why.
        tables: each table before, after the deletion and after the reclaim.
        steps: those that have ended, in their order.
        warnings: what should be known although nothing failed.
        errors: the step that failed, and why.
        plan: what the steps so far decided before they changed anything.
        delete_via: the `way` in which flow runs went, or would ("api", "sql" or "mixed"), `why`,
            the `estimated_seconds` of the API and its `budget`; empty where no rows go with it.
        waited: seconds that the run has waited, by what for.
        forecast: of it only what was measured; the rest follows, in the JSON.
        remedies: errors and warnings, and what helps against them.
        blockers: what keeps VACUUM from removing dead rows, what keeps the most first.
        indexes: those that are INVALID or bloated, or were.
        autovacuum: settings that let the tables grow, and better ones.
        holds: tags that hold runs, and what they hold; only where there are some.
        what_if: what would go of each table with this policy; of the report playbook only.
        stuck: runs that have been unfinished for too long; not there when there are none.
        archive: the folder where rows were written before they went, how many, and how many old
            archives were removed; empty where no archive was asked for.
        asked: the options that decide, of a run whose plan is kept or was; else absent.
        refused: in a check, why a run would refuse to begin; absent when it would not.
        saved_plan: of the plan that was applied when it was `made`, its `fingerprint`, the rows
            that it `planned` and those that were `found`; absent where there was none.
    """

    schema: int
    host: str
    check_mode: bool
    status: str
    status_if_lost: str
    started: str
    seconds: float
    reference_time: str
    server: Mapping[str, Any]
    database: Mapping[str, Any]
    policy: Mapping[str, Any]
    cutoffs: Mapping[str, str]
    deleted: Mapping[str, int]
    kept: tuple[Kept, ...]
    tables: tuple[TableReport, ...]
    steps: tuple[str, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...] = field(default=())
    plan: Plan = field(default_factory=Plan)
    delete_via: Mapping[str, Any] = field(default_factory=dict)
    waited: Mapping[str, float] = field(default_factory=dict)
    forecast: Mapping[str, Any] = field(default_factory=dict)
    remedies: tuple[Need, ...] = field(default=())
    finished: str = ""
    goes_on: str = ""
    blockers: tuple[Blocker, ...] = ()
    indexes: tuple[IndexState, ...] = ()
    autovacuum: tuple[Setting, ...] = ()
    holds: tuple[HoldCount, ...] = ()
    what_if: tuple[WhatIf, ...] = ()
    stuck: tuple[StuckRun, ...] = ()
    archive: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    saved_plan: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def resume(cls, settings: Settings, started: datetime) -> Report:
        """Go on with the report of the earlier steps, or begin one."""
        so_far = settings.report
        known = {f.name for f in fields(TableReport)}
        return cls(
            schema=SCHEMA,
            host=str(so_far.get("host", "")),
            check_mode=settings.check,
            status=str(so_far.get("status", "ok")),
            status_if_lost=str(so_far.get("status_if_lost", "failed")),
            started=str(so_far.get("started") or iso(started)),
            finished=str(so_far.get("finished", "")),
            goes_on=str(so_far.get("goes_on", "")),
            seconds=float(so_far.get("seconds", 0.0)),
            reference_time=iso(settings.cutoffs.reference),
            server=dict(so_far.get("server", {})),
            database=dict(so_far.get("database", {})),
            policy=settings.policy.as_report(),
            cutoffs=settings.cutoffs.as_report(),
            deleted={**dict.fromkeys(DELETED, 0), **so_far.get("deleted", {})},
            kept=tuple(Kept(**kept) for kept in so_far.get("kept", ())),
            tables=tuple(
                TableReport(**{k: v for k, v in table.items() if k in known})
                for table in so_far.get("tables", ())
            ),
            steps=tuple(so_far.get("steps", ())),
            warnings=tuple(so_far.get("warnings", ())),
            errors=tuple(so_far.get("errors", ())),
            plan=Plan.of_json(so_far.get("plan", {})),
            delete_via=dict(so_far.get("delete_via", {})),
            waited=dict(so_far.get("waited", {})),
            forecast=so_far.get("forecast", {}),
            remedies=tuple(Need(**one) for one in so_far.get("remedies", ())),
            holds=tuple(HoldCount(**one) for one in so_far.get("holds", ())),
            archive=dict(so_far.get("archive", {})),
            **read(so_far),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data; keys may be added over time, never renamed."""
        told = {
            **asdict(self),
            "plan": self.plan.as_json(),
            "rules": [asdict(one) for one in self.plan.rules],
            "estimate": as_json(self.plan.estimate) if self.plan.estimates else {},
        }
        return with_forecast({**without_empty(told), "measured": measured(told)})

    def with_server(self, server: Server, size: int) -> Report:
        """Note the database as the first step found it."""
        database = {
            "dialect": server.dialect,
            "version": server.version,
            "revision": server.revision,
            "bytes_before": size,
            "bytes_after": size,
            **self.database,
        }
        return replace(self, database=database).with_warnings(server.warnings)

    def with_api(self, url: str, version: str, vacuum_service: Mapping[str, Any] | None) -> Report:
        """Note the server that the API speaks for."""
        server = {"api_url": url, "version": version, "db_vacuum": vacuum_service}
        return replace(self, server=server)

    def with_database(self, **changes: Any) -> Report:
        """Note something about the whole database."""
        return replace(self, database={**self.database, **changes})

    def with_warnings(self, warnings: Iterable[str]) -> Report:
        """Add warnings, each once."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))

    def with_remedy(self, text: str, do: str) -> Report:
        """Note what helps against an error or a warning."""
        return replace(self, remedies=tuple(dict.fromkeys((*self.remedies, Need(text, do)))))

    def with_growth(self, found: Iterable[Growth]) -> Report:
        """Note what comes to the tables in a day."""
        report, days = self, []
        for growth in found:
            days.append(growth.days)
            report = report.with_table(report.table(growth.table).grown(growth))
        return report.with_basis(days_measured=round(max(days), 1) if days else None)

    def with_basis(self, **measured: Any) -> Report:
        """Note what the forecast rests on."""
        return replace(self, forecast={**self.forecast, **measured})

    def with_holds(self, holds: tuple[HoldCount, ...]) -> Report:
        """Note which tags hold runs, and warn of those that hold by mistake."""
        return replace(self, holds=holds).with_warnings(hold_warnings(holds))

    def with_kept(self, kept: Iterable[Kept]) -> Report:
        """Add what stays although it is old enough."""
        return replace(self, kept=tuple(dict.fromkeys((*self.kept, *kept))))

    def with_deleted(self, rows: Mapping[str, int]) -> Report:
        """Add rows that left the tables, or would."""
        deleted = dict(self.deleted)
        for table, count in rows.items():
            deleted[table] = deleted.get(table, 0) + count
        return replace(self, deleted=deleted)

    def with_sizes(self, moment: str, sizes: Iterable[TableSize]) -> Report:
        """Note the sizes at a moment: "before", "after_delete" or "after"."""
        report = self
        for size in sizes:
            report = report.with_table(report.table(size.name).measured(moment, size))
        return report

    def with_due(self, oldest: Mapping[str, datetime | None]) -> Report:
        """Note for each table the oldest row that should have gone, or that there is none."""
        report = self
        for table, instant in oldest.items():
            due = iso(instant) if instant else None
            report = report.with_table(replace(report.table(table), oldest_due=due))
        return report

    def table(self, name: str) -> TableReport:
        """Return what is known of a table."""
        return next((table for table in self.tables if table.name == name), TableReport(name))

    def with_table(self, changed: TableReport) -> Report:
        """Note what is known of a table now."""
        known = {table.name: table for table in self.tables} | {changed.name: changed}
        return replace(self, tables=tuple(known.values()))

    def with_plan(self, plan: Plan) -> Report:
        """Note what a step has decided before it changes anything."""
        report = replace(self, plan=self.plan.joined(plan)).with_kept(plan.kept)
        if plan.via:
            report = replace(report, delete_via=delete_via.told(plan.via))
        for table, why in delete_via.reasons(plan).items():
            report = report.with_table(replace(report.table(table), strategy_why=why))
        for decision in plan.decisions.values():
            report = report.with_table(report.table(decision.table).decided(decision))
        for name in plan.estimates:
            if name is not None:
                estimate = as_json(report.plan.estimates[name])
                report = report.with_table(replace(report.table(name), estimate=estimate))
        return report

    def with_choice(self, choice: Choice) -> Report:
        """Note what becomes of the space of a table, or of an SQLite file as a whole."""
        if choice.table is None:
            told = {"reclaim": choice.action, "reclaim_why": choice.why}
            return replace(self, database={"lock_ms_max": 0, **self.database, **told})
        table = self.table(choice.table)
        return self.with_table(replace(table, reclaim=choice.action, reclaim_why=choice.why))

    def closed(self, step: str, seconds: float, error: Exception | None = None) -> Report:
        """Close a step: when it ended, its time, and how the run stands."""
        done = replace(
            self,
            finished=iso(now()),
            steps=(*self.steps, step),
            seconds=round(self.seconds + seconds, 3),
            status_if_lost="partial" if self.changed else "failed",
        )
        if error is None:
            return done
        end = Ending.by(error, step, done.status_if_lost)
        if end.goes_on:
            done = replace(done, status=end.status, goes_on=end.goes_on)
            return done.with_warnings([end.told])
        done = replace(done, status=end.status, errors=(*self.errors, end.told))
        return done.with_remedy(end.told, end.remedy) if end.remedy else done

    @property
    def changed(self) -> bool:
        """Whether rows went, or space came back, in any step of this run."""
        done = [table.reclaim for table in self.tables] + [self.database.get("reclaim")]
        gone = any(self.deleted.values()) or any(action in REWRITING for action in done)
        gone = gone or any(run.done for run in self.stuck)
        return (gone or mended(self.indexes, self.autovacuum)) and not self.check_mode
