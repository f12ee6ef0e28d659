"""Make a server's backlog inside of its container, and see what a maintenance made of it.

Run there with the server's own Python: `backlog.py make ROWS DAYS`, later `backlog.py verify`, or
`backlog.py untouched` where nothing was to be done; `backlog.py kill UNIT` kills a worker in the
middle of its next run. The database is named by DB_URL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from lab import backlog

NOTES = Path("/var/lib/prefect/backlog.json")
_ENDED = "coalesce(r.end_time, r.state_timestamp, r.start_time, r.expected_start_time)"
_FINISHED = "r.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED')"
# What has to go, counted a day before the cutoff, and what has to stay, counted a day after.
_GOES = {
    "flow_run": f"SELECT count(*) FROM flow_run r WHERE {_FINISHED} AND {_ENDED} < :before",
    "log": f"SELECT count(*) FROM log l JOIN flow_run r ON r.id = l.flow_run_id "
    f"WHERE {_FINISHED} AND l.timestamp < :before",
    "events": "SELECT count(*) FROM events WHERE occurred < :before",
    "event_resources": "SELECT count(*) FROM event_resources WHERE occurred < :before",
    "orphaned log": "SELECT count(*) FROM log WHERE flow_run_id NOT IN (SELECT id FROM flow_run)",
    "orphaned event_resources": "SELECT count(*) FROM event_resources "
    "WHERE event_id NOT IN (SELECT id FROM events)",
}
_STAYS = {
    "flow_run": f"SELECT count(*) FROM flow_run r WHERE {_ENDED} BETWEEN :after AND :made",
    "log": "SELECT count(*) FROM log l JOIN flow_run r ON r.id = l.flow_run_id "
    "WHERE l.timestamp BETWEEN :after AND :made",
    "events": "SELECT count(*) FROM events WHERE occurred BETWEEN :after AND :made",
    "unfinished": "SELECT count(*) FROM flow_run r "
    "WHERE state_type IN ('PENDING', 'RUNNING', 'SCHEDULED') AND created < :made",
    "crashed": "SELECT count(*) FROM flow_run r WHERE state_type = 'CRASHED' AND created < :made",
    "flow": "SELECT count(*) FROM flow WHERE created < :made",
    "deployment": "SELECT count(*) FROM deployment WHERE created < :made",
}
_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE application_name LIKE 'prefect-maintenance%' AND wait_event_type = 'Lock'
"""


def make(url: str, rows: int, days: int) -> None:
    """Multiply what is there to about so many rows and note what a retention of `days` keeps."""
    backlog.settle(url)
    backlog.age_and_multiply(url, rows)
    made = datetime.now(UTC)
    going = _counts(url, _GOES, made, days)
    notes = {
        "made": made.isoformat(),
        "days": days,
        "size": _size(url),
        "goes": going,
        "stays": _counts(url, _STAYS, made, days),
    }
    NOTES.write_text(json.dumps(notes))
    if not all(going.values()):
        raise SystemExit(f"the backlog does not hold everything that has to go: {going}")


def verify(url: str) -> None:
    """Fail unless all that had to go has gone, all that had to stay stayed, and space came back."""
    notes = json.loads(NOTES.read_text())
    made = datetime.fromisoformat(notes["made"])
    left = _counts(url, _GOES, made, notes["days"])
    stayed = _counts(url, _STAYS, made, notes["days"])
    faults = [f"{n} of {what} should have gone" for what, n in left.items() if n]
    faults += [
        f"of {what} {stayed[what]} are left and not {n}"
        for what, n in notes["stays"].items()
        if stayed[what] != n
    ]
    if _size(url) >= notes["size"]:
        faults.append(f"the database takes {_size(url)} bytes and took {notes['size']}")
    if faults:
        raise SystemExit("; ".join(faults))
    print(json.dumps({"stayed": stayed, "bytes": [notes["size"], _size(url)]}))


def untouched(url: str) -> None:
    """Fail unless everything that a maintenance would take is still there."""
    notes = json.loads(NOTES.read_text())
    left = _counts(url, _GOES, datetime.fromisoformat(notes["made"]), notes["days"])
    if left != notes["goes"]:
        raise SystemExit(f"there were {notes['goes']}, and there are {left}")


def kill(url: str, unit: str) -> None:
    """Kill a unit's processes as soon as a maintenance waits for the row that this holds."""
    engine = sa.create_engine(url)
    with engine.begin() as holder, engine.connect() as watcher:
        holder.execute(sa.text("SELECT id FROM log ORDER BY timestamp LIMIT 1 FOR UPDATE"))
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        until = time.monotonic() + 360
        while not watcher.execute(sa.text(_WAITING)).first():
            if time.monotonic() > until:
                raise SystemExit("no maintenance came as far as the oldest log within six minutes")
            time.sleep(0.2)
        subprocess.run(["systemctl", "kill", "--signal=SIGKILL", unit], check=True)


def _counts(url: str, queries: Mapping[str, str], made: datetime, days: int) -> dict[str, int]:
    cutoff, day = made - timedelta(days=days), timedelta(days=1)
    moments = {"before": cutoff - day, "after": cutoff + day, "made": made}
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {}
        for what, query in queries.items():
            used = {n: at.replace(tzinfo=None) if engine.dialect.name == "sqlite" else at
                    for n, at in moments.items() if f":{n}" in query}  # fmt: skip
            found[what] = int(connection.execute(sa.text(query), used).scalar_one())
    return found


def _size(url: str) -> int:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        return Path(str(engine.url.database)).stat().st_size
    with engine.connect() as connection:
        return int(
            connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
        )


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(os.environ["DB_URL"], int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "kill":
        kill(os.environ["DB_URL"], sys.argv[2])
    else:
        {"verify": verify, "untouched": untouched}[sys.argv[1]](os.environ["DB_URL"])
