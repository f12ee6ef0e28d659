"""Make a role for the maintenance."""

from __future__ import annotations

from ..database import role
from ..errors import SettingsError, Unsupported
from ..pace.pace import Pace
from ..request.settings import Settings
from .outcome import Outcome
from .session import begun


def provide_role(settings: Settings, pace: Pace) -> Outcome:
    """Make a role for the maintenance and grant it what is missing; `db_url` is the owner's.

    Raises:
        MaintenanceError: the database has no roles, or they may not be made.
    """
    wanted = settings.role
    if wanted is None:
        raise SettingsError("role is missing: the name of the role in the database")
    with begun("role", settings, pace) as session:
        if not session.database.is_postgresql:
            raise Unsupported("SQLite has no roles; run as the user that owns the file")
        done = role.provide(
            session.database, wanted.name, wanted.password, own=wanted.own, check=settings.check
        )
        report = session.report.with_warnings(done.warnings).closed("role", session.seconds)
    answers = {"statements": list(done.statements)}
    return Outcome(bool(done.statements), report, list(done.statements), answers, {}, {})
