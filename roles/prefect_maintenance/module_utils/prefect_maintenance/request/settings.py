"""What the user asked for, checked once and never changed afterwards."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from . import instants
from .api_address import check_api_url, check_headers
from .instants import parse_instant
from .options import REQUEST
from .policy import Cutoffs, Policy, cutoffs_of, parse_policy
from .restore import RestoreRequest, parse_restore
from .saved_plan import SavedPlan, parse_saved_plan
from .throttle import Throttle, parse_throttle
from .values import given, integer, number, one_of, seconds, short, word
from .windows import Window, parse_windows


@dataclass(frozen=True)
class Api:
    """Where the Prefect API is and how to be let in; unset fields fall back to Prefect's own."""

    url: str
    auth_string: str | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None
    ca_cert: str | None = None
    validate_certs: bool = True


@dataclass(frozen=True)
class Limits:
    """Bounds of every step: rows a transaction, seconds for a lock, seconds for the step.

    At most `per_cluster` databases of a PostgreSQL cluster are worked on at a time (0: any
    number), and nothing goes on while the stop file exists or none of the windows is open. The
    work waits for the server by the thresholds of `throttle`, which the limits file may change at
    any time.
    """

    batch_size: int
    concurrency: int
    lock_timeout: float
    max_runtime: int
    per_cluster: int
    stop_file: Path | None
    windows: tuple[Window, ...]
    throttle: Throttle
    limits_file: Path | None


@dataclass(frozen=True)
class Reclaim:
    """How space is given back, and the two thresholds below which a table is left as it is.

    Attributes:
        max_lock: seconds for which a table may be locked against readers or writers.
        max_seconds: for what would have to begin again when a window closes before its end.
    """

    mode: str
    min_bytes: int
    min_percent: int
    max_lock: float = 1.0
    max_seconds: float = math.inf


@dataclass(frozen=True)
class RoleRequest:
    """A role in the database to be made: its name, its password, and whether it owns with others.

    The password is given to a new role only; None leaves it without one.
    """

    name: str
    password: str | None
    own: bool


@dataclass(frozen=True)
class DiskLook:
    """What a look at the database's disk on another host brought.

    Attributes:
        host: where it was looked.
        path: at what; None where nobody knows.
        df: what `df -P -k` printed.
        why: what kept it from that.
    """

    host: str
    path: str | None
    df: str
    why: str


@dataclass(frozen=True)
class Archive:
    """Where rows are written before they go, and for how many days that is kept; 0 is for good."""

    folder: Path
    days: int


@dataclass(frozen=True)
class Settings:
    """One request to the engine.

    Attributes:
        before: the steps that are to follow, whose privileges are looked for first.
        what_if: say what would go with the policy.
        locate: only say where the database's files lie.
        disk: what a look at its disk on another host brought.
        db_free_bytes: free on its disk where nobody can look; 0 where nobody knows.
        max_rows: that a plan may delete; 0 is any number.
        saved_plan: that is to be applied; None where the run makes its own.
        plan_drift: percent by which more rows may go than that has.
        save_plan: make of a check a plan to be kept.
        stuck: days after which an unfinished run is ended, by its state; LATE is one.
        archive: where rows are written before they go; None where they are not.
    """

    db_url: str | None
    api: Api | None
    policy: Policy
    cutoffs: Cutoffs
    limits: Limits
    reclaim: Reclaim
    purge_strategy: str
    run_delete_via: str
    api_budget: int
    tune_autovacuum: bool
    max_rows: int
    saved_plan: SavedPlan | None
    plan_drift: int
    save_plan: bool
    stuck: Mapping[str, int]
    archive: Archive | None
    growth_drivers: bool
    what_if: bool
    locate: bool
    disk: DiskLook | None
    db_free_bytes: int
    before: tuple[str, ...]
    role: RoleRequest | None
    restore: RestoreRequest | None
    check: bool
    own_flow_run: str | None
    report: Mapping[str, Any]

    @classmethod
    def parse(
        cls, request: Mapping[str, Any], *, check: bool, now: datetime | None = None
    ) -> Settings:
        """Check a flat request, as a module's options or a flow's parameters give it.

        Raises:
            SettingsError: a value is out of range, of the wrong kind, or unknown.
        """
        report = request.get("report") or {}
        policy = parse_policy(request)
        saved = parse_saved_plan(request)
        asked = request.get("reference_time") or report.get("reference_time")
        asked = asked or (saved.reference_time if saved else None)
        reference = parse_instant(asked) if asked else now or instants.now()
        return cls(
            db_url=request.get("db_url") or None,
            api=parse_api(request),
            policy=policy,
            cutoffs=cutoffs_of(policy, reference),
            limits=Limits(
                batch_size=number(request, "batch_size"),
                concurrency=number(request, "concurrency"),
                lock_timeout=seconds(request, "lock_timeout"),
                max_runtime=number(request, "max_runtime"),
                per_cluster=number(request, "per_cluster"),
                stop_file=_path(request, "stop_file"),
                windows=parse_windows(request),
                throttle=parse_throttle(given(request, "throttle")),
                limits_file=_path(request, "limits_file"),
            ),
            reclaim=Reclaim(
                mode=word(request, "vacuum"),
                min_bytes=number(request, "vacuum_min_bytes"),
                min_percent=number(request, "vacuum_min_percent"),
                max_lock=seconds(request, "max_lock"),
            ),
            purge_strategy=word(request, "purge_strategy"),
            run_delete_via=word(request, "run_delete_via"),
            api_budget=number(request, "api_budget"),
            tune_autovacuum=bool(given(request, "tune_autovacuum")),
            max_rows=number(request, "max_rows"),
            saved_plan=saved,
            plan_drift=number(request, "plan_drift"),
            save_plan=bool(given(request, "save_plan")),
            stuck=_parse_stuck(request),
            archive=_parse_archive(request),
            growth_drivers=bool(given(request, "growth_drivers")),
            what_if=bool(given(request, "what_if")),
            locate=bool(given(request, "locate")),
            disk=_parse_disk(request),
            db_free_bytes=number(request, "db_free_bytes"),
            before=tuple(one_of(step, "before") for step in request.get("before") or ()),
            role=_parse_role(request),
            restore=parse_restore(request),
            check=check,
            own_flow_run=os.environ.get("PREFECT__FLOW_RUN_ID") or None,
            report=report,
        )


def parse_api(request: Mapping[str, Any]) -> Api | None:
    """Check how the API is reached; None without an address.

    Raises:
        SettingsError: the address is none, or holds a password.
    """
    headers = given(request, "api_headers")
    if headers is None:
        headers = {}
    if not isinstance(headers, Mapping):
        raise SettingsError("api_headers must map names to values, e.g. {X-Tenant: a}")
    check_headers({"Authorization": str(request.get("api_key") or "")}, "api_key")
    check_headers({str(k): str(v) for k, v in headers.items()}, "api_headers")
    url = request.get("api_url")
    if url in (None, ""):
        return None
    return Api(
        url=check_api_url(str(url)),
        auth_string=request.get("api_auth_string") or None,
        key=request.get("api_key") or None,
        headers={str(k): str(v) for k, v in headers.items()} if headers else None,
        ca_cert=request.get("api_ca_cert") or None,
        validate_certs=request.get("api_validate_certs") is not False,
    )


def _path(request: Mapping[str, Any], name: str) -> Path | None:
    return Path(request[name]) if request.get(name) else None


def _parse_stuck(request: Mapping[str, Any]) -> dict[str, int]:
    told, option = given(request, "stuck"), REQUEST["stuck"]
    if not isinstance(told, Mapping):
        raise SettingsError(
            f"stuck must map states to days, e.g. {{RUNNING: 7, PENDING: 2}}, not {short(told)}"
        )
    for state in told:
        if state not in option.known:
            raise SettingsError(
                f"stuck has {short(state)}, which is no state of an unfinished run; "
                f"known are {', '.join(option.known)}"
            )
    return {s: integer(days, f"stuck.{s}", option.bounds, unit="days") for s, days in told.items()}


def _parse_archive(request: Mapping[str, Any]) -> Archive | None:
    folder, days = _path(request, "archive_dir"), number(request, "archive_days")
    return Archive(folder, days) if folder else None


def _parse_disk(request: Mapping[str, Any]) -> DiskLook | None:
    told = given(request, "disk")
    if not isinstance(told, Mapping):
        raise SettingsError("disk must map host, path, df and why to texts")
    if not told.get("host"):
        return None
    host, path, df, why = (str(told.get(name) or "") for name in ("host", "path", "df", "why"))
    return DiskLook(host, path or None, df, why)


def _parse_role(request: Mapping[str, Any]) -> RoleRequest | None:
    name = request.get("role")
    if not name:
        return None
    return RoleRequest(str(name), request.get("password") or None, bool(request.get("own")))
