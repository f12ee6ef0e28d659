"""One purge: what it works with."""

from __future__ import annotations

from dataclasses import dataclass

from ..database.connection import Database
from ..measure.disk_space import Disks
from ..measure.examine import Server
from ..pace.pace import Pace
from ..plan.plan import Plan
from ..plan.rules import Rules
from ..request.policy import Cutoffs
from .ledger import Ledger


@dataclass(frozen=True)
class Purge:
    """One purge: where, by which rules, how and how much at a time.

    Attributes:
        plan: what goes, and how the rows of each table go, in their order.
        max_lock: seconds for which a table may be locked.
        disks: where is looked for what is free.
    """

    database: Database
    server: Server
    rules: Rules
    cutoffs: Cutoffs
    plan: Plan
    batch_size: int
    lock_timeout: float
    max_lock: float
    disks: Disks
    pace: Pace
    ledger: Ledger
