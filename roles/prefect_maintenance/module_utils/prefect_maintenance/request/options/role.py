"""Options of a stop, and of the role in the database that may maintain and nothing else."""

from __future__ import annotations

from .option import ROLE as ROLE_MODULE
from .option import WHOLE, Group, Option

_ENTRIES = (*WHOLE, "privileges")

ROLE_ALONE = Group(
    "A role in PostgreSQL",
    (
        Option(
            "role",
            "str",
            "Name of the role, at most 63 bytes; every character means itself.",
            required=True,
            modules=(ROLE_MODULE,),
        ),
        Option(
            "password",
            "str",
            "Password of a role that is made now; that of an older one is left alone.",
            secret=True,
            modules=(ROLE_MODULE,),
        ),
        Option(
            "own",
            "bool",
            "Make the role a member of the owner of the tables, and let it make tables beside "
            "them.",
            ("VACUUM needs that before PostgreSQL 17, and the rewrite of tables always.",),
            default=False,
            modules=(ROLE_MODULE,),
        ),
    ),
)

STOP = Group(
    "Stopping: playbooks/stop.yml",
    (
        Option(
            "stop",
            "bool",
            "Whether C(playbooks/stop.yml) puts the stop file there or, with V(false), takes it "
            "away.",
            default=True,
            entries=(*WHOLE, "stop"),
        ),
    ),
)

ROLE = Group(
    "The role in the database: playbooks/privileges.yml",
    (
        Option(
            "owner_db_url",
            "str",
            "URL of the database for C(playbooks/privileges.yml), as somebody who owns Prefect's "
            "tables and may make roles, or as a superuser.",
            default="{{ vault_prefect_maintenance_owner_db_url | default('') }}",
            secret=True,
            entries=_ENTRIES,
        ),
        Option(
            "db_role",
            "str",
            "Role in PostgreSQL that C(playbooks/privileges.yml) makes.",
            default="prefect_maintenance",
            entries=_ENTRIES,
        ),
        Option(
            "db_role_password",
            "str",
            "Password of O(db_role) when it is made; change it later in PostgreSQL.",
            default="{{ vault_prefect_maintenance_db_password | default('') }}",
            secret=True,
            entries=_ENTRIES,
        ),
        Option(
            "db_role_owns",
            "bool",
            "Whether O(db_role) becomes a member of the owner of the tables, and may make tables.",
            default=False,
            entries=_ENTRIES,
        ),
    ),
)
