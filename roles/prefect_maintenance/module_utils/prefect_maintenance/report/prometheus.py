"""The report for Prometheus: gauges as node_exporter's textfile collector reads them.

A file may tell of several hosts, each with its own label. What a report does not speak of stays as
the file has it: the last success through a failure, the last run through a measurement alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from ..catalogue import TABLES
from ..events import WaitKind
from ..measure.blockers import KINDS
from ..plan.stuck import LATE

# What is known after a step: a measurement that is no part of a run, a run that is to go on, or
# one that has ended.
Stands = Literal["measured", "begun", "ended"]

STATUSES = ("ok", "partial", "failed")
_OUTCOMES = ("ended", "deleted", "waiting")
# The label of what concerns an SQLite file as a whole.
_FILE = "the whole file"
_DAY = 86400
_PREFIX = "prefect_maintenance_"
_ENTITY = {table.name: table.entity for table in TABLES}
_SERIES = re.compile(
    r'^(?P<name>\w+)\{host="(?P<host>(?:[^"\\]|\\[\\"n])*)"(?:,\w+="(?:[^"\\]|\\[\\"n])*")*\} '
    r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Metric:
    """One of the metrics, all of which are gauges and have the label `host`.

    Attributes:
        name: without the prefix.
        group: what has to be known for it to be written anew.
        says: one whole sentence.
        labels: beside `host`.
    """

    name: str
    group: Literal["run", "success", "database"]
    says: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus knows."""
        return f"{_PREFIX}{self.name}"


METRICS = (
    Metric("last_run_timestamp_seconds", "run", "Unix time at which the last run began."),
    Metric("last_success_timestamp_seconds", "success",
           "Unix time at which the last run that did all its work ended."),
    Metric("last_run_duration_seconds", "run", "Seconds for which the last run was at work."),
    Metric("last_run_status", "run",
           "1 for the status of the last run, 0 for the others; a run that is still at work counts "
           "as if it were lost now.", ("status",)),
    Metric("last_run_deleted_rows", "run", "Rows that left the table in the last run.", ("table",)),
    Metric("last_run_returned_bytes", "run",
           "Bytes of the table that the last run gave back to the operating system.", ("table",)),
    Metric("last_run_database_returned_bytes", "run",
           "Bytes by which the last run made the whole database smaller."),
    Metric("last_run_kept_rows", "run",
           "Rows older than their cutoff that the last run kept, by reason.", ("table", "reason")),
    Metric("last_run_rule_rows", "run",
           "Rows that the rule let go in the last run, as it was planned.", ("kind", "rule")),
    Metric("last_run_rule_kept_rows", "run", "Rows that the rule kept in the last run.",
           ("kind", "rule")),
    Metric("last_run_held_runs", "run",
           "Flow runs that tags held in the last run; one with two such tags counts twice."),
    Metric("last_run_stuck_runs", "run",
           "Stuck runs that the last run listed, by what became of them.", ("outcome",)),
    Metric("last_run_table_failed", "run", "1 where the work on the table failed in the last run.",
           ("table",)),
    Metric("last_run_longest_lock_seconds", "run",
           "Longest time in the last run for which everybody was kept out of a table."),
    Metric("last_run_waited_seconds", "run",
           "Seconds that the last run waited, by what it waited for.", ("kind",)),
    Metric("database_bytes", "database", "Bytes of the whole database when it was last measured."),
    Metric("table_bytes", "database", "Bytes of the table with TOAST and indexes.", ("table",)),
    Metric("table_rows", "database", "Rows of the table.", ("table",)),
    Metric("table_bloat_bytes", "database",
           "Bytes of the table beyond what its rows need, as estimated.", ("table",)),
    Metric("table_overdue_seconds", "database",
           "How far the oldest row that should have gone is past its cutoff; 0 when there is none.",
           ("table",)),
    Metric("table_growth_rows_per_day", "database", "Rows that a day brings to the table.",
           ("table",)),
    Metric("table_growth_bytes_per_day", "database", "Bytes that a day brings to the table.",
           ("table",)),
    Metric("vacuum_blockers", "database",
           "What kept VACUUM from removing dead rows, or the server from dropping WAL, when it was "
           "last looked for, by kind.", ("kind",)),
    Metric("vacuum_blockers_oldest_seconds", "database",
           "Age of the oldest of these that has one; 0 when there is none."),
    Metric("vacuum_blockers_wal_bytes", "database",
           "Bytes of WAL that the slot which held back the most kept; 0 when none did."),
    Metric("retention_working", "database",
           "1 when nothing is left that should have gone, 0 when something is."),
    Metric("forecast_settled_bytes", "database",
           "Bytes at which the database settles with today's growth and policy."),
    Metric("forecast_disk_full_seconds", "database",
           "Seconds until the database's disk is full with this policy, and with none; not there "
           "when that is unknown or more than ten years away.", ("policy",)),
)  # fmt: skip

_BY_NAME = {metric.full_name: metric for metric in METRICS}
_Sample = tuple[str, tuple[str, ...], float | None]


def exposition(report: Mapping[str, Any], stands: Stands, *, so_far: str, now: float) -> str:
    """Return what the file says from now on.

    Args:
        report: as its JSON stands, of whatever version.
        stands: what it tells of.
        so_far: what the file says now.
        now: unix time, for what the report has no instant of.
    """
    host = _escaped(str(report.get("host", "")))
    groups = {"run"} if stands != "measured" else set()
    if report.get("tables"):
        groups.add("database")
    if stands == "ended" and report.get("status") == "ok":
        groups.add("success")
    series = defaultdict(list)
    for match in _SERIES.finditer(so_far):
        known = _BY_NAME.get(match["name"])
        if known and (match["host"] != host or known.group not in groups):
            series[known.name].append(match[0])
    for name, labels, value in _samples(report, stands, now):
        metric = _BY_NAME[f"{_PREFIX}{name}"]
        if value is not None and metric.group in groups:
            series[name].append(_line(metric, host, labels, value))
    text = []
    for metric in METRICS:
        if metric.name in series:
            text.append(f"# HELP {metric.full_name} {metric.says}")
            text.append(f"# TYPE {metric.full_name} gauge")
            text += sorted(series[metric.name])
    return "\n".join([*text, ""])


def _samples(report: Mapping[str, Any], stands: Stands, now: float) -> Iterator[_Sample]:
    yield from _of_run(report, stands, now)
    yield from _of_database(report)
    yield from _of_blockers(report)
    yield from _of_forecast(report)
    for table in report.get("tables", ()):
        yield from _of_table(table, report.get("cutoffs", {}))


def _of_run(report: Mapping[str, Any], stands: Stands, now: float) -> Iterator[_Sample]:
    yield "last_run_timestamp_seconds", (), _unix(report.get("started")) or now
    yield "last_success_timestamp_seconds", (), _unix(report.get("finished")) or now
    yield "last_run_duration_seconds", (), report.get("seconds", 0.0)
    key = "status" if stands == "ended" else "status_if_lost"
    for status in STATUSES:
        yield "last_run_status", (status,), report.get(key, "failed") == status
    for table, rows in report.get("deleted", {}).items():
        yield "last_run_deleted_rows", (table,), rows
    kept: dict[tuple[str, ...], int] = defaultdict(int)
    for one in report.get("kept", ()):
        kept[one["what"], one.get("reason", "other")] += one["rows"]
    for labels, rows in kept.items():
        yield "last_run_kept_rows", labels, rows
    yield from _of_rules(report)
    became = Counter(_outcome(run) for run in report.get("stuck") or ())
    for outcome in _OUTCOMES:
        yield "last_run_stuck_runs", (outcome,), became[outcome]
    for kind, seconds in (dict.fromkeys(get_args(WaitKind), 0) | report.get("waited", {})).items():
        yield "last_run_waited_seconds", (kind,), seconds
    parts = [*report.get("tables", ()), report.get("database", {})]
    locks = [part.get("lock_ms_max", 0) for part in parts]
    yield "last_run_longest_lock_seconds", (), max(locks) / 1000


def _of_rules(report: Mapping[str, Any]) -> Iterator[_Sample]:
    # A rule may have the name of the general policy, and a series must not stand there twice.
    for key, metric in (("rows", "last_run_rule_rows"), ("kept", "last_run_rule_kept_rows")):
        rows: dict[tuple[str, ...], int] = defaultdict(int)
        for rule in report.get("rules") or ():
            rows[rule["kind"], rule["name"]] += rule[key]
        for labels, number in rows.items():
            yield metric, labels, number
    if holds := report.get("holds"):
        yield "last_run_held_runs", (), sum(hold["runs"] for hold in holds)


def _of_database(report: Mapping[str, Any]) -> Iterator[_Sample]:
    database = report.get("database", {})
    yield "database_bytes", (), database.get("bytes_after")
    yield "last_run_database_returned_bytes", (), _back(database)
    if database.get("error"):
        yield "last_run_table_failed", (_FILE,), 1


def _outcome(stuck: Mapping[str, Any]) -> str:
    """Say what became of a stuck run: one that waits is looked at again by the next run."""
    if not stuck["done"]:
        return "waiting"
    return "deleted" if stuck["state"] == LATE else "ended"


def _of_blockers(report: Mapping[str, Any]) -> Iterator[_Sample]:
    found = report.get("blockers")
    if found is None:
        return
    kinds = Counter(one["kind"] for one in found)
    for kind in KINDS:
        yield "vacuum_blockers", (kind,), kinds[kind]
    for name, key in (("oldest_seconds", "age_seconds"), ("wal_bytes", "bytes")):
        yield f"vacuum_blockers_{name}", (), max((one[key] or 0 for one in found), default=0)


def _of_table(table: Mapping[str, Any], cutoffs: Mapping[str, str]) -> Iterator[_Sample]:
    labels = (table["name"],)
    yield "last_run_returned_bytes", labels, _back(table)
    yield "last_run_table_failed", labels, table.get("error") is not None
    yield "table_bytes", labels, table.get("bytes_after")
    yield "table_rows", labels, table.get("rows_after")
    yield "table_bloat_bytes", labels, table.get("bloat_bytes")
    yield "table_growth_rows_per_day", labels, table.get("rows_per_day")
    yield "table_growth_bytes_per_day", labels, table.get("bytes_per_day")
    cutoff = _unix(cutoffs.get(_ENTITY.get(table["name"]) or ""))
    if cutoff is not None:
        oldest = _unix(table.get("oldest_due"))
        yield "table_overdue_seconds", labels, max(0.0, cutoff - oldest) if oldest else 0


def _of_forecast(report: Mapping[str, Any]) -> Iterator[_Sample]:
    yield "retention_working", (), (report.get("verdict") or {}).get("working")
    forecast = report.get("forecast") or {}
    yield "forecast_settled_bytes", (), forecast.get("settles_at_bytes")
    for policy, key in (("this", "days_until_full"), ("none", "days_until_full_without")):
        days = forecast.get(key)
        yield "forecast_disk_full_seconds", (policy,), None if days is None else days * _DAY


def _back(part: Mapping[str, Any]) -> int | None:
    before, after = part.get("bytes_before"), part.get("bytes_after")
    return None if before is None or after is None else max(0, before - after)


def _unix(instant: str | None) -> float | None:
    return datetime.fromisoformat(instant).timestamp() if instant else None


def _line(metric: Metric, host: str, labels: tuple[str, ...], value: float) -> str:
    named = zip(metric.labels, labels, strict=True)
    more = "".join(f',{name}="{_escaped(text)}"' for name, text in named)
    return f'{metric.full_name}{{host="{host}"{more}}} {value * 1}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
