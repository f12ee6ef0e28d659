"""The one place for a maintenance run on an SQLite database: a locked file beside it.

The file and not the database itself: closing a second handle of a database drops the locks that
SQLite holds on it in the same process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import Busy, PrivilegeError, SettingsError

_MARK = b"prefect-maintenance "
_LONGEST = 1024


@contextmanager
def lock_file(database: Path, who: str) -> Iterator[None]:
    """Hold the file beside a database, whichever name the database was given by.

    It belongs to the database's owner with the database's mode, so whoever may write the database
    can take the place after a killed run, whoever that ran as.

    Args:
        database: the database's file, or a symbolic link to it.
        who: what another run is told; begins with `prefect-maintenance `.

    Raises:
        Busy: another run holds it; the text says who and since when.
        PrivilegeError: the file cannot be made, or is something else than a lock of this tool.
        SettingsError: the database has several hard links, so there is no one place beside it.
    """
    real = Path(os.path.realpath(database))
    path = real.with_name(real.name + ".maintenance-lock")
    try:
        there = real.stat()
        if there.st_nlink > 1:
            raise SettingsError(
                f"{real} has {there.st_nlink} names (hard links), and SQLite keeps a journal for "
                "each: remove the others"
            )
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_lock(path, "is a symbolic link") from None
        raise PrivilegeError(f"cannot write beside {real}: {error.strerror}") from None
    try:
        with _held(path, handle, there, who):
            yield
    finally:
        os.close(handle)


@contextmanager
def _held(path: Path, handle: int, database: os.stat_result, who: str) -> Iterator[None]:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise _no_lock(path, "is no file of its own")
    told = os.pread(handle, _LONGEST, 0)
    if told and not told.startswith(_MARK):
        raise _no_lock(path, "holds something else")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(handle, _LONGEST, 0).decode(errors="replace").strip()
        raise Busy(
            f"another maintenance run is at work on this database: {text}; wait for it or stop it"
        ) from None
    # Whoever held it before may have removed the file between our opening and locking it.
    if not path.exists() or path.lstat().st_ino != found.st_ino:
        raise Busy("another maintenance run held this database a moment ago; run again")
    _give_to_owner(handle, found, database)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{who}, since {datetime.now(UTC):%F %T} UTC".encode(), 0)
    try:
        yield
    finally:
        path.unlink()


def _give_to_owner(handle: int, found: os.stat_result, database: os.stat_result) -> None:
    """Let whoever may write the database open its lock."""
    if os.geteuid() == 0:
        os.fchown(handle, database.st_uid, database.st_gid)
    elif found.st_uid != os.geteuid():
        return
    elif database.st_gid in (os.getegid(), *os.getgroups()):
        os.fchown(handle, -1, database.st_gid)
    os.fchmod(handle, database.st_mode & 0o666)


def _no_lock(path: Path, what: str) -> PrivilegeError:
    return PrivilegeError(f"{path} {what} and no lock of this tool: look at it, and remove it")
