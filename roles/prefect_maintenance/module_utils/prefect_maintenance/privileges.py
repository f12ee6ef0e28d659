"""What a role in PostgreSQL needs for each step, what it lacks, and the grants that give it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .catalogue import TABLES
from .connection import Database
from .errors import PrivilegeError

PURGED = ("log", "events", "event_resources", "artifact_collection")
# Read beside the tables that are kept lean: whose database this is, and what makes the rows.
READ = ("alembic_version", "block_type", "variable", "flow", "deployment")
STEPS = ("measure", "purge", "delete", "vacuum")

_ON_TABLE = "SELECT has_table_privilege(CAST(:role AS name), CAST(:on AS text), :privilege)"
# Owner of the table, owner of the database, superuser, or MAINTAIN from PostgreSQL 17 on
# (PostgreSQL manual, VACUUM, Notes); without any of it VACUUM only warns and skips the table.
_VACUUM = """
SELECT pg_has_role(CAST(:role AS name), c.relowner, 'USAGE')
    OR pg_has_role(CAST(:role AS name), d.datdba, 'USAGE') {maintain}
FROM pg_class c, pg_database d
WHERE c.oid = to_regclass(:on) AND d.datname = current_database()
"""
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
class Lack:
    """A privilege that a role does not have on an object, and the step that needs it.

    `on` is the object as GRANT names it, e.g. "log", "SCHEMA public"; MAINTAIN before PostgreSQL
    17, where it is not known, stands for ownership of the table.
    """

    step: str
    privilege: str
    on: str


def sees_all_sessions(database: Database) -> bool:
    """Tell whether snapshots of others' sessions and the lag of standbys can be seen.

    Without pg_read_all_stats PostgreSQL shows them as NULL. Superusers pass as members.
    """
    return bool(database.scalar("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"))


def sees_settings(database: Database) -> bool:
    """Tell whether the settings for superusers can be read, data_directory above all."""
    return bool(
        database.scalar("SELECT pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')")
    )


def current_role(database: Database) -> str:
    """Return the role of this connection."""
    return str(database.scalar("SELECT current_user"))


def knows_maintain(database: Database) -> bool:
    """Tell whether this PostgreSQL has MAINTAIN, the right to vacuum without owning."""
    return int(database.scalar("SHOW server_version_num")) >= 170000


def may_vacuum(database: Database, table: str, role: str | None = None) -> bool:
    """Tell whether VACUUM would work for a role, by default the one of this connection."""
    sql = _VACUUM.format(maintain=_MAINTAIN if knows_maintain(database) else "")
    return bool(database.scalar(sql, role=role or current_role(database), on=table))


def lacks_on_rows(
    database: Database, step: str, tables: Iterable[str], role: str | None = None
) -> list[Lack]:
    """Return what a role lacks to read and delete rows, and to re-point collections."""
    who = role or current_role(database)
    needed = [(table, right) for table in tables for right in ("SELECT", "DELETE")]
    # A collection whose artifact goes is pointed to another one.
    needed += [(table, "UPDATE") for table, right in needed if table == "artifact_collection"][:1]
    return _lacks_on_tables(database, step, needed, who)


def lacks(database: Database, steps: Iterable[str], role: str | None = None) -> list[Lack]:
    """Return everything that a role lacks for the steps, in their order.

    Of a database without Prefect's tables, or one that may not be looked into, it is not all.
    """
    who = role or current_role(database)
    place = database.rows(_PLACE)
    if not place:
        return []
    oid, schema, _ = place[0]
    found: list[Lack] = []
    if not database.scalar(_ON_SCHEMA, role=who, on=oid, privilege="USAGE"):
        found.append(Lack("measure", "USAGE", f"SCHEMA {schema}"))
    every = [table.name for table in TABLES]
    for step in steps:
        if step == "measure":
            read = [(table, "SELECT") for table in (*READ, *every)]
            found += _lacks_on_tables(database, step, read, who)
        elif step == "purge":
            found += lacks_on_rows(database, step, PURGED, who)
            found += _lacks_temporary(database, step, who)
        elif step == "delete":
            found += lacks_on_rows(database, step, [t for t in every if t not in PURGED], who)
        elif step == "vacuum":
            missing = [table for table in every if not may_vacuum(database, table, who)]
            found += [Lack(step, "MAINTAIN", table) for table in missing]
    return list({(lack.privilege, lack.on): lack for lack in reversed(found)}.values())[::-1]


def refuse(database: Database, missing: Sequence[Lack]) -> None:
    """Turn what is missing into an error, if anything is.

    Raises:
        PrivilegeError: names privilege, object and step.
    """
    if not missing:
        return
    maintain = "MAINTAIN" if knows_maintain(database) else "ownership (before PostgreSQL 17)"
    told = []
    for step in dict.fromkeys(lack.step for lack in missing):
        own = [lack for lack in missing if lack.step == step]
        rights = "; ".join(
            f"{maintain if privilege == 'MAINTAIN' else privilege} on {', '.join(objects)}"
            for privilege, objects in _by_privilege(own).items()
        )
        told.append(f"to {step}: {rights}")
    raise PrivilegeError(
        f"the role {current_role(database)} in db_url lacks, {'. '.join(told)}. Grant it as the "
        "owner of the tables, see docs/privileges.md"
        + ("; or leave the step out with vacuum none" if "vacuum" in {m.step for m in missing}
           else "")
    )  # fmt: skip


def grants(database: Database, role: str, missing: Sequence[Lack], *, own: bool) -> list[str]:
    """Return the statements that give a role what it lacks.

    Args:
        database: where the tables are.
        role: who gets it.
        missing: what `lacks` found.
        own: make the role a member of the tables' owner, which allows everything that the owner
            may: VACUUM before PostgreSQL 17, and the rewrite of tables.
    """
    quoted = str(database.scalar("SELECT quote_ident(:role)", role=role))
    statements = []
    if own:
        oid, schema, owner = database.rows(_PLACE)[0]
        if not database.scalar("SELECT pg_has_role(CAST(:role AS name), CAST(:owner AS name), "
                               "'USAGE')", role=role, owner=owner):  # fmt: skip
            shown = database.scalar("SELECT quote_ident(:owner)", owner=owner)
            statements.append(f"GRANT {shown} TO {quoted}")
        if not database.scalar(_ON_SCHEMA, role=role, on=oid, privilege="CREATE"):
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
    quoted = str(database.scalar("SELECT quote_ident(:role)", role=role))
    known = database.scalar("SELECT count(*) FROM pg_roles WHERE rolname = :role", role=role)
    made = [] if known else [f"CREATE ROLE {quoted} LOGIN"]
    # What a new role lacks is seen when it is there; a check takes everything back.
    with database.transaction():
        for statement in made:
            database.run(statement)
        if made and password:
            database.run(f"ALTER ROLE {quoted} PASSWORD :verifier",
                         verifier=_verifier(database, role, password))  # fmt: skip
        granted = grants(database, role, lacks(database, STEPS, role), own=own)
        for statement in granted:
            database.run(statement)
        left = lacks(database, STEPS, role)
        if check:
            database.run("ROLLBACK AND CHAIN")
    warnings = (
        "before PostgreSQL 17 only the owner may vacuum: use vacuum none and leave it to "
        "autovacuum, or set own",
    )
    return Provided((*made, *granted), warnings if left else ())


def _verifier(database: Database, role: str, password: str) -> str:
    """Return what PostgreSQL stores of a password (RFC 5803), made on this side."""
    from psycopg2.extensions import encrypt_password

    raw = database.connection.connection.driver_connection
    return str(encrypt_password(password, role, raw, "scram-sha-256"))


def _lacks_on_tables(
    database: Database, step: str, needed: Iterable[tuple[str, str]], role: str
) -> list[Lack]:
    return [
        Lack(step, privilege, table)
        for table, privilege in needed
        if database.scalar("SELECT to_regclass(:on) IS NOT NULL", on=table)
        and not database.scalar(_ON_TABLE, role=role, on=table, privilege=privilege)
    ]


def _lacks_temporary(database: Database, step: str, role: str) -> list[Lack]:
    """Say whether the lists of what goes, temporary tables, cannot be made."""
    if database.scalar(_TEMPORARY, role=role):
        return []
    name = database.scalar("SELECT quote_ident(current_database())")
    return [Lack(step, "TEMPORARY", f"DATABASE {name}")]


def _by_privilege(missing: Iterable[Lack]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for lack in missing:
        found.setdefault(lack.privilege, []).append(lack.on)
    return found
