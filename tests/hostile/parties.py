"""The others: each does what people and programs do to a database while it is maintained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .scene import Scene

Act = Callable[[Scene], None]
# The tables of who changes runs.
RUNS = frozenset({"flow_run", "task_run", "log"})


@dataclass(frozen=True)
class Party:
    """Somebody who acts once, at one statement of the step.

    Attributes:
        name: as a test's name shows it.
        act: what it does; it may note in the scene what must hold afterwards.
        before: statements that make the database ready for it, before the step; {name} is it.
        schema: statements that make of an untouched schema what it makes of it.
        needs: "", "repack", or "disk": what must be there.
        interrupts: it may keep the step from tidying up; then the next run does.
        child: the step runs in a process of its own, which is killed at the place.
        tables: what it reads or changes.
    """

    name: str
    act: Act
    before: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    needs: str = ""
    interrupts: bool = False
    child: bool = False
    tables: frozenset[str] = frozenset({"log"})


def says(name: str, *statements: str) -> Party:
    """Make somebody who changes nothing that a dump of the schema shows."""
    return Party(name, lambda scene: scene.do(*statements))


def changes(name: str, *statements: str) -> Party:
    """Make somebody who changes the schema."""
    return Party(name, lambda scene: scene.do(*statements), schema=statements)


ADMINISTRATORS = (
    says("VACUUM", "VACUUM log"),
    says("VACUUM FULL", "VACUUM FULL log"),
    changes("CLUSTER", "CLUSTER log USING pk_log"),
    says("REINDEX", "REINDEX TABLE log"),
    says("REINDEX CONCURRENTLY", "REINDEX TABLE CONCURRENTLY log"),
    says("ANALYZE", "ANALYZE log"),
    changes("ADD COLUMN", "ALTER TABLE log ADD COLUMN extra int DEFAULT 7"),
    changes("ALTER COLUMN type", "ALTER TABLE log ALTER COLUMN level TYPE bigint"),
    changes("CREATE INDEX", "CREATE INDEX ix_theirs ON log (message)"),
    changes("CREATE INDEX CONCURRENTLY", "CREATE INDEX CONCURRENTLY ix_theirs ON log (message)"),
    changes("DROP INDEX", "DROP INDEX ix_log__level"),
    changes(
        "CREATE TRIGGER",
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER theirs BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION theirs()",
    ),
    changes(
        "CREATE POLICY",
        "CREATE POLICY theirs ON log USING (level > 0)",
        "ALTER TABLE log ENABLE ROW LEVEL SECURITY",
    ),
    changes("CREATE VIEW", "CREATE VIEW theirs AS SELECT id, message FROM log"),
    changes("CREATE RULE", "CREATE RULE theirs AS ON UPDATE TO log WHERE NEW.level < 0 DO NOTHING"),
    changes("CREATE PUBLICATION FOR TABLE", "CREATE PUBLICATION theirs FOR TABLE log"),
    changes("CREATE PUBLICATION FOR ALL TABLES", "CREATE PUBLICATION theirs FOR ALL TABLES"),
    changes(
        "FOREIGN KEY",
        "CREATE TABLE theirs (id int PRIMARY KEY, log_id uuid REFERENCES log ON DELETE CASCADE)",
    ),
    changes("CREATE STATISTICS", "CREATE STATISTICS theirs ON level, flow_run_id FROM log"),
    changes("GRANT on the table", "GRANT SELECT ON log TO their_role"),
    changes("GRANT on a column", "GRANT SELECT (message) ON log TO their_role"),
    changes("REVOKE", "REVOKE SELECT ON log FROM their_reader"),
    changes("ALTER OWNER", "ALTER TABLE log OWNER TO their_role"),
    changes("ALTER TABLE SET", "ALTER TABLE log SET (autovacuum_vacuum_scale_factor = 0.07)"),
    changes("REPLICA IDENTITY", "ALTER TABLE log REPLICA IDENTITY FULL"),
    changes("COMMENT", "COMMENT ON TABLE log IS 'theirs'"),
    changes(
        "BEGIN ATOMIC function",
        "CREATE FUNCTION theirs() RETURNS bigint LANGUAGE sql "
        "BEGIN ATOMIC SELECT count(*) FROM log; END",
    ),
)
