"""Triggers that write down which rows of a table change while it is copied, and its growth."""

from __future__ import annotations

from ..database.table_guard import take
from ..measure.leftovers import Names
from .rewrite_job import Rewrite


def follow(job: Rewrite, names: Names) -> None:
    """Begin to write down changes, of every session and whatever its replication role.

    The lock waits for every writer to end, so that whoever wrote without being followed has
    committed before the copy begins. The function runs with the rights of its owner in the
    session of whoever writes: its search path is its own, and its tables are named in full.
    """
    database = job.database
    rows, all_rows = names.triggers
    with database.transaction():
        database.ddl(f"CREATE UNLOGGED TABLE {names.changes} (id uuid, grown int)")
        database.ddl(
            f"""
            CREATE FUNCTION {names.function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $follow$
            BEGIN
                IF TG_OP = 'TRUNCATE' THEN
                    INSERT INTO {names.changes} VALUES (NULL, 0);
                ELSIF TG_OP = 'INSERT' THEN
                    INSERT INTO {names.changes} VALUES (NEW.id, 1);
                ELSIF TG_OP = 'DELETE' THEN
                    INSERT INTO {names.changes} VALUES (OLD.id, -1);
                ELSE
                    INSERT INTO {names.changes} VALUES (OLD.id, 0), (NEW.id, 0);
                END IF;
                RETURN NULL;
            END $follow$
            """
        )
        database.ddl(f"REVOKE ALL ON FUNCTION {names.function}() FROM PUBLIC")
        take(database, names.table, "SHARE ROW EXCLUSIVE", job.lock_timeout)
        database.ddl(
            f"CREATE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {names.table} "
            f"FOR EACH ROW EXECUTE FUNCTION {names.function}()"
        )
        database.ddl(
            f"CREATE TRIGGER {all_rows} AFTER TRUNCATE ON {names.table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {names.function}()"
        )
        for trigger in names.triggers:
            database.ddl(f"ALTER TABLE {names.table} ENABLE ALWAYS TRIGGER {trigger}")
