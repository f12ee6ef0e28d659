"""What a person reads when something is wrong: what it is, where, and what to do next."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, name_of, run_step, wait_until
from prefect_maintenance import errors
from prefect_maintenance.errors import Unsupported

from lab import environments
from lab.environments import ROOT
from lab.postgres import PASSWORD, Postgres
from lab.server import asynchronous

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils" / "prefect_maintenance"
HOLD = 4711
# Each table that a migration makes waits until nobody holds the lock.
HELD = f"""
CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = '{{table}}')
    THEN PERFORM pg_advisory_xact_lock_shared({HOLD}); END IF;
END $$;
CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION hold();
"""
WAITS = (
    f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {HOLD} AND NOT granted"
)


@contextmanager
def migration_held_at(cluster: Postgres, name: str, table: str) -> Iterator[str]:
    """Let a real migration stand at the making of a table; yields the URL of its database."""
    url = cluster.create_database(name)
    cluster.execute(HELD.format(table=table), name)
    holder = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=name
    )
    command = [
        str(environments.prefect().parent / "prefect"),
        "server",
        "database",
        "upgrade",
        "-y",
    ]
    with tempfile.TemporaryDirectory() as home, closing(holder), holder.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({HOLD})")
        running = subprocess.Popen(
            command,
            env={
                **os.environ,
                "PREFECT_HOME": home,
                "PREFECT_API_DATABASE_CONNECTION_URL": asynchronous(url),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(
                lambda: cluster.execute(WAITS, name)[0][0] or running.poll() is not None,
                300,
                "the migration never came to the table",
            )
            assert running.poll() is None, "the migration ended before it was held"
            yield url
            cursor.execute(f"SELECT pg_advisory_unlock({HOLD})")
            assert running.wait(300) == 0
        finally:
            running.kill()
            running.wait()


@pytest.mark.parametrize("table", ["public.flow", "public.automation_event_follower"])
def test_a_server_that_is_still_migrating_is_named_as_one_and_served_afterwards(
    cluster: Postgres, table: str
) -> None:
    name = f"migrating_{table.rpartition('_')[2].removeprefix('public.')}"
    try:
        with migration_held_at(cluster, name, table) as url:
            with pytest.raises(Unsupported) as raised:
                run_step("bloat_info", {"db_url": url})
            text = str(raised.value)
            assert "still being migrated" in text
            assert "older than 3" not in text
            assert "run again" in text
        assert run_step("bloat_info", {"db_url": url}).report.status == "ok"
    finally:
        cluster.drop_database(name)


def test_a_database_that_nobody_migrates_is_named_with_its_revision(
    cluster: Postgres, database: str
) -> None:
    name = name_of(database)
    cluster.execute("ALTER TABLE automation_event_follower DROP COLUMN scope", name)
    with pytest.raises(Unsupported) as raised:
        run_step("bloat_info", {"db_url": database})
    revision = cluster.execute("SELECT version_num FROM alembic_version", name)[0][0]
    for part in ("older than 3", revision, "automation_event_follower.scope", "database upgrade"):
        assert part in str(raised.value)


def test_the_footnotes_on_bloat_name_their_tables(cluster: Postgres, database: str) -> None:
    name = name_of(database)
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), "
                "'l', 20, 'm', now() FROM generate_series(1, 500)"
            )
        )
    engine.dispose()
    cluster.execute("ANALYZE log", name)
    notes = [
        line.strip()
        for line in run_step("bloat_info", {"db_url": database}).summary
        if line.startswith("  bloat")
    ]
    assert len(notes) == 2
    estimated = next(line for line in notes if "estimate" in line)
    unknown = next(line for line in notes if "never analysed" in line)
    assert estimated.startswith("bloat of log:")
    assert "events" in unknown
    assert "log," not in unknown
    assert "ANALYZE" in unknown


def test_a_free_disk_that_cannot_be_seen_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    from prefect_maintenance.database.connection import connect
    from prefect_maintenance.measure import disk_space

    monkeypatch.setattr(disk_space, "_LOCAL", ())
    with connect(database, 5.0) as opened:
        text = disk_space.unknown(disk_space.Disks(opened))
    assert text is not None
    assert "another machine" in text
    assert "prefect_maintenance_vacuum: compact" in text
    assert "prefect_maintenance_purge_strategy: delete" in text
    assert "prefect_maintenance_db_host" in text
    assert "prefect_maintenance_db_free_bytes" in text


# --- every failure says what to do --------------------------------------------------------------

# What a person can act on: an option to set, something to do, or a reason that has this itself.
ACTS = (
    "{advice}", "{error}", "{remedy}", "{what}", "{stopped}", "{self._first}", "{holders}",
    "chmod ", "put ",
    "allow ", "check ", "correct", "end a ", "free some ", "grant ", "install", "look at",
    "make ", "name ", "percent-encode", "remove ", "resume ", "run ", "see ", "set ", "stop it",
    "upgrade ", "use ", "wait ", "write ", "must be ", "must list", "must map", "missing",
    "known are", "terminal are", "terminal states are", "e.g.", "GRANT",
)  # fmt: skip


def classes() -> set[str]:
    return {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MaintenanceError)
    }


def literal(node: ast.AST, constants: dict[str, str]) -> str:
    """Return the words of a text, with the names of what is filled in in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return literal(node.value, constants)
    if isinstance(node, ast.BinOp):
        return literal(node.left, constants) + literal(node.right, constants)
    if isinstance(node, ast.IfExp):
        return literal(node.body, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    return f"{{{ast.unparse(node.func if isinstance(node, ast.Call) else node)}}}"


def told() -> list[tuple[str, str]]:
    """Return where the engine makes an error of a text of its own, and that text."""
    found = []
    for path in sorted(ENGINE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: str(node.value.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            text = literal(node.args[0], constants)
            if name in classes() and " " in re.sub(r"{[^}]*}", "", text).strip():
                found.append((f"{path.name}:{node.lineno}", text))
    return found


def test_the_engine_makes_its_errors_where_this_test_looks() -> None:
    assert len(told()) > 40


@pytest.mark.parametrize(("where", "text"), told(), ids=[where for where, _ in told()])
def test_a_failure_says_what_to_do_next(where: str, text: str) -> None:
    assert any(act in text for act in ACTS), f"{where}: {text}"
