"""Between two batches one place decides: go on, or stop and say why."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from ..errors import Stopped


@dataclass(frozen=True)
class Progress:
    """What a step has done so far: rows of a table, of how many in all when that is known."""

    table: str
    rows: int
    of: int | None


def silently(progress: Progress) -> None:
    """Show nothing of the progress: the default of every door."""


@dataclass
class Pace:
    """Called between two batches, never inside one.

    Attributes:
        max_runtime: seconds after which the step stops; 0 is no limit.
        stop_file: as long as this file exists, nothing begins or goes on.
        abandoned: tells that whoever started the step is gone, so that nobody could stop it.
        show: told of the progress.
    """

    max_runtime: int = 0
    stop_file: Path | None = None
    abandoned: Callable[[], bool] | None = None
    show: Callable[[Progress], None] = silently
    _started: float = field(default_factory=time.monotonic)
    _asked: str | None = None

    def __call__(self, progress: Progress) -> None:
        """Show the progress, then go on.

        Raises:
            Stopped: the time budget is used up, somebody asked to stop, by a signal or by the
                stop file, or whoever started the step is gone.
        """
        self.show(progress)
        if self._asked:
            raise Stopped(f"stopped by {self._asked} while at {progress.table}; run again to go on")
        if self.stop_file and self.stop_file.exists():
            raise Stopped(
                f"stopped by the file {self.stop_file} while at {progress.table}; remove it "
                "(playbooks/stop.yml -e prefect_maintenance_stop=false) and run again"
            )
        if self.abandoned and self.abandoned():
            raise Stopped(
                f"whoever started the run was gone while at {progress.table}; run again to go on"
            )
        if self.max_runtime and time.monotonic() - self._started >= self.max_runtime:
            raise Stopped(
                f"the time budget of {self.max_runtime} s was used up while at "
                f"{progress.table}; run again to go on"
            )

    def stop(self, reason: str) -> None:
        """Ask for a stop before the next batch."""
        self._asked = reason

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the run at the next batch instead of in the middle."""

        def heed(number: int, _frame: FrameType | None) -> None:
            self.stop(signal.Signals(number).name)

        before = {n: signal.signal(n, heed) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def unread(descriptor: int) -> bool:
    """Tell whether nobody reads any more what is written to a pipe or socket.

    sshd closes the pipe when the controller dies or its job is cancelled; a file, and a
    pipe that is still read, are never unread.
    """
    watch = select.poll()
    watch.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
