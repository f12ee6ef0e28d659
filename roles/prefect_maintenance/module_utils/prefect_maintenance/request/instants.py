"""Instants: the present, as people write them, as reports show them."""

from __future__ import annotations

from datetime import UTC, datetime

from ..errors import SettingsError


def now() -> datetime:
    """Return what the target's clock says, in UTC."""
    return datetime.now(UTC)


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


def iso(instant: datetime) -> str:
    """Write an instant as the report does: UTC, ending in Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
