"""What a PostgreSQL server has to bear at this moment, seen through a session of its own.

The session that works may be inside a transaction, or must not hold a snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg2

from ..database import visibility
from ..database.connection import Database
from ..database.pooler import had
from ..database.session import application_name
from .disk_gauge import gauge_of
from .disk_space import Disks
from .load import Load, load_of

# Seconds between two looks; the server ends one that takes longer than two.
_EVERY = 1.0
# Seconds before a look is tried again that could not be had.
_AGAIN = 10.0
_PREPARE = """
SET statement_timeout = '2s'; SET lock_timeout = '100ms';
SET idle_session_timeout = 0; SET jit = off
"""

# Everybody sees that a standby is there, and its name; without pg_read_all_stats the rest is NULL.
# Of the senders only those that tell what they have replayed are standbys or subscribers: a base
# backup and pg_receivewal do not, and a subscription's first copies come and go.
# An autovacuum that waits for a lock may wait for one of ours.
_LOOK = """
SELECT json_build_object(
'standbys', (
    SELECT json_agg(json_build_array(
        COALESCE(NULLIF(application_name, ''), host(client_addr), 'pid ' || pid),
        pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint,
        extract(epoch FROM replay_lag)))
    FROM pg_stat_replication
    WHERE (state IS NULL OR replay_lsn IS NOT NULL)
      AND application_name !~ '^pg_[0-9]+_sync_[0-9]+_'),
'slots', (
    SELECT json_agg(json_build_array(slot_name, active, safe_wal_size, wal_status))
    FROM pg_replication_slots WHERE NOT temporary),
'slot_keep', pg_size_bytes(current_setting('max_slot_wal_keep_size')),
'archives', current_setting('archive_mode') <> 'off',
'archiver', (
    SELECT json_build_array(last_archived_wal, last_failed_wal,
        last_failed_time > COALESCE(last_archived_time, '-infinity'))
    FROM pg_stat_archiver),
'segment', pg_walfile_name(pg_current_wal_lsn()),
'segment_bytes', pg_size_bytes(current_setting('wal_segment_size')),
'ready', {ready},
'wal', {wal},
'size', {size},
'active', (
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND backend_type = 'client backend'
      AND application_name NOT LIKE 'prefect-maintenance %'),
'vacuumed', (
    SELECT json_agg(json_build_array(CAST(CAST(v.relid AS regclass) AS text), v.pid,
        COALESCE(a.query LIKE '%(to prevent wraparound)', FALSE)))
    FROM pg_stat_progress_vacuum v JOIN pg_stat_activity a ON a.pid = v.pid
    WHERE v.datname = current_database()
      AND (a.backend_type IS NULL OR a.backend_type = 'autovacuum worker')
      AND a.wait_event_type IS DISTINCT FROM 'Lock')
)
"""
# Functions that pg_monitor may call; whoever may not is refused the whole statement.
_READY = "pg_ls_archive_statusdir()"
_WAL = "pg_ls_waldir()"
_MAY = "SELECT has_function_privilege(:function, 'EXECUTE')"
# The work may need one more session itself, and comes first.
_SPARE = 2
_PLACES = """
SELECT LEAST(CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper
    THEN r.rolconnlimit - count(*) FILTER (WHERE a.usesysid = r.oid) END,
    current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int - count(a.usesysid))
FROM pg_roles r, pg_stat_activity a WHERE r.rolname = current_user
GROUP BY r.rolconnlimit, r.rolsuper
"""


@dataclass
class LoadReader:
    """Looks at a server at most once a second; to be closed.

    Where it cannot, whoever asks goes on, and a warning says so once.

    Attributes:
        database: says where the server is; it is not used once the reader is made.
        disks: where is looked for what is free.
        tell: takes the warnings.
        clock: seconds that only go on.
    """

    database: Database
    tell: Callable[[str], object]
    disks: Disks | None = None
    clock: Callable[[], float] = time.monotonic
    _session: Any = None
    _seen: Load | None = None
    _next: float = -float("inf")
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        database = self.database
        self._gauge = gauge_of(self.disks or Disks(database))
        role = visibility.current_role(database)
        self._stats = visibility.advice(database, role, (visibility.STATS,))
        self._monitor = visibility.grant(database, role, ["pg_monitor"])
        self._crowded = int(database.scalar(_PLACES)) < _SPARE
        ready, wal = (database.scalar(_MAY, function=one) for one in (_READY, _WAL))
        self._sql = _LOOK.format(
            ready=f"(SELECT count(*) FROM {_READY} WHERE name LIKE '%.ready')" if ready else "NULL",
            wal=f"(SELECT sum(size)::bigint FROM {_WAL})" if wal else "NULL",
            size="pg_database_size(current_database())" if self._gauge.parts else "NULL",
        )

    def __call__(self) -> Load | None:
        """Return the latest look, a new one where the last is a second old."""
        if self.clock() < self._next:
            return self._seen
        if self._crowded:
            self._warn("no session is left to look at the server's load, so nothing waits for it")
            return None
        try:
            self._seen = self._look()
            self._next = self.clock() + _EVERY
        except (psycopg2.Error, OSError) as error:
            self.close()
            self._seen, self._next = None, self.clock() + _AGAIN
            self._warn(
                "what the server bears cannot be seen, so the work does not wait for it: "
                f"{' '.join(str(error).split())}"
            )
        return self._seen

    def warn_hidden_wal(self) -> None:
        """Say what lets the role see the WAL files; once."""
        self._warn(
            "how much WAL lies on the server's disk is hidden from the role in db_url; as a "
            f"superuser: {self._monitor}"
        )

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _look(self) -> Load:
        try:
            seen = self._asked()
        except psycopg2.Error:
            # Work may have waited for hours, and somebody on the way ended the idle session.
            if self._session is None or not self._session.closed:
                raise
            self.close()
            seen = self._asked()
        load = load_of(seen, self._gauge.fullest(seen["size"], seen["wal"]))
        if any(one.bytes is None for one in load.standbys) or any(
            one.table is None for one in load.vacuumed
        ):
            self._warn(self._stats)
        return load

    def _asked(self) -> Mapping[str, Any]:
        if self._session is None:
            self._session = self._opened()
        cursor = self._session.cursor()
        _in_time(self._session, partial(cursor.execute, self._sql))
        answer: Mapping[str, Any] = cursor.fetchone()[0]
        return answer

    def _opened(self) -> Any:
        arguments, options = self.database.connection.dialect.create_connect_args(self.database.url)
        options["application_name"] = application_name()
        session: Any = psycopg2.connect(*arguments, **options, async_=1)
        try:
            _in_time(session, lambda: None)
            _in_time(session, partial(session.cursor().execute, _PREPARE))
        except psycopg2.Error:
            session.close()
            raise
        return session

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.tell(text)


def _in_time(session: Any, begin: Callable[[], object]) -> None:
    """Carry something out on the session.

    Raises:
        psycopg2.OperationalError: the server did not answer in time.
    """
    if not had(session, begin):
        raise psycopg2.OperationalError("the server did not answer in time")
