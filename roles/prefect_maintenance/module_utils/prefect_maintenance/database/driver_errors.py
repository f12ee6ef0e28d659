"""What a database's driver raises, told as one line of ours: the one place that reads its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from ..errors import (
    Cancelled,
    ConnectionFailed,
    Corrupt,
    DiskFull,
    LockTimeout,
    MaintenanceError,
    PrivilegeError,
)
from ..request.database_url import database_secrets
from ..request.masking import Mask


@contextmanager
def told() -> Iterator[None]:
    """Raise what the driver raises inside as an error of ours.

    Raises:
        MaintenanceError: of the kind that the database's code names.
    """
    try:
        yield
    except DBAPIError as error:
        raise _translated(error) from None
    except PendingRollbackError:
        raise ConnectionFailed("the connection to the database is lost; run again") from None


def unreachable(url: sa.URL, error: DBAPIError) -> ConnectionFailed:
    """Say in one line why a database cannot be connected to, and what to check."""
    where = f"{url.host or 'local socket'}:{url.port or 5432}/{url.database}"
    text = Mask.of(database_secrets(url)).text(_first_line(error))
    advice = "check host, port and that the server runs"
    if "password authentication failed" in text or "no password supplied" in text:
        advice = "check user and password"
    elif "does not exist" in text:
        advice = "check the database and user name"
    elif "SSL" in text or "certificate" in text:
        advice = "check sslmode and sslrootcert"
    elif "No space left on device" in text:
        advice = "the database server's disk is full: make room outside the database first"
    if not url.host and url.get_backend_name() == "sqlite":
        where, advice = str(url.database), "check the path and its permissions"
    return ConnectionFailed(f"cannot connect to the database {where}: {text}; {advice}")


def _translated(error: DBAPIError) -> MaintenanceError:
    """Turn a driver's error into one line of ours; never the statement, never its values."""
    text = _first_line(error)
    code = getattr(error.orig, "pgcode", None) or ""
    if code == "42501":
        return PrivilegeError(
            f"{text}; grant it to the role in db_url, as playbooks/privileges.yml does"
        )
    if code in ("55P03", "40P01") or "database is locked" in text:
        return LockTimeout(
            f"a lock could not be had in time: {text}; raise lock_timeout, or run again off-peak"
        )
    if code == "57014":
        return Cancelled(f"the database ended a statement: {text}; run again")
    if code == "53100" or "disk is full" in text:
        return DiskFull(
            f"the database server's disk is full: {text}; free some disk outside the database, "
            "then shorten the retention and run again"
        )
    if "database disk image is malformed" in text or "file is not a database" in text:
        return Corrupt(f"the SQLite file is damaged: {text}; run again once it is restored")
    if error.connection_invalidated or code.startswith(("08", "57P")):
        return ConnectionFailed(f"the connection to the database was lost: {text}; run again")
    if "readonly database" in text or "read-only" in text:
        return PrivilegeError(
            f"the database cannot be written to: {text}; name the primary in db_url, or run as "
            "the owner of the SQLite file"
        )
    return MaintenanceError(f"the database answered: {text}; look at the database server's log")


def _first_line(error: DBAPIError) -> str:
    text = re.sub(r"\s+", " ", str(error.orig).strip().partition("\n")[0])
    return text or type(error.orig).__name__
