"""Time the parts of a plan that is made in a process of its own; prints them as JSON.

The environment names the database as URL and what is asked for as ASKED.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from prefect_maintenance.database.connection import Database
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.plan.delete import plan_delete
from prefect_maintenance.plan.purge import plan_purge
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.session import Session, begun

T = TypeVar("T")


class Timed:
    """What each part took, and the most private memory of its process in the server in MiB.

    Attributes:
        parts: their seconds.
        work: processor seconds of the session's own process in the server.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.parts: dict[str, float] = {}
        self.work: dict[str, float] = {}
        self.memory = 0

    def part(self, name: str, database: Database, work: Callable[[], T]) -> T:
        """Carry out a part and note its seconds."""
        place = Path(f"/proc/{database.scalar('SELECT pg_backend_pid()')}")
        began, worked = time.monotonic(), _worked(place)
        done = work()
        self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - began
        self.work[name] = self.work.get(name, 0.0) + _worked(place) - worked
        told = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        self.memory = max(self.memory, int(told["RssAnon"].split()[0]) // 1024)
        return done


def _worked(process: Path) -> float:
    """Return the processor seconds that a process has taken."""
    told = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Make the plans of the purge and of the deletion, and look for what is due."""
    settings = Settings.parse(json.loads(os.environ["ASKED"]), check=True)
    timed, rows = Timed(), dict[str, int]()
    for step in sys.argv[1:] or ["purge", "delete", "due"]:
        with begun("bloat_info" if step == "due" else step, settings, Pace()) as session:
            for table, count in _planned(step, session, settings, timed).items():
                rows[table] = rows.get(table, 0) + count
    print(json.dumps({"parts": timed.parts, "work": timed.work, "memory": timed.memory,
                      "rows": rows}))  # fmt: skip


def _planned(step: str, session: Session, settings: Settings, timed: Timed) -> Mapping[str, int]:
    database, cutoffs = session.database, settings.cutoffs
    timed.part("holds", database, lambda: session.rules)
    if step == "due":
        timed.part("due", database, session.note_due)
        return {}
    rules = timed.part("held runs", database, lambda: session.staged_rules)
    plan = partial(plan_delete, database, rules, cutoffs, purged=True)
    if step == "purge":
        plan = partial(plan_purge, database, rules, cutoffs, session.server.unforced)
    return timed.part(step, database, plan).rows


if __name__ == "__main__":
    main()
