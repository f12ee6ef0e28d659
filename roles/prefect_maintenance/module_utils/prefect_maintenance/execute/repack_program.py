"""Watch the program pg_repack at work: end it when it must end, and when it waits for ever."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..database.connection import Database
from ..errors import LockTimeout
from ..measure.blockers import Old, blockers
from ..pace.pace import Pace

# Its sessions beside the table; two of it on one table exclude each other.
_AT_WORK = """
SELECT count(*), count(*) FILTER (WHERE state = 'active') FROM pg_stat_activity
WHERE application_name = 'pg_repack' AND datname = current_database()
"""
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'pg_repack' AND datname = current_database()
"""
_LEFT = """
SELECT EXISTS (SELECT 1 FROM pg_trigger
               WHERE tgrelid = to_regclass(:t) AND tgname = 'repack_trigger')
    OR to_regclass('repack.table_' || to_regclass(:t)::oid) IS NOT NULL
"""
_PAUSE = 0.2


@dataclass
class Watch:
    """Looks at pg_repack again and again while it is at work on a table.

    Attributes:
        patience: seconds in which its sessions may do nothing: it waits then for transactions
            that are older than its copy, by itself without an end; and those in which it may
            tidy up.
    """

    database: Database
    table: str
    patience: float
    pace: Pace
    _worked: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Begin to look."""
        self._worked = time.monotonic()

    def look(self) -> None:
        """Look once.

        Raises:
            Stopped: a governor wants the end.
            LockTimeout: it waits for too long; the text names what is in its way.
        """
        self.pace.look(self.table)
        there, active = self.database.rows(_AT_WORK)[0]
        if active or not there:
            self.begin()
        elif time.monotonic() - self._worked > self.patience:
            found = blockers(self.database, Old(self.patience, 1))
            who = f": {found[0].what}" if found else ""
            raise LockTimeout(
                f"pg_repack waited {self.patience:g} s for a transaction that is older than its "
                f"copy of {self.table}{who}; end it, or run again in a quieter hour"
            )

    def terminate(self) -> None:
        """End its sessions on the server; what one of them waits for is waited for no more."""
        self.database.rows(_TERMINATE)

    def left(self) -> bool:
        """Tell whether something of it is left beside the table."""
        return bool(self.database.scalar(_LEFT, t=self.table))


def ended(
    command: Sequence[str], environment: Mapping[str, str], watch: Watch
) -> subprocess.CompletedProcess[str]:
    """Run the program until it ends, which writes to a file.

    When this process is killed, the program still ends in order: a pipe that nobody reads any
    more would end it at its next word, with all that it has made beside the table still there.

    Raises:
        Stopped: a governor wanted the end; the program has tidied up.
        LockTimeout: it waited for too long, and has tidied up.
    """
    watch.begin()
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=said
        ) as program,
    ):
        try:
            while not _has_ended(program, _PAUSE):
                watch.look()
        except BaseException:
            _end(program, watch)
            raise
        said.seek(0)
        return subprocess.CompletedProcess(command, program.returncode, "", said.read())


def _has_ended(program: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        program.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(program: subprocess.Popen[bytes], watch: Watch) -> None:
    """Let the program tidy up, which it does when it is interrupted; but not without an end.

    To tidy up it asks for a lock behind which everybody queues.
    """
    program.send_signal(signal.SIGINT)
    if not _has_ended(program, watch.patience):
        watch.terminate()
        if not _has_ended(program, watch.patience):
            program.kill()
