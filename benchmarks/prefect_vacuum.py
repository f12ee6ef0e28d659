"""Call the vacuum functions of Prefect as installed; run with its interpreter.

Arguments: what ("logs", "events", "runs"), batch size, cutoff. Prints the seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime

from prefect.server.database import provide_database_interface
from prefect.server.services import db_vacuum


async def main(what: str, batch: int, cutoff: datetime) -> None:
    """Purge one kind of rows and print the seconds that it took."""
    db = provide_database_interface()
    started = time.monotonic()
    if what == "logs":
        await db_vacuum._batch_delete(db, db.Log, db.Log.timestamp < cutoff, batch)
    elif what == "events":
        await db_vacuum.vacuum_old_events(db=db)
    else:
        await db_vacuum.vacuum_old_flow_runs(db=db)
    print(time.monotonic() - started)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), datetime.fromisoformat(sys.argv[3])))
