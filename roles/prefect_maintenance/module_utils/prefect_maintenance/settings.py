"""What the user asked for, checked once and never changed afterwards."""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import clock
from .api_address import check_api_url, check_headers
from .errors import MaintenanceError, SettingsError
from .masking import Mask

ENTITIES = ("flow_runs", "task_runs", "artifacts", "logs", "events")

# Prefect: StateType in prefect.client.schemas.objects; TERMINAL_STATES beside it.
TERMINAL_STATES = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
UNFINISHED_STATES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")

VACUUM_MODES = ("auto", "none", "plain", "full", "rewrite", "repack")
RUN_DELETE_WAYS = ("api", "sql")
PURGE_STRATEGIES = ("auto", "delete", "rewrite")

# The steps that a measurement may come before.
STEPS_AFTER = ("purge", "delete", "vacuum")

# POST /flow_runs/bulk_delete answers 422 above this (Prefect: BULK_OPERATION_LIMIT).
BULK_LIMIT = 50

# The least and the most of every number. A hundred years of days reach back before any computer.
BOUNDS = {
    "retention_days": (1, 36500),
    "batch_size": (1, 10_000_000),
    "concurrency": (1, 100),
    "max_runtime": (0, 31_536_000),
    "per_cluster": (0, 10_000),
    "vacuum_min_bytes": (0, 2**53 - 1),
    "vacuum_min_percent": (0, 100),
}

# An orphaned log younger than this may belong to a run whose row is still on its way.
ORPHAN_GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class Policy:
    """How long each entity is kept, in days, and which terminal states may go."""

    days: Mapping[str, int]
    states: tuple[str, ...]

    def as_report(self) -> dict[str, Any]:
        """Return the policy as it stands in the JSON report."""
        return {"retention_days": dict(self.days), "states": list(self.states)}


@dataclass(frozen=True)
class Cutoffs:
    """The instants, in UTC, before which each entity may go; all counted from `reference`."""

    reference: datetime
    flow_runs: datetime
    task_runs: datetime
    artifacts: datetime
    logs: datetime
    events: datetime
    orphans: datetime

    @classmethod
    def of(cls, policy: Policy, reference: datetime) -> Cutoffs:
        """Count every cutoff of the policy back from one instant."""
        at = {entity: reference - timedelta(days=policy.days[entity]) for entity in ENTITIES}
        return cls(reference=reference, orphans=reference - ORPHAN_GRACE, **at)

    def as_report(self) -> dict[str, str]:
        """Return the cutoffs as ISO 8601 texts in UTC."""
        return {entity: iso(getattr(self, entity)) for entity in ENTITIES}


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
    number), and nothing goes on while the stop file exists.
    """

    batch_size: int
    concurrency: int
    lock_timeout: float
    max_runtime: int
    per_cluster: int
    stop_file: Path | None


@dataclass(frozen=True)
class Reclaim:
    """How space is given back, and the two thresholds below which a table is left alone."""

    mode: str
    min_bytes: int
    min_percent: int


@dataclass(frozen=True)
class RoleWish:
    """A role in the database to be made: its name, its password, and whether it owns with others.

    The password is given to a new role only; None leaves it without one.
    """

    name: str
    password: str | None
    own: bool


@dataclass(frozen=True)
class Settings:
    """One request to the engine.

    Attributes:
        before: the steps that are to follow, whose privileges are looked for first.
    """

    db_url: str | None
    api: Api | None
    policy: Policy
    cutoffs: Cutoffs
    limits: Limits
    reclaim: Reclaim
    purge_strategy: str
    run_delete_via: str
    growth_drivers: bool
    before: tuple[str, ...]
    role: RoleWish | None
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
        asked = request.get("reference_time") or report.get("reference_time")
        reference = parse_instant(asked) if asked else now or clock.now()
        return cls(
            db_url=request.get("db_url") or None,
            api=parse_api(request),
            policy=policy,
            cutoffs=_cutoffs(policy, reference),
            limits=Limits(
                batch_size=_number(request, "batch_size", 20000),
                concurrency=_number(request, "concurrency", 4),
                lock_timeout=_seconds(_given(request, "lock_timeout", 5.0)),
                max_runtime=_number(request, "max_runtime", 0),
                per_cluster=_number(request, "per_cluster", 1),
                stop_file=Path(request["stop_file"]) if request.get("stop_file") else None,
            ),
            reclaim=Reclaim(
                mode=_one_of(_given(request, "vacuum", "auto"), VACUUM_MODES, "vacuum"),
                min_bytes=_number(request, "vacuum_min_bytes", 100 * 2**20),
                min_percent=_number(request, "vacuum_min_percent", 20),
            ),
            purge_strategy=_one_of(
                _given(request, "purge_strategy", "auto"), PURGE_STRATEGIES, "purge_strategy"
            ),
            run_delete_via=_one_of(
                _given(request, "run_delete_via", "api"), RUN_DELETE_WAYS, "run_delete_via"
            ),
            growth_drivers=bool(request.get("growth_drivers")),
            before=tuple(
                _one_of(step, STEPS_AFTER, "before") for step in request.get("before") or ()
            ),
            role=_parse_role(request),
            check=check,
            own_flow_run=os.environ.get("PREFECT__FLOW_RUN_ID") or None,
            report=report,
        )

    def mask(self) -> Mask:
        """Return what takes the secrets of this request out of texts."""
        return Mask.of(self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must never be shown, in each form it may take."""
        found: set[str] = set()
        if self.role and self.role.password:
            found.add(self.role.password)
        if self.db_url:
            found |= url_secrets(self.db_url)
        if self.api:
            # A header such as Host repeats what the address shows.
            headers = {v for v in (self.api.headers or {}).values() if v not in self.api.url}
            found |= {value for value in (self.api.auth_string, self.api.key, *headers) if value}
            if self.api.auth_string and ":" in self.api.auth_string:
                found.add(self.api.auth_string.split(":", 1)[1])
        return tuple(sorted(found, key=len, reverse=True))


def url_secrets(url: str) -> set[str]:
    """Return the password of a database URL, and its secret options, decoded and encoded."""
    from .addresses import database_secrets
    from .connection import parse_url

    try:
        parsed = parse_url(url)
    except MaintenanceError:
        return {url}
    return database_secrets(parsed)


def parse_policy(request: Mapping[str, Any]) -> Policy:
    """Check retention and states.

    Raises:
        SettingsError: retention is not a whole number of days from 1, its entity is unknown,
            or a state is unknown or not terminal.
    """
    everywhere = _integer(_given(request, "retention_days", 15), "retention_days", unit="days")
    own = _given(request, "retention", {})
    if not isinstance(own, Mapping):
        raise SettingsError(
            f"retention must map entities to days, e.g. {{logs: 7}}, not {_short(own)}"
        )
    unknown = [entity for entity in own if entity not in ENTITIES]
    if unknown:
        raise SettingsError(
            f"retention names an unknown entity: {', '.join(map(str, unknown))}; "
            f"known are {', '.join(ENTITIES)}"
        )
    days = {
        entity: _integer(own[entity], f"retention.{entity}", BOUNDS["retention_days"], unit="days")
        if entity in own
        else everywhere
        for entity in ENTITIES
    }
    return Policy(days=days, states=_parse_states(request.get("states")))


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant; without an offset it is taken as UTC.

    Raises:
        SettingsError: the text is not an instant.
    """
    try:
        instant = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise SettingsError(
            f"reference_time {text!r} is not an ISO 8601 time, e.g. 2026-01-31T03:00:00Z"
        ) from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)


def _cutoffs(policy: Policy, reference: datetime) -> Cutoffs:
    try:
        return Cutoffs.of(policy, reference)
    except OverflowError:
        raise SettingsError(
            f"reference_time {iso(reference)} less the retention lies before all times; correct it"
        ) from None


def iso(instant: datetime) -> str:
    """Write an instant as the report does: UTC, ending in Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _parse_states(value: Any) -> tuple[str, ...]:
    names = ["COMPLETED", "FAILED", "CANCELLED"] if value is None else value
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise SettingsError("states must be a list of terminal states, e.g. [COMPLETED, FAILED]")
    for name in names:
        if name in UNFINISHED_STATES:
            raise SettingsError(
                f"states has {name}, which is not terminal and is never deleted; "
                f"terminal are {', '.join(TERMINAL_STATES)}"
            )
        if name not in TERMINAL_STATES:
            raise SettingsError(
                f"states has the unknown state {_short(name)}; "
                f"terminal are {', '.join(TERMINAL_STATES)}"
            )
    return tuple(dict.fromkeys(names))


def parse_api(request: Mapping[str, Any]) -> Api | None:
    """Check how the API is reached; None without an address.

    Raises:
        SettingsError: the address is none, or holds a password.
    """
    headers = _given(request, "api_headers", {})
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


def _parse_role(request: Mapping[str, Any]) -> RoleWish | None:
    name = request.get("role")
    if not name:
        return None
    return RoleWish(str(name), request.get("password") or None, bool(request.get("own")))


def _given(request: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return what was asked for; 0 and an empty text are answers, which may be refused."""
    value = request.get(name)
    return default if value is None else value


def _number(request: Mapping[str, Any], name: str, default: int) -> int:
    return _integer(_given(request, name, default), name)


def _integer(
    value: Any, name: str, bounds: tuple[int, int] | None = None, *, unit: str = ""
) -> int:
    least, most = bounds or BOUNDS[name]
    wanted = f"a whole number{f' of {unit}' if unit else ''}, {least} or more, at most {most}"
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,20}\s*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SettingsError(f"{name} must be {wanted}, not {_short(value)}")
    return value


def _seconds(value: Any) -> float:
    wanted = "lock_timeout must be seconds, more than 0 and less than 86400, not"
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{wanted} {_short(value)}") from None
    if not 0 < seconds < 86400:
        raise SettingsError(f"{wanted} {_short(value)}")
    return seconds


def _short(value: Any) -> str:
    return reprlib.repr(value)


def _one_of(value: Any, choices: tuple[str, ...], name: str) -> str:
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return str(value)
