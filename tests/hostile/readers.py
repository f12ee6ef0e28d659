"""Those who read with a snapshot from before, in every way in which one is kept."""

from __future__ import annotations

import re
import subprocess
import threading

from maintenance import wait_until
from psycopg2.extensions import connection as Connection

from lab.postgres import PASSWORD

from .scene import LIMIT, OTHERS, Scene, run


def _expect(scene: Scene, seen: set[str], who: str) -> None:
    lost = scene.survivors - scene.gone - scene.free - seen
    if lost:
        scene.errors.append(f"{who} did not see {len(lost)} of {len(scene.survivors)} kept logs")


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
