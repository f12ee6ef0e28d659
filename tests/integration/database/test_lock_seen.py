"""What keeps everybody out of a table is seen while it does."""

from __future__ import annotations

import time

from maintenance import wait_until
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.lock_seen import lock_seen

WAITING = """
SELECT count(*) FROM pg_locks WHERE relation = to_regclass('log') AND NOT granted
  AND mode = 'AccessShareLock'
"""


def test_a_lock_that_keeps_everybody_out_is_told_to_last_no_shorter_than_it_does(
    database: str,
) -> None:
    with connect(database, 5.0) as worker, connect(database, 5.0) as observer:
        with lock_seen(observer, worker, "log") as seen, worker.transaction():
            worker.run("LOCK TABLE log IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            # VACUUM gives way to whoever waits, so somebody does.
            wait_until(lambda: worker.scalar(WAITING), 20, "nobody waits for the lock")
            held = time.monotonic() - began
        assert held <= seen.locked <= seen.at_most(60)
        assert seen.at_most(0.001) == 0.001
        # Readers pass: nobody is kept out.
        with worker.transaction(), lock_seen(observer, worker, "log") as seen:
            worker.run("LOCK TABLE log IN SHARE ROW EXCLUSIVE MODE")
        assert (seen.times, seen.locked) == (0, 0.0)
        assert seen.at_most(60) > 0
