"""What a role in PostgreSQL needs for each step, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..catalogue import TABLES
from ..errors import PrivilegeError
from .connection import Database
from .visibility import ABSENT, current_role, judged_as

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


@dataclass(frozen=True)
class Place:
    """The schema that Prefect's tables are in, quoted, and who owns them."""

    oid: int
    schema: str
    owner: str


def place_of_tables(database: Database) -> Place | None:
    """Find Prefect's tables, also where they may not be looked at; None where there are none."""
    found = database.rows(_PLACE)
    return Place(*found[0]) if found else None


def may_in(database: Database, place: Place, role: str, privilege: str) -> bool:
    """Tell whether a role has a privilege on the schema of Prefect's tables."""
    return bool(database.scalar(_ON_SCHEMA, role=role, on=place.oid, privilege=privilege))


def knows_maintain(database: Database) -> bool:
    """Tell whether this PostgreSQL has MAINTAIN, the right to vacuum without owning."""
    return database.version >= 170000


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
    who = current_role(database) if role is None else judged_as(database, role)
    place = place_of_tables(database)
    if place is None:
        return []
    found: list[MissingPrivilege] = []
    if not may_in(database, place, who, "USAGE"):
        found.append(MissingPrivilege("measure", "USAGE", f"SCHEMA {place.schema}"))
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
            for privilege, objects in by_privilege(own).items()
        )
        told.append(f"to {step}: {rights}")
    raise PrivilegeError(
        f"the role {current_role(database)} in db_url lacks, {'. '.join(told)}. Run "
        "playbooks/privileges.yml as the owner of the tables, see docs/privileges.md"
        + ("; or leave the step out with vacuum none" if "vacuum" in {m.step for m in missing}
           else "")
    )  # fmt: skip


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


def by_privilege(missing: Iterable[MissingPrivilege]) -> dict[str, list[str]]:
    """Group what is missing as GRANT takes it: by privilege, the objects."""
    found: dict[str, list[str]] = {}
    for each in missing:
        found.setdefault(each.privilege, []).append(each.on)
    return found
