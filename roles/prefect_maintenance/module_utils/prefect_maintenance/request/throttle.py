"""The thresholds at which the work waits for the server that it works on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import SettingsError
from .values import short

# Beyond any threshold that means something; every number up to it is exact.
_MOST = 2**53 - 1


@dataclass(frozen=True)
class Throttle:
    """When the work waits; a threshold of 0 or false is none.

    Attributes:
        enabled: whether anything is looked at.
        replica_lag_bytes: WAL that a standby may be behind.
        replica_lag_seconds: that a standby may be behind, as it tells itself.
        archive_segments: WAL segments that may wait for the archive.
        wal_bytes: that the server may hold in pg_wal.
        disk_free_percent: that stay free on the disk of the database.
        slot_safe_bytes: WAL that must be left before a slot is lost.
        autovacuum: whether autovacuum on the table at hand is waited for.
        active_sessions: times as many as before the work may be active.
        api_latency: times as long as before the work the API may take to answer.
        nice: times as long as a batch took is the pause after it.
        batch_seconds: that a batch should take.
        give_up: seconds after which a wait ends the step.
    """

    enabled: bool = True
    replica_lag_bytes: int = 256 * 2**20
    replica_lag_seconds: float = 0.0
    archive_segments: int = 42
    wal_bytes: int = 0
    disk_free_percent: float = 5.0
    slot_safe_bytes: int = 512 * 2**20
    autovacuum: bool = True
    active_sessions: float = 3.0
    api_latency: float = 3.0
    nice: float = 0.0
    batch_seconds: float = 0.5
    give_up: int = 3600


OFF = Throttle(**{field.name: 0 for field in fields(Throttle)})  # type: ignore[arg-type]


def parse_throttle(given: Any, base: Throttle | None = None, name: str = "throttle") -> Throttle:
    """Check thresholds that were asked for.

    Args:
        given: thresholds by their names; null turns one off.
        base: what is not named stays as it is here, by default the defaults.
        name: where they come from, for texts.

    Raises:
        SettingsError: one is unknown, of the wrong kind or below 0.
    """
    if not isinstance(given, Mapping):
        raise SettingsError(
            f"{name} must map thresholds to numbers, e.g. {{nice: 1}}, not {short(given)}"
        )
    base = base or Throttle()
    known = {field.name: getattr(Throttle, field.name) for field in fields(Throttle)}
    if unknown := [str(key) for key in given if key not in known]:
        raise SettingsError(
            f"{name} names an unknown threshold: {short(', '.join(unknown))}; "
            f"known are {', '.join(known)}"
        )
    told = {key: _value(known[key], value, f"{name}.{key}") for key, value in given.items()}
    if not told.get("enabled", base.enabled):
        return OFF
    now = {key: getattr(base, key) for key in known}
    return Throttle(**{**now, **told, "enabled": True})


def _value(default: bool | float, value: Any, name: str) -> bool | float:
    """Return a value as it is meant, of the kind of the default."""
    if isinstance(default, bool):
        if not isinstance(value, bool | None):
            raise SettingsError(f"{name} must be true or false, not {short(value)}")
        return bool(value)
    most = 100 if name.endswith("_percent") else _MOST
    whole = "a whole number" if isinstance(default, int) else "a number"
    wanted = f"{name} must be {whole}, 0 or more, at most {most}, not {short(value)}"
    try:
        number = math.nan if isinstance(value, bool) else float(0 if value is None else value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(wanted) from None
    if not 0 <= number <= most or (isinstance(default, int) and number % 1):
        raise SettingsError(wanted)
    return int(number) if isinstance(default, int) else number
