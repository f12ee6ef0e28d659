"""What stands in the way of a rewrite of a table beside itself."""

from __future__ import annotations

from ..database.connection import Database
from . import disk_space, relations

# Bytes of WAL by which a standby may be behind when a rewrite begins.
LAG = 256 * 2**20


def obstacles(database: Database, table: str, kept_bytes: int) -> tuple[str, ...]:
    """Say what keeps a table from being rewritten; nothing when it can be.

    Args:
        database: on PostgreSQL.
        table: its name.
        kept_bytes: about so large will the copy be.
    """
    reasons = [*relations.refusals(database, table)]
    reasons += (row[0] for row in database.rows(relations.REPLICAS, wal=2 * kept_bytes, lag=LAG))
    lacking = disk_space.shortage(database, kept_bytes, table)
    return (*reasons, lacking) if lacking else tuple(reasons)
