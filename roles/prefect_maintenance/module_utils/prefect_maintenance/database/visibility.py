"""What a role may see of the server beside the tables, and who can let it."""

from __future__ import annotations

from collections.abc import Sequence

from .connection import Database

# As whom PostgreSQL's functions judge a role that does not exist: it has what everybody has.
ABSENT = "public"

# Rights to see, as PostgreSQL's predefined roles give them (manual, Predefined Roles).
STATS, SETTINGS = "pg_read_all_stats", "pg_read_all_settings"
SHOWN = {
    STATS: "how far standbys are behind and what other sessions do",
    SETTINGS: "where the server's files lie, and with that the free disk",
}

_KNOWN = "SELECT count(*) FROM pg_roles WHERE rolname = :role"
_MEMBER = "SELECT pg_has_role(CAST(:role AS name), CAST(:seen AS name), 'USAGE')"
# Before PostgreSQL 16 whoever may make roles may also grant every role but a superuser.
_MAY_LET = """
SELECT pg_has_role(current_user, CAST(:seen AS name), 'MEMBER WITH ADMIN OPTION')
    OR EXISTS (SELECT 1 FROM pg_roles WHERE rolname = current_user AND (rolsuper
       OR (rolcreaterole AND :before_16)))
"""
# The rows are there for everybody, what stands in them only for who may see it.
_UNSEEN_STANDBYS = "SELECT count(*) FROM pg_stat_replication WHERE state IS NULL"
_SAME_MACHINE = "SELECT inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()"


def sees_all_sessions(database: Database) -> bool:
    """Tell whether snapshots of others' sessions and the lag of standbys can be seen.

    Without pg_read_all_stats PostgreSQL shows them as NULL. Superusers pass as members.
    """
    return not unseen(database, current_role(database), (STATS,))


def sees_settings(database: Database) -> bool:
    """Tell whether the settings for superusers can be read, data_directory above all."""
    return not unseen(database, current_role(database), (SETTINGS,))


def current_role(database: Database) -> str:
    """Return the role of this connection."""
    return str(database.scalar("SELECT current_user"))


def exists(database: Database, role: str) -> bool:
    """Tell whether there is a role of that name."""
    return bool(database.scalar(_KNOWN, role=role))


def judged_as(database: Database, role: str) -> str:
    """Return the name as which PostgreSQL tells what a role may, also before it exists."""
    return role if exists(database, role) else ABSENT


def unseen(database: Database, role: str, asked: Sequence[str] = tuple(SHOWN)) -> list[str]:
    """Return those of the predefined roles that see whose rights a role does not have."""
    return [
        seen
        for seen in asked
        if role == ABSENT or not database.scalar(_MEMBER, role=role, seen=seen)
    ]


def may_let(database: Database, seen: str) -> bool:
    """Tell whether the role of this connection may grant a predefined role."""
    return bool(database.scalar(_MAY_LET, seen=seen, before_16=database.version < 160000))


def grant(database: Database, role: str, missing: Sequence[str]) -> str:
    """Return the statement that lets a role see."""
    quoted = database.scalar("SELECT quote_ident(:role)", role=role)
    return f"GRANT {', '.join(missing)} TO {quoted}"


def advice(database: Database, role: str, missing: Sequence[str]) -> str:
    """Say in one line what a role cannot see and what a superuser can do about it."""
    what = " and ".join(SHOWN[seen] for seen in missing)
    # A name may have line breaks; the statement keeps its meaning only as it stands.
    shown = repr(role)[1:-1]
    statement = " ".join(grant(database, role, missing).splitlines())
    return f"the role {shown} cannot see {what}; as a superuser: {statement}"


def blind_spots(database: Database) -> list[str]:
    """Say what of this very server the role of this connection would have to see, one line each.

    Nothing where it would tell nothing: no standby is connected, the server runs elsewhere.
    """
    role = current_role(database)
    missing = unseen(database, role)
    if STATS in missing and not database.scalar(_UNSEEN_STANDBYS):
        missing.remove(STATS)
    if SETTINGS in missing and not database.scalar(_SAME_MACHINE):
        missing.remove(SETTINGS)
    return [advice(database, role, missing)] if missing else []
