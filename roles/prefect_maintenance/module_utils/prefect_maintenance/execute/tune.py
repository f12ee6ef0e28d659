"""Set what of autovacuum would keep the tables small, where that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..database.connection import Database
from ..database.lock_attempts import in_attempts
from ..errors import ConnectionFailed, MaintenanceError, Stopped
from ..events import AutovacuumSet
from ..measure.autovacuum import Setting
from ..pace.pace import Pace
from .ledger import Ledger


def tune(
    database: Database, settings: Iterable[Setting], lock_timeout: float, pace: Pace, ledger: Ledger
) -> None:
    """Set what may be set on single tables; readers and writers pass meanwhile.

    What cannot be had is told with its statement.

    Raises:
        Stopped: between two settings.
        ConnectionFailed: the database is gone.
    """
    for one in settings:
        table = str(one.table)
        pace.ask(table)
        try:
            in_attempts(database, table, lock_timeout, partial(database.ddl, one.do))
        except (ConnectionFailed, Stopped):
            raise
        except MaintenanceError as error:
            ledger.warn(f"{one.setting} of {table} was not set: {error}; it would be: {one.do}")
        else:
            ledger.events(AutovacuumSet(table, one.setting))
