"""A step ends when whoever started it is gone, so that nobody could stop it any more."""

from __future__ import annotations

import select
from dataclasses import dataclass

from .governors import Answer, Moment, Stop


@dataclass(frozen=True)
class Parent:
    """Ends a step when nobody reads any more what it writes to a pipe or socket.

    sshd closes the pipe when the controller dies or its job is cancelled; a file, and a
    pipe that is still read, never end a step.
    """

    descriptor: int

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        watch = select.poll()
        watch.register(self.descriptor, 0)
        if not any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0)):
            return None
        return gone(moment)


def gone(moment: Moment) -> Stop:
    """End a step for which nobody waits any more."""
    return Stop(f"whoever started the run was gone while at {moment.at}; run again to go on")
