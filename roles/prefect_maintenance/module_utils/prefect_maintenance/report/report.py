"""The report: what changed, what was kept and why. One dataclass, its JSON, its screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from ..execute.ledger import TableResult
from ..execute.reclaim import WHOLE_FILE
from ..measure.examine import Server
from ..measure.sizes import TableSize
from ..plan.choices import REWRITING, Choice, Decision
from ..plan.plan import Kept
from ..request.instants import iso
from ..request.settings import Settings

SCHEMA = 1
# Counted in every report, also when nothing of them went.
DELETED = ("flow_run", "task_run", "artifact", "log", "events", "event_resources")
# What follows the name of a way in a check.
PLANNED = " (planned)"


@dataclass(frozen=True)
class TableReport:
    """One table through the run: before, after the deletion, after the reclaim.

    Bytes count heap, TOAST and indexes; None stands for a moment that was not measured.
    `oldest_after` is the oldest row that is left, `oldest_due` the oldest that should have gone.
    `ways` counts the rows that went in each way; `strategy` names the one that was taken for the
    table itself, before what was left over or went with rows of other tables.
    `estimates` says for each way of purging what it would take; `seconds`, `wal_bytes` (of the
    whole server meanwhile), `extra_bytes` and `lock_ms_max` are what it took, reclaim included.
    `reclaim` is what was done; where that failed it is "none", and `error` says why.
    """

    name: str
    rows_before: int | None = None
    rows_after_delete: int | None = None
    rows_after: int | None = None
    rows_method: str = ""
    bytes_before: int | None = None
    bytes_after_delete: int | None = None
    bytes_after: int | None = None
    heap_bytes: int | None = None
    toast_bytes: int | None = None
    index_bytes: int | None = None
    dead_before: int | None = None
    dead_after_delete: int | None = None
    dead_after: int | None = None
    bloat_bytes: int | None = None
    bloat_percent: float | None = None
    bloat_method: str = ""
    oldest_after: str | None = None
    oldest_due: str | None = None
    cutoff: str | None = None
    strategy: str = "none"
    ways: Mapping[str, int] = field(default_factory=dict)
    strategy_why: str = ""
    estimates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reclaim: str = "none"
    reclaim_why: str = ""
    seconds: float = 0.0
    wal_bytes: int = 0
    extra_bytes: int = 0
    lock_ms_max: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """The whole run, over all its steps.

    Attributes:
        status: "ok"; after a failure "partial" when the run has changed something, else "failed".
        status_if_lost: what `status` is when the run ends after this step without an answer of
            the next one, because a process was killed or a connection was lost.
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
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data; keys may be added over time, never renamed."""
        return asdict(self)

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

    def with_bytes_after(self, size: int) -> Report:
        """Note the size of the whole database at this moment."""
        return replace(self, database={**self.database, "bytes_after": size})

    def with_warnings(self, warnings: Iterable[str]) -> Report:
        """Add warnings, each once."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))

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
        """Note the sizes at a moment: "before", "after_delete" or "after".

        The first measurement stands for all later moments until they are measured too.
        """
        known = {table.name: table for table in self.tables}
        later = {
            "before": ("before", "after_delete", "after"),
            "after_delete": ("after_delete", "after"),
            "after": ("after",),
        }[moment]
        for size in sizes:
            changes: dict[str, Any] = {
                f"{what}_{when}": value
                for when in later
                for what, value in (("rows", size.rows), ("bytes", size.bytes), ("dead", size.dead))
            }
            known[size.name] = replace(
                known.get(size.name, TableReport(size.name)),
                **changes,
                rows_method=size.rows_method,
                heap_bytes=size.heap_bytes,
                toast_bytes=size.toast_bytes,
                index_bytes=size.index_bytes,
                bloat_bytes=size.bloat_bytes,
                bloat_percent=round(100 * size.bloat_bytes / size.bytes, 1) if size.bytes else 0.0,
                bloat_method=size.bloat_method,
                oldest_after=iso(size.oldest) if size.oldest else None,
            )
        return replace(self, tables=tuple(known.values()))

    def with_due(self, oldest: Mapping[str, datetime | None]) -> Report:
        """Note for each table the oldest row that should have gone, or that there is none."""
        report = self
        for table, instant in oldest.items():
            report = report.with_table(table, oldest_due=iso(instant) if instant else None)
        return report

    def with_table(self, name: str, **changes: Any) -> Report:
        """Note something about one table."""
        known = {table.name: table for table in self.tables}
        known[name] = replace(known.get(name, TableReport(name)), **changes)
        return replace(self, tables=tuple(known.values()))

    def with_decision(self, decision: Decision) -> Report:
        """Note how the rows of a table go, why, and what that was estimated to take."""
        return self.with_table(
            decision.table,
            strategy_why=decision.why,
            estimates={
                way: {
                    "seconds": round(cost.seconds, 2),
                    "wal_bytes": cost.wal_bytes,
                    "extra_bytes": cost.extra_bytes,
                    "lock_ms": int(1000 * cost.lock_seconds),
                }
                for way, cost in decision.costs.items()
            },
        )

    def with_ways(self, table: str, ways: Mapping[str, int]) -> Report:
        """Add rows that left a table, or would, to those that earlier steps counted."""
        before = next((t for t in self.tables if t.name == table), TableReport(table))
        counted = dict(before.ways)
        for way, rows in ways.items():
            if rows:
                counted[way] = counted.get(way, 0) + rows
        if not counted:
            return self.with_table(table)
        # What went with others comes last.
        ordered = {way: counted[way] for way in sorted(counted, key=lambda way: way == "cascade")}
        first = "api and sql" if {"api", "sql"} <= set(counted) else next(iter(ordered))
        strategy = first + (PLANNED if self.check_mode else "")
        return self.with_table(table, strategy=strategy, ways=ordered)

    def with_result(self, result: TableResult, extra_bytes: int = 0, locked: float = 0.0) -> Report:
        """Note how rows left a table, or its space came back, and what that took.

        Args:
            result: of one step.
            extra_bytes: disk that was needed meanwhile.
            locked: seconds for which everybody was kept out.
        """
        before = next((t for t in self.tables if t.name == result.table), TableReport(result.table))
        return self.with_ways(result.table, result.ways).with_table(
            result.table,
            seconds=round(before.seconds + result.seconds, 3),
            wal_bytes=before.wal_bytes + result.wal_bytes,
            extra_bytes=max(before.extra_bytes, extra_bytes),
            lock_ms_max=max(before.lock_ms_max, int(1000 * locked)),
            error=result.error or before.error,
        )

    def with_choice(self, choice: Choice) -> Report:
        """Note what the reclaim does with a table, or with an SQLite file as a whole."""
        told = {"reclaim": choice.action, "reclaim_why": choice.why}
        if choice.table == WHOLE_FILE:
            return replace(self, database={"lock_ms_max": 0, **self.database, **told})
        return self.with_table(choice.table, **told)

    def with_reclaimed(self, result: TableResult, extra_bytes: int, locked: float) -> Report:
        """Note what the reclaim of a table took, or of an SQLite file as a whole."""
        if result.table != WHOLE_FILE:
            return self.with_result(result, extra_bytes, locked)
        told = {"lock_ms_max": int(1000 * locked), "error": result.error}
        return replace(self, database={**self.database, **told})

    def finished(self, step: str, seconds: float, error: Exception | None = None) -> Report:
        """Close a step: its time, and how the run stands."""
        done = replace(
            self,
            steps=(*self.steps, step),
            seconds=round(self.seconds + seconds, 3),
            status_if_lost="partial" if self._changed() else "failed",
        )
        if error is None:
            return done
        return replace(done, status=done.status_if_lost, errors=(*self.errors, f"{step}: {error}"))

    def _changed(self) -> bool:
        """Tell whether rows went, or space came back, in any step of this run."""
        done = [table.reclaim for table in self.tables] + [self.database.get("reclaim")]
        gone = any(self.deleted.values()) or any(action in REWRITING for action in done)
        return gone and not self.check_mode


def failed(report: Mapping[str, Any], failure: str) -> dict[str, Any]:
    """Return a report as its JSON stands, with a failure that ended the run between two steps.

    Args:
        report: of the steps before; it may be one that no step has written to yet.
        failure: the step, and why it failed, in one line.
    """
    return {
        **report,
        "status": report.get("status_if_lost", "failed"),
        "errors": [*report.get("errors", ()), failure],
    }
