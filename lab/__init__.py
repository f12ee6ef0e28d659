"""Real parts for demo, tests and benchmarks: PostgreSQL, Prefect servers, a backlog.

Everything is made inside the checkout or in a temporary directory and gone afterwards.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_orderly() -> None:
    """Let SIGTERM and SIGHUP end this process as an interrupt does: what it started ends first."""

    def leave(number: int, _frame: FrameType | None) -> None:
        # Whoever is impatient and asks twice must not interrupt the clean-up.
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
