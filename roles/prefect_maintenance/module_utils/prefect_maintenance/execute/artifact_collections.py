"""Artifact collections follow their artifacts: to the newest that is left, else out."""

from __future__ import annotations

from ..catalogue import ARTIFACT_COLLECTION
from ..database.connection import Database
from ..request.policy import Cutoffs
from .archive_rows import archive_rows

_STALE = "NOT EXISTS (SELECT 1 FROM artifact a WHERE a.id = artifact_collection.latest_id)"
_LATEST = "SELECT 1 FROM artifact a WHERE a.key = artifact_collection.key"
_LOCK_STALE = f"SELECT id FROM artifact_collection WHERE {_STALE} FOR UPDATE"
# The collection repeats the columns of its newest artifact.
_REPOINT = f"""
UPDATE artifact_collection SET
    (latest_id, task_run_id, flow_run_id, type, data, description, metadata_, updated) = (
        SELECT a.id, a.task_run_id, a.flow_run_id, a.type, a.data, a.description, a.metadata_,
               :now
        FROM artifact a WHERE a.key = artifact_collection.key
        ORDER BY a.created DESC, a.id DESC LIMIT 1)
WHERE {_STALE} AND EXISTS ({_LATEST})
"""
# As they are before they point to another artifact.
_REPOINTED = f"""
FROM artifact_collection x WHERE x.id IN (
    SELECT id FROM artifact_collection WHERE {_STALE} AND EXISTS ({_LATEST}))
"""
_DELETE = f"DELETE FROM artifact_collection WHERE {_STALE} AND NOT EXISTS ({_LATEST})"

KEYS_OF_WORKLIST = """
CREATE TEMPORARY TABLE prefect_maintenance_keys AS
SELECT DISTINCT x.key AS key FROM artifact x JOIN prefect_maintenance_worklist d ON d.id = x.id
"""
DROP_KEYS = "DROP TABLE IF EXISTS prefect_maintenance_keys"
COLLECTIONS_OF_KEYS = """
SELECT count(*) FROM artifact_collection c
WHERE c.key IN (SELECT k.key FROM prefect_maintenance_keys k)
"""


def settle_collections(database: Database, cutoffs: Cutoffs) -> int:
    """Re-point or remove stale artifact collections; returns how many were removed."""

    def once() -> int:
        with database.transaction():
            if database.is_postgresql:
                # Locked first, so that the statements that follow see what their holder wrote.
                database.rows(_LOCK_STALE)
            archive_rows(database, ARTIFACT_COLLECTION.name, _REPOINTED)
            database.run(_REPOINT, now=cutoffs.reference)
            return database.delete(ARTIFACT_COLLECTION.name, _DELETE)

    return database.retry_on_lock(once)
