"""One database in which a step meets others: who wrote what, who holds what, what is there."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from maintenance import SmallDisk
from psycopg2.extensions import connection as Connection

from lab.postgres import PASSWORD, Postgres

OTHERS = "hostile-party"
OURS = "prefect-maint%"
# No wait of the harness lasts longer than so many seconds.
LIMIT = 60.0
# GRANT takes no lock on the table. Beside any other DDL it may be refused like this, and is said
# again by whoever meant it.
_CHANGED = "tuple concurrently updated"
# The same by bytes, whatever a party made of the columns' types.
LOG = "id::text, level::text, message, timestamp::text, flow_run_id::text"
COUNTED = ("flow_run", "task_run", "artifact", "log", "events", "event_resources")

Rows = dict[str, tuple[str | None, ...]]


@dataclass
class Scene:
    """A database, and what its others have done to it so far.

    Attributes:
        survivors: logs that the step must keep, whatever happens.
        retried: logs of the run that somebody may retry.
        disk: the small one on which the database lies, if it does.
        there: logs that must be there at the end, as they were written; later writes win.
        gone: logs that others took away themselves.
        free: logs that may go or stay, because others changed what decides about them.
        balance: how many rows others put into each table, or took out of it.
        unsure: somebody was cut off while committing, so that numbers are not exact.
        kept: rows of any table that must stay because of what others did.
        errors: what a party saw that it should not have.
        polled: a party waits for our transactions by looking again and again; no lock shows that.
        ending: what is to be done when the step has ended, last first.
        observers: the session of each thread that looks on.
    """

    cluster: Postgres
    name: str
    step: str
    request: dict[str, Any]
    survivors: frozenset[str]
    retried: frozenset[str] = frozenset()
    disk: SmallDisk | None = None
    there: Rows = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    free: set[str] = field(default_factory=set)
    balance: Counter[str] = field(default_factory=Counter)
    unsure: bool = False
    kept: dict[str, set[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    ending: list[Callable[[], None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    waited: threading.Event = field(default_factory=threading.Event)
    polled: threading.Event = field(default_factory=threading.Event)
    mutex: threading.Lock = field(default_factory=threading.Lock)
    observers: dict[int, Connection] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the step works."""
        return self.cluster.url(self.name)

    def connect(self, name: str = OTHERS) -> Connection:
        """Open a session; the caller or the end of the scene closes it."""
        opened = psycopg2.connect(
            host="127.0.0.1", port=self.cluster.port, user="postgres", password=PASSWORD,
            dbname=self.name, application_name=name,
        )  # fmt: skip
        opened.autocommit = True
        return opened

    def ask(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Carry out one statement as an observer, in a session of the calling thread's own."""
        number = threading.get_ident()
        for _ in range(2):
            if number not in self.observers:
                self.observers[number] = self.connect("hostile-observer")
            try:
                return run(self.observers[number], sql, values)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                # The server was restarted since.
                if not self.observers.pop(number).closed:
                    raise
        raise psycopg2.OperationalError("the observer's session was lost twice")

    def close(self) -> None:
        """End the sessions of observers."""
        while self.observers:
            self.observers.popitem()[1].close()

    def do(self, *statements: str) -> None:
        """Carry out statements one by one, each its own transaction, as a party."""
        opened = self.connect()
        try:
            for sql in statements:
                try:
                    run(opened, sql)
                except psycopg2.errors.InternalError_ as refused:
                    if _CHANGED not in str(refused):
                        raise
                    run(opened, sql)
        finally:
            opened.close()

    @contextmanager
    def until_the_end(self) -> Iterator[Connection]:
        """Open a session whose transaction stays open until the step has ended."""
        opened = self.connect()
        opened.autocommit = False
        self.ending.append(opened.close)
        yield opened

    def blockers(self) -> set[int]:
        """Return the sessions of ours for which a party waits, itself or through others."""
        found = self.ask(
            """
            WITH RECURSIVE chain AS (
                SELECT a.pid, unnest(pg_blocking_pids(a.pid)) AS by
                FROM pg_stat_activity a
                WHERE a.datname = current_database() AND a.application_name = %(others)s
                  AND a.wait_event_type = 'Lock'
                UNION
                SELECT c.pid, unnest(pg_blocking_pids(c.by)) FROM chain c
            )
            SELECT DISTINCT c.by FROM chain c JOIN pg_stat_activity a ON a.pid = c.by
            WHERE a.application_name LIKE %(ours)s
            """,
            {"others": OTHERS, "ours": OURS},
        )
        return {pid for (pid,) in found}

    def logs(self) -> Rows:
        """Read the logs, as far as their columns matter here."""
        return {row[0]: row for row in self.ask(f"SELECT {LOG} FROM log")}

    def ids(self, table: str) -> set[str]:
        """Read the ids of a table."""
        return {row[0] for row in self.ask(f"SELECT id::text FROM {table}")}

    def wrote(self, row: tuple[str | None, ...], *, new: bool) -> None:
        """Note a log that was committed and must be there at the end."""
        with self.mutex:
            self.there[str(row[0])] = row
            self.balance["log"] += new

    def took(self, row: str) -> None:
        """Note a log that somebody else deleted."""
        with self.mutex:
            self.gone.add(row)
            self.balance["log"] -= 1


def run(opened: Connection, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Carry out one statement and return its rows, if it has any."""
    with opened.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall()) if cursor.description else []


NEW_LOG = f"""
INSERT INTO log (id, name, level, message, timestamp)
VALUES (%(id)s, 'live', 20, %(message)s, coalesce(%(at)s::timestamptz, now())) RETURNING {LOG}
"""


def new_log(scene: Scene, opened: Connection, message: str, at: str | None = None) -> str:
    """Write a log that must stay, and note it once it is committed."""
    row = run(opened, NEW_LOG, {"id": str(uuid.uuid4()), "message": message, "at": at})[0]
    scene.wrote(row, new=True)
    return str(row[0])


# So many writes come one right after the other.
_EAGER = 100


class Writer:
    """Somebody who inserts, updates and deletes young logs all the time, in short transactions."""

    def __init__(self, scene: Scene, young: list[str]) -> None:
        self._scene, self._young = scene, young
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.pause = threading.Event()

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause.set()
        self._thread.join(LIMIT)
        if self._thread.is_alive():
            self._scene.errors.append("the writer's last statement never ended")

    def _write(self) -> None:
        own: list[str] = []
        while not self.pause.is_set():
            try:
                opened = self._scene.connect("hostile-writer")
            except psycopg2.Error:
                # The server restarts, or its disk is full.
                self.pause.wait(0.05)
                continue
            try:
                # A step that waits for somebody lasts for seconds; that is no time to be filled.
                while not self.pause.wait(0.01 if len(own) < _EAGER else 0.05):
                    self._one(opened, own)
            except psycopg2.Error as error:
                # Cut off, or no room: whether the last one was committed nobody can tell.
                self._scene.unsure = True
                if error.pgcode and not error.pgcode.startswith(("57", "53", "40", "58")):
                    self._scene.errors.append(f"a writer failed: {error}")
            finally:
                opened.close()

    def _one(self, opened: Connection, own: list[str]) -> None:
        turn = len(own) % 4
        if turn == 3 and self._young:
            row = self._young.pop()
            sql = f"UPDATE log SET message = message || ' again' WHERE id = %s RETURNING {LOG}"
            for changed in run(opened, sql, [row]):
                self._scene.wrote(changed, new=False)
            own.append(row)
        elif turn == 2 and len(own) > 8:
            row = own[-6]
            self._scene.free.add(row)
            if run(opened, "DELETE FROM log WHERE id = %s RETURNING 1", [row]):
                self._scene.took(row)
            own.append(row)
        else:
            own.append(new_log(self._scene, opened, "written meanwhile"))
