"""What keeps VACUUM from removing dead rows, or the server from dropping WAL, and what helps.

VACUUM removes a row only when nobody can see it any more: one old snapshot in the database, one
prepared transaction, one slot or standby that was told to be waited for keeps all that went since.
Statements of others are never shown, for they may quote anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..database.connection import Database
from ..database.visibility import STATS, advice, current_role
from ..units import count, duration, size

# Ours, VACUUM's and autovacuum's snapshots keep no rows or are gone in a moment; a standby's and
# those of logical decoding are told below. What a role may not see of a session is NULL, except
# for its transaction numbers.
_SESSIONS = """
SELECT COALESCE(NULLIF(a.application_name, ''), 'a session') || ' as ' || a.usename AS who, a.pid,
       a.state, CAST(EXTRACT(epoch FROM now() - a.xact_start) AS float) AS seconds,
       GREATEST(age(a.backend_xid), age(a.backend_xmin)) AS transactions
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL
  AND COALESCE(a.backend_type, 'client backend') IN ('client backend', 'background worker')
  AND a.application_name NOT LIKE 'prefect-maintenance %'
  AND a.pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
"""

_PREPARED = """
SELECT quote_literal(gid) AS gid, owner, age(transaction) AS transactions,
       CAST(EXTRACT(epoch FROM now() - prepared) AS float) AS seconds
FROM pg_prepared_xacts WHERE database = current_database()
"""

# A slot's catalog_xmin keeps rows of the catalogs alone, its xmin those of every database.
_SLOTS = """
SELECT quote_literal(slot_name) AS slot, slot_type, active, age(xmin) AS transactions,
       catalog_xmin IS NOT NULL AS of_catalogs,
       CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bigint) AS bytes
FROM pg_replication_slots
"""

_STANDBYS = """
SELECT COALESCE(NULLIF(application_name, ''), host(client_addr), 'pid ' || pid) AS who,
       age(backend_xmin) AS transactions
FROM pg_stat_replication WHERE backend_xmin IS NOT NULL
"""

# What a blocker may be; a note on what the role may not see is none.
KINDS = ("transaction", "prepared", "slot", "standby")
# Bytes of WAL that a slot which nobody reads may hold back without a word.
_HELD = 256 * 2**20
_KEPT = "what is deleted meanwhile stays on disk"
_FEEDBACK = "end its oldest query on the standby, or set hot_standby_feedback = off there"


@dataclass(frozen=True)
class Old:
    """From when on something is in the way: after so many seconds, or so many transactions.

    The transactions count where no time is known, as of slots, standbys and hidden sessions.
    """

    seconds: float = 900.0
    transactions: int = 100_000


@dataclass(frozen=True)
class Blocker:
    """Something that keeps dead rows, or WAL, from being removed.

    Attributes:
        kind: "transaction", "prepared", "slot", "standby", or "hidden" for what the role in
            db_url may not see.
        what: who or which it is, in few words.
        age_seconds: how long it has been there; None where that is not known.
        bytes: of WAL that it holds back; None where it holds none.
        keeps_rows: whether VACUUM cannot remove rows of Prefect's tables for it.
        text: what it is and does, for people.
        do: the statement that helps; it is never carried out by the maintenance.
    """

    kind: str
    what: str
    age_seconds: float | None
    bytes: int | None
    keeps_rows: bool
    text: str
    do: str


def blockers(database: Database, old: Old | None = None) -> tuple[Blocker, ...]:
    """Return what keeps VACUUM from its work, what keeps the most dead rows first.

    Nothing on SQLite, nor on a standby, where no VACUUM runs.
    """
    if not database.is_postgresql or database.scalar("SELECT pg_is_in_recovery()"):
        return ()
    bound = old or Old()
    found = [
        *_transactions(database, bound),
        *_prepared(database, bound),
        *_slots(database, bound),
        *_standbys(database, bound),
    ]
    ordered = [blocker for _, blocker in sorted(found, key=lambda one: -one[0])]
    return (*ordered, *_hidden(database, ordered))


def _transactions(database: Database, old: Old) -> Iterator[tuple[int, Blocker]]:
    for one in database.rows(_SESSIONS):
        hidden, keeps = one.state is None, one.transactions is not None
        late = (one.transactions or 0) >= old.transactions if hidden else _late(one.seconds, old)
        if not late or not (keeps or str(one.state).startswith("idle in transaction")):
            continue
        what = f"{one.who}, pid {one.pid}" + (f", {one.state}" if one.state else "")
        since = (
            f"{count(one.transactions)} transactions began since"
            if hidden
            else f"it began {duration(one.seconds)} ago"
        )
        does = _KEPT if keeps else "its locks keep VACUUM from cutting tables short"
        yield (
            one.transactions or 0,
            Blocker(
                kind="transaction",
                what=what,
                age_seconds=None if hidden else round(one.seconds, 3),
                bytes=None,
                keeps_rows=keeps,
                text=f"a transaction of {what} is open, {since}: {does}",
                do=f"SELECT pg_terminate_backend({one.pid})",
            ),
        )


def _prepared(database: Database, old: Old) -> Iterator[tuple[int, Blocker]]:
    for one in database.rows(_PREPARED):
        if _late(one.seconds, old):
            what = f"prepared transaction {one.gid} of {one.owner}"
            waits = f"waits for its end since {duration(one.seconds)}"
            yield (
                one.transactions,
                Blocker(
                    kind="prepared",
                    what=what,
                    age_seconds=round(one.seconds, 3),
                    bytes=None,
                    keeps_rows=True,
                    text=f"{what} {waits}: {_KEPT}",
                    do=f"COMMIT PREPARED {one.gid} or ROLLBACK PREPARED {one.gid}",
                ),
            )


def _slots(database: Database, old: Old) -> Iterator[tuple[int, Blocker]]:
    for one in database.rows(_SLOTS):
        held = one.bytes or 0
        seen = one.transactions is not None
        lags = seen and one.transactions >= old.transactions
        idle = not one.active and (seen or one.of_catalogs or held >= _HELD)
        if not lags and not idle:
            continue
        what = f"replication slot {one.slot}"
        keeps = [f"{size(held)} of WAL"] if held else []
        if seen or one.of_catalogs:
            keeps.insert(0, "dead rows" + ("" if seen else " of the catalogs"))
        does = "lags" if one.active else "is read by nobody"
        remedy = f"SELECT pg_drop_replication_slot({one.slot}) when its reader is gone for good"
        if one.active:
            remedy = _FEEDBACK if one.slot_type == "physical" else "let its subscriber catch up"
        yield (
            one.transactions or 0,
            Blocker(
                kind="slot",
                what=what,
                age_seconds=None,
                bytes=held,
                keeps_rows=seen,
                text=f"{what} {does} and keeps {' and '.join(keeps)}",
                do=remedy,
            ),
        )


def _standbys(database: Database, old: Old) -> Iterator[tuple[int, Blocker]]:
    for one in database.rows(_STANDBYS):
        if one.transactions >= old.transactions:
            what = f"standby {one.who}"
            began = f"{count(one.transactions)} transactions began since"
            yield (
                one.transactions,
                Blocker(
                    kind="standby",
                    what=what,
                    age_seconds=None,
                    bytes=None,
                    keeps_rows=True,
                    text=f"a query on {what} is open, {began}: {_KEPT}",
                    do=_FEEDBACK,
                ),
            )


def _hidden(database: Database, found: Iterable[Blocker]) -> tuple[Blocker, ...]:
    """Say once how to see the age of what was found, where the role may not."""
    if all(one.age_seconds is not None for one in found if one.kind == "transaction"):
        return ()
    role = current_role(database)
    told, _, remedy = advice(database, role, (STATS,)).partition("; as a superuser: ")
    return (Blocker("hidden", f"the role {role}", None, None, False, told, remedy),)


def _late(seconds: float | None, old: Old) -> bool:
    return seconds is not None and seconds >= old.seconds
