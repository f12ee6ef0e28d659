"""The two clocks of a run: the target's, from which cutoffs are counted, and the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..errors import MaintenanceError, SettingsError
from ..request import instants
from .connection import Database

# How far the clocks of target and database may be apart, and a reference time ahead of them.
TOLERANCE = timedelta(seconds=120)


class ClocksDiffer(MaintenanceError):
    """The target's clock and the database's tell different times."""


def require_sound(database: Database, reference: datetime) -> None:
    """Make sure that the instant from which cutoffs are counted is past for the database too.

    On SQLite the target's clock is the database's.

    Args:
        database: whose rows are as old as its clock, or its server's, says.
        reference: the instant from which every cutoff is counted.

    Raises:
        ClocksDiffer: the target's clock is more than two minutes from the database's.
        SettingsError: the reference lies ahead of the database's clock.
    """
    before = there = instants.now()
    if database.is_postgresql:
        there = database.scalar("SELECT clock_timestamp()").astimezone(UTC)
        if not before - TOLERANCE <= there <= instants.now() + TOLERANCE:
            raise ClocksDiffer(
                f"the clock of this machine says {_shown(before)}, the database's "
                f"{_shown(there)}; nothing was changed; set the clock that is wrong, run again"
            )
    if reference > there + TOLERANCE:
        raise SettingsError(
            f"reference_time {_shown(reference)} lies in the future: the database's clock says "
            f"{_shown(there)}; name an instant that has been"
        )


def _shown(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
