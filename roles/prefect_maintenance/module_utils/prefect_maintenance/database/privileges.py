"""What a role in PostgreSQL needs for each step, what it lacks, and the grants that give it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg2.extensions import encrypt_password

from ..catalogue import TABLES
from ..errors import PrivilegeError, SettingsError
from . import visibility
from .connection import Database
from .visibility import ABSENT, current_role, sees_all_sessions, sees_settings

__all__ = [
    "STEPS",
    "MissingPrivilege",
    "Provided",
    "current_role",
    "grants",
    "knows_maintain",
    "may_vacuum",
    "missing_on_rows",
    "missing_privileges",
    "provide",
    "refuse",
    "sees_all_sessions",
    "sees_settings",
]

PURGED = ("log", "events", "event_resources", "artifact_collection")
# Read beside the tables that are kept lean: whose database this is, and what makes the rows.
# Only these columns: the others hold what users store, values of variables and parameters.
READ = {
    "alembic_version": ("version_num",),
    "block_type": ("id",),
    "variable": ("id",),
    "flow": ("id", "name"),
    "deployment": ("id", "name"),
}
# Their rows are locked before they are deleted.
LOCKED = ("flow_run", "task_run", "artifact")
_ANY_COLUMN = "updated"
_NAME_BYTES = 63
STEPS = ("measure", "purge", "delete", "vacuum")

_ON_TABLE = "SELECT has_table_privilege(CAST(:role AS name), CAST(:on AS text), :privilege)"
_ON_ANY_COLUMN = "SELECT has_any_column_privilege(CAST(:role AS name), CAST(:on AS text), 'UPDATE')"
_ON_COLUMN = (
    "SELECT has_column_privilege(CAST(:role AS name), CAST(:on AS text), :column, 'SELECT')"
)
# Owner of the table, owner of the database, superuser, or MAINTAIN from PostgreSQL 17 on
# (PostgreSQL manual, VACUUM, Notes); without any of it VACUUM only warns and skips the table.
_VACUUM = """
SELECT {owned} {maintain}
FROM pg_class c, pg_database d
WHERE c.oid = to_regclass(:on) AND d.datname = current_database()
"""
_OWNED = (
    "pg_has_role(CAST(:role AS name), c.relowner, 'USAGE') "
    "OR pg_has_role(CAST(:role AS name), d.datdba, 'USAGE')"
)
_MAINTAIN = "OR has_table_privilege(CAST(:role AS name), c.oid, 'MAINTAIN')"
# Also where the schema may not be looked into.
_PLACE = """
SELECT relnamespace, relnamespace::regnamespace::text, pg_get_userbyid(relowner)
FROM pg_class WHERE relname = 'log' AND relkind IN ('r', 'p')
ORDER BY pg_table_is_visible(oid) DESC LIMIT 1
"""
_ON_SCHEMA = "SELECT has_schema_privilege(CAST(:role AS name), CAST(:on AS oid), :privilege)"
_MEMBER = "SELECT pg_has_role(CAST(:role AS name), CAST(:owner AS name), 'USAGE')"
_KNOWN = "SELECT count(*) FROM pg_roles WHERE rolname = :role"
_TEMPORARY = "SELECT has_database_privilege(CAST(:role AS name), current_database(), 'TEMPORARY')"


@dataclass(frozen=True)
class MissingPrivilege:
    """A privilege that a role does not have on an object, and the step that needs it.

    `privilege` may name columns, as GRANT does: "SELECT (id, name)".
    `on` is the object as GRANT names it, e.g. "log", "SCHEMA public"; MAINTAIN before PostgreSQL
    17, where it is not known, stands for ownership of the table.
    """

    step: str
    privilege: str
    on: str


def knows_maintain(database: Database) -> bool:
    """Tell whether this PostgreSQL has MAINTAIN, the right to vacuum without owning."""
    return int(database.scalar("SHOW server_version_num")) >= 170000


def may_vacuum(database: Database, table: str, role: str | None = None) -> bool:
    """Tell whether VACUUM would work for a role, by default the one of this connection."""
    who = role or current_role(database)
    sql = _VACUUM.format(
        owned="false" if who == ABSENT else _OWNED,
        maintain=_MAINTAIN if knows_maintain(database) else "",
    )
    return bool(database.scalar(sql, role=who, on=table))


def missing_on_rows(
    database: Database, step: str, tables: Iterable[str], role: str | None = None
) -> list[MissingPrivilege]:
    """Return what a role lacks to read and delete rows, and to re-point collections."""
    who = role or current_role(database)
    needed = [(table, right) for table in tables for right in ("SELECT", "DELETE")]
    # A collection whose artifact goes is pointed to another one.
    needed += [(table, "UPDATE") for table, right in needed if table == "artifact_collection"][:1]
    found = _missing_on_tables(database, step, needed, who)
    # Whoever locks a row needs UPDATE on the table or on any column (PostgreSQL manual, SELECT,
    # The Locking Clause): without the lock a run could be retried while it is deleted.
    return found + [
        MissingPrivilege(step, f"UPDATE ({_ANY_COLUMN})", table)
        for table in dict.fromkeys(table for table, _ in needed if table in LOCKED)
        if database.scalar("SELECT to_regclass(:on) IS NOT NULL", on=table)
        and not database.scalar(_ON_ANY_COLUMN, role=who, on=table)
    ]


def missing_privileges(
    database: Database, steps: Iterable[str], role: str | None = None
) -> list[MissingPrivilege]:
    """Return everything that a role lacks for the steps, in their order.

    Of a database without Prefect's tables, or one that may not be looked into, it is not all.
    A role that does not exist has what everybody has.
    """
    who = current_role(database) if role is None else _judged_as(database, role)
    place = database.rows(_PLACE)
    if not place:
        return []
    oid, schema, _ = place[0]
    found: list[MissingPrivilege] = []
    if not database.scalar(_ON_SCHEMA, role=who, on=oid, privilege="USAGE"):
        found.append(MissingPrivilege("measure", "USAGE", f"SCHEMA {schema}"))
    every = [table.name for table in TABLES]
    for step in steps:
        if step == "measure":
            found += _missing_on_columns(database, step, who)
            found += _missing_on_tables(database, step, [(t, "SELECT") for t in every], who)
        elif step == "purge":
            found += missing_on_rows(database, step, PURGED, who)
            found += _missing_temporary(database, step, who)
        elif step == "delete":
            found += missing_on_rows(database, step, [t for t in every if t not in PURGED], who)
        elif step == "vacuum":
            missing = [table for table in every if not may_vacuum(database, table, who)]
            found += [MissingPrivilege(step, "MAINTAIN", table) for table in missing]
    return list({(each.privilege, each.on): each for each in reversed(found)}.values())[::-1]


def refuse(database: Database, missing: Sequence[MissingPrivilege]) -> None:
    """Turn what is missing into an error, if anything is.

    Raises:
        PrivilegeError: names privilege, object and step.
    """
    if not missing:
        return
    maintain = "MAINTAIN" if knows_maintain(database) else "ownership (before PostgreSQL 17)"
    told = []
    for step in dict.fromkeys(each.step for each in missing):
        own = [each for each in missing if each.step == step]
        rights = "; ".join(
            f"{maintain if privilege == 'MAINTAIN' else privilege} on {', '.join(objects)}"
            for privilege, objects in _by_privilege(own).items()
        )
        told.append(f"to {step}: {rights}")
    raise PrivilegeError(
        f"the role {current_role(database)} in db_url lacks, {'. '.join(told)}. Run "
        "playbooks/privileges.yml as the owner of the tables, see docs/privileges.md"
        + ("; or leave the step out with vacuum none" if "vacuum" in {m.step for m in missing}
           else "")
    )  # fmt: skip


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
    who = _judged_as(database, role)
    statements = []
    if own:
        oid, schema, owner = database.rows(_PLACE)[0]
        if who == ABSENT or not database.scalar(_MEMBER, role=who, owner=owner):
            shown = database.scalar("SELECT quote_ident(:owner)", owner=owner)
            statements.append(f"GRANT {shown} TO {quoted}")
        if not database.scalar(_ON_SCHEMA, role=who, on=oid, privilege="CREATE"):
            statements.append(f"GRANT CREATE ON SCHEMA {schema} TO {quoted}")
    for privilege, objects in _by_privilege(missing).items():
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
    known = database.scalar(_KNOWN, role=role)
    made = [] if known else [f"CREATE ROLE {quoted} LOGIN"]
    missing = missing_privileges(database, STEPS, role)
    blind = visibility.unseen(database, _judged_as(database, role))
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
    others = _by_privilege(each for each in left if each.privilege != "MAINTAIN")
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


def _judged_as(database: Database, role: str) -> str:
    """Return the name as which PostgreSQL tells what a role may, also before it exists."""
    return role if database.scalar(_KNOWN, role=role) else ABSENT


def _verifier(database: Database, role: str, password: str) -> str:
    """Return what PostgreSQL stores of a password (RFC 5803), made on this side."""
    raw = database.connection.connection.driver_connection
    return str(encrypt_password(password, role, raw, "scram-sha-256"))


def _missing_on_tables(
    database: Database, step: str, needed: Iterable[tuple[str, str]], role: str
) -> list[MissingPrivilege]:
    return [
        MissingPrivilege(step, privilege, table)
        for table, privilege in needed
        if database.scalar("SELECT to_regclass(:on) IS NOT NULL", on=table)
        and not database.scalar(_ON_TABLE, role=role, on=table, privilege=privilege)
    ]


def _missing_on_columns(database: Database, step: str, role: str) -> list[MissingPrivilege]:
    """Say which columns of the tables that are only looked at may not be read."""
    found = []
    for table, columns in READ.items():
        if not database.scalar("SELECT to_regclass(:on) IS NOT NULL", on=table):
            continue
        missing = [
            column
            for column in columns
            if not database.scalar(_ON_COLUMN, role=role, on=table, column=column)
        ]
        if missing:
            found.append(MissingPrivilege(step, f"SELECT ({', '.join(missing)})", table))
    return found


def _missing_temporary(database: Database, step: str, role: str) -> list[MissingPrivilege]:
    """Say whether the lists of what goes, temporary tables, cannot be made."""
    if database.scalar(_TEMPORARY, role=role):
        return []
    name = database.scalar("SELECT quote_ident(current_database())")
    return [MissingPrivilege(step, "TEMPORARY", f"DATABASE {name}")]


def _by_privilege(missing: Iterable[MissingPrivilege]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in missing:
        found.setdefault(each.privilege, []).append(each.on)
    return found
