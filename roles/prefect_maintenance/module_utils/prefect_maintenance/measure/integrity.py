"""Whether an SQLite file is sound: what is broken is neither purged nor rewritten."""

from __future__ import annotations

from ..database.connection import Database
from ..errors import Corrupt

# Reads every page once, as measuring the tables does; `integrity_check` looks up every row of
# every index as well and takes fifteen times as long.
_CHECK = "PRAGMA quick_check(1)"


def require_intact(database: Database, when: str = "nothing was changed") -> None:
    """Make sure that SQLite finds no fault in the structure of its file.

    Args:
        database: of any dialect; PostgreSQL looks after its own.
        when: said beside a fault: what has been done by then.

    Raises:
        Corrupt: it finds one.
    """
    if database.is_postgresql:
        return
    said = str(database.scalar(_CHECK))
    if said != "ok":
        fault = " ".join(said.replace("*** in database main ***", "").split())
        raise Corrupt(
            f"the SQLite file {database.file} is damaged: {fault}; {when}; run again once it is "
            "restored"
        )
