"""Everything the engine raises: one small tree, each message one line that says what to do."""

from __future__ import annotations

from datetime import datetime


class MaintenanceError(Exception):
    """Root of the tree; its text is meant for the person who runs the maintenance.

    It is one line, whatever the names have that a database or a server put into it.

    Attributes:
        remedy: the command or variable that helps against every error of the kind, if one does.
    """

    remedy = ""

    def __str__(self) -> str:
        return "".join(sign if sign.isprintable() else " " for sign in super().__str__())


class SettingsError(MaintenanceError):
    """The request itself cannot be carried out: a wrong value, a missing setting."""


class ConnectionFailed(MaintenanceError):
    """The database or the API cannot be reached, or refuses the credentials."""

    remedy = "correct prefect_maintenance_db_url or prefect_maintenance_api_url"


class Unsupported(MaintenanceError):
    """A dialect, version or database that this tool must not touch."""


class Mismatch(MaintenanceError):
    """The API and the database belong to different servers."""


class Busy(MaintenanceError):
    """Another maintenance run is at work on the same database."""

    remedy = "run again when the other run has ended"


class LockTimeout(MaintenanceError):
    """A lock could not be had in the time allowed."""

    remedy = "run again at a quieter time, or raise prefect_maintenance_lock_timeout"


class GaveWay(LockTimeout):
    """Somebody waits for a lock that this run holds; the run has ended what held it."""


class Cancelled(MaintenanceError):
    """A statement was ended before it was done."""


class HeldTooLong(MaintenanceError):
    """What kept everybody out of a table took longer than it may, and was taken back."""

    remedy = "run again at a quieter time, or raise prefect_maintenance_max_lock"


class DiskFull(MaintenanceError):
    """The disk of the database server is full."""

    remedy = "free some disk on the database server and run again"


class ArchiveFailed(MaintenanceError):
    """Rows could not be archived, so they were not deleted."""

    remedy = "mount prefect_maintenance_archive_dir or make room there, then run again"


class Corrupt(MaintenanceError):
    """The file of the database is damaged; nothing is done to it."""

    remedy = "stop the server, then restore a backup, or: sqlite3 OLD .recover | sqlite3 NEW"


class PrivilegeError(MaintenanceError):
    """The database role lacks a privilege that the step needs."""

    remedy = "ansible-playbook playbooks/privileges.yml"


class ApiError(MaintenanceError):
    """The Prefect API answered with an error, or kept failing.

    Attributes:
        status: HTTP status of the answer that was an error; None where that is not the matter.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class ApiBusy(ApiError):
    """The Prefect API asks to be called later.

    Attributes:
        after: seconds until then, where it says so.
        maintained: its server is under maintenance, which ends by itself.
    """

    def __init__(self, text: str, status: int, after: float | None, *, maintained: bool) -> None:
        super().__init__(text, status)
        self.after = after
        self.maintained = maintained


class Conflict(MaintenanceError):
    """Something of the same name is there and is something else."""


class Stopped(MaintenanceError):
    """The run ended between two batches: time budget used up, or asked to stop.

    Attributes:
        goes_on: when a window opens in which the work may go on, where it ended because none was
            open; the step did not fail then.
    """

    def __init__(self, text: str, remedy: str = "", goes_on: datetime | None = None) -> None:
        super().__init__(text)
        self.remedy = remedy or "run again to go on"
        self.goes_on = goes_on


class PlanRefused(MaintenanceError):
    """A plan must not be carried out: too many rows would go, or it is not the one approved."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class StepFailed(MaintenanceError):
    """Some tables failed; the others were done. The text names each table and its reason."""
