"""Make a role for the maintenance, and grant it what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import encrypt_password

from ..errors import SettingsError
from . import visibility
from .connection import Database
from .privileges import (
    STEPS,
    MissingPrivilege,
    by_privilege,
    knows_maintain,
    may_in,
    missing_privileges,
    place_of_tables,
)
from .visibility import ABSENT, exists, judged_as

_MEMBER = "SELECT pg_has_role(CAST(:role AS name), CAST(:owner AS name), 'USAGE')"
_NAME_BYTES = 63


def grants(
    database: Database, role: str, missing: Sequence[MissingPrivilege], *, own: bool
) -> list[str]:
    """Return the statements that give a role what it lacks.

    Args:
        database: where the tables are.
        role: who gets it.
        missing: what `missing_privileges` found.
        own: make the role a member of the tables' owner, which allows everything that the owner
            may: VACUUM before PostgreSQL 17, and the rewrite of tables.
    """
    quoted = str(database.scalar("SELECT quote_ident(:role)", role=role))
    who = judged_as(database, role)
    statements = []
    place = place_of_tables(database) if own else None
    if place is not None:
        if who == ABSENT or not database.scalar(_MEMBER, role=who, owner=place.owner):
            shown = database.scalar("SELECT quote_ident(:owner)", owner=place.owner)
            statements.append(f"GRANT {shown} TO {quoted}")
        if not may_in(database, place, who, "CREATE"):
            statements.append(f"GRANT CREATE ON SCHEMA {place.schema} TO {quoted}")
    for privilege, objects in by_privilege(missing).items():
        if privilege == "MAINTAIN" and (own or not knows_maintain(database)):
            continue
        kinds = [thing for thing in objects if " " in thing]
        tables = [thing for thing in objects if " " not in thing]
        for thing in (*kinds, *([", ".join(tables)] if tables else [])):
            statements.append(f"GRANT {privilege} ON {thing} TO {quoted}")
    return statements


@dataclass(frozen=True)
class Provided:
    """The statements that were carried out, or would be; and what the role still may not do."""

    statements: tuple[str, ...]
    warnings: tuple[str, ...]


def provide(
    database: Database, role: str, password: str | None, *, own: bool, check: bool
) -> Provided:
    """Make a role unless it is there, and grant it what it lacks for every step.

    Args:
        database: open as the owner of the tables, or as one who may grant them.
        role: its name.
        password: what a new role gets; it is sent as a verifier, so that no log can hold it.
        own: make it a member of the tables' owner, see `grants`.
        check: change nothing.

    Raises:
        MaintenanceError: the role may not be made or granted to.
    """
    _require_possible(role)
    quoted = str(database.scalar("SELECT quote_ident(:role)", role=role))
    made = [] if exists(database, role) else [f"CREATE ROLE {quoted} LOGIN"]
    missing = missing_privileges(database, STEPS, role)
    blind = visibility.unseen(database, judged_as(database, role))
    let = [seen for seen in blind if visibility.may_let(database, seen)]
    granted = grants(database, role, missing, own=own)
    if let:
        granted.append(visibility.grant(database, role, let))
    if check:
        newest = own or knows_maintain(database)
        left = [each for each in missing if each.privilege == "MAINTAIN" and not newest]
        blind = [seen for seen in blind if seen not in let]
    else:
        with database.transaction():
            for statement in made:
                database.ddl(statement)
            if made and password:
                verifier = _verifier(database, role, password)
                database.ddl(f"ALTER ROLE {quoted} PASSWORD '{verifier}'")
            for statement in granted:
                database.ddl(statement)
        left, blind = missing_privileges(database, STEPS, role), visibility.unseen(database, role)
    warnings = _told(left)
    if blind:
        warnings.append(visibility.advice(database, role, blind))
    return Provided((*made, *granted), tuple(warnings))


def _told(left: Sequence[MissingPrivilege]) -> list[str]:
    """Say what a role still may not do after it was granted what could be."""
    told = []
    if any(each.privilege == "MAINTAIN" for each in left):
        told.append(
            "before PostgreSQL 17 only the owner may vacuum: use vacuum none and leave it to "
            "autovacuum, or set own"
        )
    others = by_privilege(each for each in left if each.privilege != "MAINTAIN")
    if others:
        rights = "; ".join(f"{right} on {', '.join(on)}" for right, on in others.items())
        told.append(f"the user in db_url may not grant {rights}: the owner of the tables can")
    return told


def _require_possible(role: str) -> None:
    """Refuse a name that PostgreSQL would cut off or keeps for itself.

    Raises:
        SettingsError: no role can have it.
    """
    if len(role.encode()) > _NAME_BYTES:
        raise SettingsError(
            f"role is longer than {_NAME_BYTES} bytes, PostgreSQL would cut it off; name another"
        )
    if "\0" in role:
        raise SettingsError(
            "role has a NUL character, which no name in PostgreSQL can have; name another"
        )
    if role in (ABSENT, "none") or role.startswith("pg_"):
        raise SettingsError(f"role {role} is reserved by PostgreSQL; name another")


def _verifier(database: Database, role: str, password: str) -> str:
    """Return what PostgreSQL stores of a password (RFC 5803), made on this side."""
    return str(encrypt_password(password, role, database.driver, "scram-sha-256"))
