"""Windows of time in which the work may go on, or may not, as the user asked for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from ..errors import SettingsError
from .cron import Cron
from .values import given, short

KINDS = ("allow", "deny")
_KEYS = ("cron", "duration", "timezone", "kind")
LONGEST = timedelta(days=7)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d{1,9}d)?(?:\d{1,9}h)?(?:\d{1,9}m)?(?:\d{1,9}s)?|\d{1,9}")


@dataclass(frozen=True)
class Window:
    """A window that opens again and again.

    Attributes:
        cron: when it opens, by the clocks of the time zone.
        duration: for how long it is open each time; time that really passes, whatever clocks do.
        timezone: name of the zone.
        allows: whether the work may go on in it, or may not.
    """

    cron: Cron
    duration: timedelta
    timezone: str = "UTC"
    allows: bool = True

    def open_until(self, at: datetime) -> datetime | None:
        """Return when it closes, if it is open at an instant."""
        opened = self.cron.latest(at - self.duration, at, zone_of(self.timezone))
        return None if opened is None else opened + self.duration

    def opens_after(self, at: datetime) -> datetime | None:
        """Return when it opens next after an instant; None when that is not in forty years."""
        return self.cron.following(at, zone_of(self.timezone))


def parse_windows(request: Mapping[str, Any]) -> tuple[Window, ...]:
    """Check the windows of a request.

    Raises:
        SettingsError: one cannot be read; the text names its number, from 1 on, and the key.
    """
    told = given(request, "windows")
    if isinstance(told, str) or not isinstance(told, Sequence):
        such = "[{cron: '0 22 * * *', duration: 4h}]"
        raise SettingsError(f"windows must be a list, e.g. {such}, not {short(told)}")
    return tuple(_window(one, f"window {number}") for number, one in enumerate(told, 1))


def _window(told: Any, which: str) -> Window:
    if not isinstance(told, Mapping):
        keys = ", ".join(_KEYS)
        raise SettingsError(f"windows: {which} must map {keys} to values, not {short(told)}")
    for key in told:
        if key not in _KEYS:
            raise SettingsError(
                f"windows: the key {short(key)} of {which} is unknown; known are {', '.join(_KEYS)}"
            )
    kind, timezone = told.get("kind") or "allow", told.get("timezone") or "UTC"
    if kind not in KINDS:
        raise SettingsError(
            f"windows: kind of {which} must be one of {', '.join(KINDS)}, not {short(kind)}"
        )
    cron, duration = _cron(told.get("cron"), which), _duration(told.get("duration"), which)
    # A machine that only checks may know no zone at all; the one that does the work says so.
    named = isinstance(timezone, str) and (_known(timezone) or not available_timezones())
    if not named:
        raise SettingsError(
            f"windows: timezone of {which} must be the name of a known one, e.g. Europe/Berlin, "
            f"not {short(timezone)}"
        )
    return Window(cron, duration, timezone, kind == "allow")


def _cron(told: Any, which: str) -> Cron:
    wanted = f"windows: cron of {which}"
    if not isinstance(told, str):
        raise SettingsError(f"{wanted} must be five fields, e.g. '0 22 * * *', not {short(told)}")
    try:
        return Cron.parse(told)
    except ValueError as error:
        raise SettingsError(
            f"{wanted} must be five fields, e.g. '0 22 * * mon-fri'; of {short(told)}, {error}"
        ) from None


def _duration(told: Any, which: str) -> timedelta:
    refused = SettingsError(
        f"windows: duration of {which} must be e.g. 4h, 90m, 1h30m or seconds, from 1 second to "
        f"7 days, not {short(told)}"
    )
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        raise refused
    if isinstance(told, str):
        text = told.replace(" ", "").lower()
        if not _DURATION.fullmatch(text):
            raise refused
        parts = re.findall(r"(\d+)([dhms]?)", text)
        told = sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not 1 <= told <= LONGEST.total_seconds():
        raise refused
    return timedelta(seconds=told)


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name.

    Raises:
        SettingsError: this machine does not know it.
    """
    zone = _known(name)
    if zone is None:
        raise SettingsError(
            f"windows: timezone {short(name)} is not known here; install the package tzdata"
        )
    return zone


def _known(name: str) -> tzinfo | None:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
