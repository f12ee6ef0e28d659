"""Those who read and write rows, in every way that a database allows."""

from __future__ import annotations

import re
import subprocess
import threading
import uuid

from maintenance import wait_until
from psycopg2.extensions import connection as Connection

from lab.postgres import PASSWORD

from .parties import RUNS, Party
from .scene import LIMIT, LOG, OTHERS, Scene, new_log, run

_OLD = "2025-01-01 00:00:00+00"


def _expect(scene: Scene, seen: set[str], who: str) -> None:
    lost = scene.survivors - scene.gone - scene.free - seen
    if lost:
        scene.errors.append(f"{who} did not see {len(lost)} of {len(scene.survivors)} kept logs")


def truncate(scene: Scene) -> None:
    opened = scene.connect()
    opened.autocommit = False
    run(opened, "LOCK TABLE log IN ACCESS EXCLUSIVE MODE")
    rows = run(opened, "SELECT id::text FROM log")
    run(opened, "TRUNCATE log")
    opened.commit()
    opened.close()
    for (row,) in rows:
        scene.took(row)


def write(scene: Scene) -> None:
    opened = scene.connect()
    for _ in range(5):
        new_log(scene, opened, "written at the place")
    opened.close()


def replica(scene: Scene) -> None:
    _past_triggers(scene, "SET session_replication_role = replica")


def triggers_off(scene: Scene) -> None:
    _past_triggers(scene, "ALTER TABLE log DISABLE TRIGGER ALL")


def _past_triggers(scene: Scene, how: str) -> None:
    opened = scene.connect()
    run(opened, how)
    for _ in range(5):
        new_log(scene, opened, "written past all triggers")
    victims = "SELECT id FROM log WHERE name = 'spare' ORDER BY ctid LIMIT 3 OFFSET %s"
    change = "UPDATE log SET message = 'changed past all triggers'"
    for changed in run(opened, f"{change} WHERE id IN ({victims}) RETURNING {LOG}", [0]):
        scene.wrote(changed, new=False)
    for (row,) in run(opened, f"DELETE FROM log WHERE id IN ({victims}) RETURNING id::text", [3]):
        scene.took(row)
    opened.close()


def retry(state: str) -> Party:
    def act(scene: Scene) -> None:
        opened = scene.connect()
        found = run(
            opened,
            "UPDATE flow_run SET state_type = %s, end_time = NULL WHERE id = "
            "(SELECT f.id FROM flow_run f WHERE f.name = 'to be retried') RETURNING id::text",
            [state],
        )
        waited = scene.waited.is_set()
        for (flow_run,) in found:
            of_run = "FROM log WHERE flow_run_id = %s FOR SHARE"
            logs = run(opened, f"SELECT id::text {of_run}", [flow_run])
            tasks = run(opened, "SELECT id::text FROM task_run WHERE flow_run_id = %s", [flow_run])
            scene.free |= scene.retried
            # Nothing ran between the retry and the look: all this is of an unfinished run.
            if not (waited or scene.waited.is_set()):
                scene.kept["flow_run"] = {flow_run}
                scene.kept["log"] = {row for (row,) in logs}
                scene.kept["task_run"] = {row for (row,) in tasks}
        opened.close()

    return Party(f"a run is set {state}", act, tables=RUNS)


def across(scene: Scene) -> None:
    """Date an old log young, a young one old, and write an old one."""
    opened = scene.connect()
    pick = "SELECT id FROM log WHERE name = '{}' ORDER BY id LIMIT 1"
    for row in run(
        opened,
        f"UPDATE log SET timestamp = now() WHERE id = ({pick.format('old')}) RETURNING {LOG}",
    ):
        scene.wrote(row, new=False)
    for row in run(
        opened,
        f"UPDATE log SET timestamp = '{_OLD}' WHERE id = ({pick.format('spare')}) RETURNING {LOG}",
    ):
        scene.free.add(str(row[0]))
    new = str(uuid.uuid4())
    scene.free.add(new)
    run(
        opened,
        "INSERT INTO log (id, name, level, message, timestamp) VALUES (%s, 'late', 20, 'm', %s)",
        [new, _OLD],
    )
    scene.balance["log"] += 1
    opened.close()


def infinite(scene: Scene) -> None:
    opened = scene.connect()
    for _ in range(3):
        new_log(scene, opened, "never ends", "infinity")
    new = new_log(scene, opened, "was always", "-infinity")
    scene.free.add(new)
    opened.close()


def prepared_reader(scene: Scene) -> None:
    opened = scene.connect()
    run(opened, "PREPARE theirs AS SELECT id::text FROM log")
    run(opened, "EXECUTE theirs")

    def read_again() -> None:
        _expect(scene, {row for (row,) in run(opened, "EXECUTE theirs")}, "a prepared statement")
        opened.close()

    scene.ending.append(read_again)


def snapshot_reader(scene: Scene) -> None:
    opened = scene.connect()
    opened.autocommit = False
    run(opened, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run(opened, "SELECT count(*) FROM flow")

    def read() -> None:
        seen = {row for (row,) in run(opened, "SELECT id::text FROM log")}
        _expect(scene, seen, "a REPEATABLE READ reader")
        opened.close()

    scene.ending.append(read)


_GATE = 4711


def _behind_the_gate(scene: Scene, sql: str, who: str) -> None:
    """Begin a statement whose snapshot is taken now and that reads the logs after the step."""
    gate = scene.connect("hostile-observer")
    run(gate, "SELECT pg_advisory_lock(%s)", [_GATE])
    opened = scene.connect("hostile-reader")
    seen: list[set[str]] = []
    failed: list[Exception] = []

    def read() -> None:
        try:
            seen.append({row for (row,) in run(opened, sql)})
        except Exception as error:  # Handed on at the end.
            failed.append(error)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    wait_until(lambda: bool(failed or _at_the_gate(gate)), LIMIT, f"{who} did not come to its gate")

    def open_gate() -> None:
        run(gate, "SELECT pg_advisory_unlock(%s)", [_GATE])
        reading.join(30)
        gate.close()
        opened.close()
        if failed:
            raise failed[0]
        _expect(scene, seen[0], who)

    scene.ending.append(open_gate)


def _at_the_gate(gate: Connection) -> bool:
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'hostile-reader' AND wait_event = 'advisory'"
    )
    return bool(run(gate, waiting))


def one_string(scene: Scene) -> None:
    _behind_the_gate(
        scene,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM flow; "
        f"SELECT pg_advisory_lock_shared({_GATE}); SELECT id::text FROM log",
        "a REPEATABLE READ reader that sent one string",
    )


STABLE = (
    "CREATE FUNCTION theirs() RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$ BEGIN "
    f"PERFORM pg_advisory_lock_shared({_GATE}); RETURN QUERY SELECT id::text FROM log; END $$"
)


def stable_function(scene: Scene) -> None:
    scene.do(STABLE)
    _behind_the_gate(scene, "SELECT * FROM theirs()", "a STABLE function")


def two_phase(scene: Scene) -> None:
    opened = scene.connect()
    name = f"theirs-{scene.name}"
    run(opened, "BEGIN")
    rows = run(
        opened,
        "INSERT INTO log (id, name, level, message, timestamp) "
        "SELECT gen_random_uuid(), 'live', 20, 'in two phases', now() "
        f"FROM generate_series(1, 3) RETURNING {LOG}",
    )
    run(opened, f"PREPARE TRANSACTION '{name}'")
    opened.close()

    def commit() -> None:
        scene.do(f"COMMIT PREPARED '{name}'")
        for row in rows:
            scene.wrote(row, new=True)

    scene.ending.append(commit)


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pg_dump(scene: Scene) -> None:
    """Begin a dump that has its snapshot and locks and reads the rows when the step has ended."""
    process = subprocess.Popen(
        [scene.cluster.program("pg_dump"), "-h", "127.0.0.1", "-p", str(scene.cluster.port),
         "-U", "postgres", scene.name],
        env={"PGPASSWORD": PASSWORD, "PGAPPNAME": OTHERS}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stream, complaints = process.stdout, process.stderr
    assert stream
    assert complaints
    first = stream.readline()

    def read_on() -> None:
        written = first + stream.read()
        said = complaints.read()
        stream.close()
        complaints.close()
        if process.wait(30):
            # It listed its tables before the swap, locks them after it, and says so.
            if '__maintenance_new" does not exist' not in said:
                scene.errors.append(f"a dump failed: {said}")
            return
        _expect(scene, set(_ID.findall(written)), "a dump")

    scene.ending.append(read_on)


def holding(mode: str) -> Party:
    def act(scene: Scene) -> None:
        with scene.until_the_end() as opened:
            run(opened, f"LOCK TABLE log IN {mode} MODE")

    return Party(f"{mode} lock held", act, interrupts=True)


_ISOLATION = "ALTER DATABASE \"{{name}}\" SET default_transaction_isolation = '{}'"

PEOPLE = (
    *(
        Party(f"writer, {level} by default", write, before=(_ISOLATION.format(level),))
        for level in ("read committed", "repeatable read", "serializable")
    ),
    Party("TRUNCATE", truncate),
    Party("session_replication_role = replica", replica),
    Party("DISABLE TRIGGER ALL", triggers_off),
    retry("RUNNING"),
    retry("SCHEDULED"),
    Party("rows cross the cutoff", across),
    Party("rows dated infinity", infinite),
    Party("prepared statement", prepared_reader),
    Party("REPEATABLE READ reader", snapshot_reader),
    Party("REPEATABLE READ in one string", one_string),
    Party("STABLE function", stable_function, schema=(STABLE,)),
    Party("two-phase transaction", two_phase, interrupts=True),
    Party("pg_dump", pg_dump, interrupts=True),
    holding("ACCESS SHARE"),
    holding("ROW EXCLUSIVE"),
    holding("ACCESS EXCLUSIVE"),
)
