"""Those who write rows, in every way that a database allows, and all who read them."""

from __future__ import annotations

import uuid

from .parties import RUNS, Party
from .readers import STABLE, one_string, pg_dump, prepared_reader, snapshot_reader, stable_function
from .scene import LOG, Scene, new_log, run

_OLD = "2025-01-01 00:00:00+00"


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
    for changed in run(
        opened,
        f"UPDATE log SET message = 'changed past all triggers' WHERE id IN ({victims}) "
        f"RETURNING {LOG}",
        [0],
    ):
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
            logs = run(
                opened, "SELECT id::text FROM log WHERE flow_run_id = %s FOR SHARE", [flow_run]
            )
            tasks = run(opened, "SELECT id::text FROM task_run WHERE flow_run_id = %s", [flow_run])
            scene.free |= scene.retried
            if not (waited or scene.waited.is_set()):
                # Nothing ran between the retry and the look: all this is of an unfinished run.
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
