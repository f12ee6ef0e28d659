"""Rewrite a table that others refer to without a long lock, where PostgreSQL has a way.

PostgreSQL 19 has REPACK (CONCURRENTLY); before, the extension pg_repack does it, driven by its own
program, which must be of the extension's version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from ..database.connection import Database
from ..errors import MaintenanceError, Unsupported
from ..measure import relations
from ..pace.pace import Pace
from .repack_program import Watch, ended

_OWN_COMMAND_FROM = 190000
_EXTENSION = "SELECT extversion FROM pg_extension WHERE extname = 'pg_repack'"
_LEFT_TRIGGER = 'already has a trigger called "repack_trigger"'
_TIDY = (
    "what an interrupted pg_repack leaves slows each write down and keeps it from beginning again: "
    "when none is at work, DROP EXTENSION pg_repack CASCADE and CREATE EXTENSION pg_repack"
)
_LOST = (
    "current transaction is aborted",
    "canceling statement due to statement timeout",
    "deadlock detected",
)
# What a role or database was given for its sessions would end pg_repack's own waits half-way.
_LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
# libpq's name of a connection setting, and where pg_repack looks for it.
_SETTINGS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def require(database: Database) -> None:
    """Make sure that there is a way.

    Raises:
        Unsupported: there is none; the text says what is missing.
    """
    if not database.is_postgresql:
        raise Unsupported("vacuum repack is for PostgreSQL; use auto")
    if own_command(database.version, "t"):
        return
    there = database.scalar(_EXTENSION)
    if there is None:
        raise Unsupported(
            "vacuum repack needs PostgreSQL 19 or the extension pg_repack in this database; "
            "use auto, or CREATE EXTENSION pg_repack"
        )
    program = shutil.which("pg_repack")
    if program is None:
        raise Unsupported("vacuum repack needs the program pg_repack on this machine; install it")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if str(there) not in shown.stdout.split():
        raise Unsupported(
            f"the extension pg_repack is version {there}, the program is "
            f"{shown.stdout.strip() or 'of an unknown version'}; install the same"
        )


def repack(database: Database, table: str, lock_timeout: float, pace: Pace) -> tuple[str, ...]:
    """Rewrite one table while everybody goes on working with it; returns what it warned of.

    Whether it was rewritten is seen from its file: pg_repack ends without an error also when it
    has skipped a table, and warns of things that keep it from nothing. One that lost a lock and
    left nothing behind is begun once more.

    Args:
        database: where `require` found a way.
        table: its name.
        lock_timeout: seconds to wait for the locks at the begin and the end, and for transactions
            older than the copy.
        pace: ends it when a governor wants that.

    Raises:
        MaintenanceError: it was not rewritten; pg_repack's last line says why.
        Stopped: a governor ended it; the table is as it was.
    """
    if own := own_command(database.version, table):
        database.run(own)
        return ()
    before = relations.files(database, table)
    schema = database.scalar("SELECT current_schema()")
    command = [
        "pg_repack", "--no-order", "--no-kill-backend", "--no-superuser-check",
        "--wait-timeout", str(max(1, int(lock_timeout))), "--table", f"{schema}.{table}",
    ]  # fmt: skip
    environment = {**os.environ, **_environment(database)}
    watch = Watch(database, table, max(1.0, lock_timeout), pace)
    done = ended(command, environment, watch)
    if _lost_a_lock(done) and relations.files(database, table) == before and not watch.left():
        pace.look(table)
        done = ended(command, environment, watch)
    said = _complaints(done)
    if relations.files(database, table) == before:
        why = said[-1] if said else done.stderr.strip()[-200:] or "it said nothing"
        raise MaintenanceError(
            f"pg_repack did not rewrite {table}: {why}; use vacuum auto, or run again off-peak"
        )
    return tuple(f"pg_repack of {table}: {line}" for line in said)


def own_command(version: int, table: str) -> str | None:
    """Return PostgreSQL's own statement; None before version 19 (as in Database.version)."""
    return f"REPACK (CONCURRENTLY) {table}" if version >= _OWN_COMMAND_FROM else None


def _lost_a_lock(done: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether pg_repack gave up because of a lock that it may have at the next attempt.

    It takes only the end of its own patience for an attempt to be repeated. After any other, as a
    deadlock is, it goes on in a transaction that is aborted, which is all that it says then; and
    on a busy machine its patience may end in the statement after.
    """
    return done.returncode > 0 and any(lost in done.stderr for lost in _LOST)


def _complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what pg_repack warned of, with the way out where an interrupted one is in the way."""
    said = [line for line in done.stderr.splitlines() if re.match(r"(WARNING|ERROR)", line)]
    if done.returncode < 0:
        said = [f"signal {-done.returncode} ended it"]
    elif not any(_LEFT_TRIGGER in line for line in said):
        return said
    return [*said[:-1], f"{said[-1]}; {_TIDY}"]


def _environment(database: Database) -> dict[str, str]:
    """Say where the database is in variables: arguments would be seen in the process list."""
    url = database.url
    host = url.host or url.query.get("host")
    told = {
        "PGHOST": host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGOPTIONS": " ".join(f"-c {limit}=0" for limit in _LIMITS),
        **{f"PG{name.upper()}": url.query.get(name) for name in _SETTINGS},
    }
    return {name: str(value) for name, value in told.items() if value}
