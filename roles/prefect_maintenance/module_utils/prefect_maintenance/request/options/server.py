"""Options that say which server it is, and how to be let in."""

from __future__ import annotations

from .option import (
    AUTOMATION,
    DELETE,
    DEPLOYMENT,
    MEASURE,
    POOL,
    PURGE,
    RESTORE,
    ROLE,
    STEPS,
    WHOLE,
    Group,
    Option,
)

_CALLERS = (MEASURE, PURGE, DELETE, POOL, DEPLOYMENT, AUTOMATION)
_API_URL = "URL of the Prefect API as the target sees it; it ends in V(/api)."

SERVER = Group(
    "Which server",
    (
        Option(
            "api_url",
            "str",
            _API_URL,
            default="http://127.0.0.1:4200/api",
            modules=(DELETE, POOL, DEPLOYMENT, AUTOMATION),
            entries=WHOLE,
            common=True,
        ),
        Option(
            "api_url",
            "str",
            _API_URL,
            (
                "When it is set, the module first proves that the API and the database belong "
                "to the same server.",
            ),
            modules=(MEASURE, PURGE),
        ),
        Option(
            "api_auth_string",
            "str",
            "User and password of a server with basic authentication, as C(user:password).",
            secret=True,
            modules=_CALLERS,
            entries=WHOLE,
            common=True,
        ),
        Option(
            "api_key",
            "str",
            "Key that is sent as a bearer token.",
            secret=True,
            modules=_CALLERS,
            entries=WHOLE,
        ),
        Option(
            "api_headers",
            "dict",
            "More headers for every request, for example for a proxy in front of the server.",
            secret=True,
            modules=_CALLERS,
            entries=WHOLE,
        ),
        Option(
            "api_ca_cert",
            "path",
            "File on the target with the certificates of a private authority.",
            modules=_CALLERS,
            entries=WHOLE,
        ),
        Option(
            "api_validate_certs",
            "bool",
            "Whether the server's certificate is checked.",
            default=True,
            modules=_CALLERS,
            entries=WHOLE,
        ),
        Option(
            "db_url",
            "str",
            "URL of Prefect's database in any SQLAlchemy form; when it is not set, "
            "E(PREFECT_DB_URL_SYNC) of the target is used, else Prefect's own setting there.",
            ("The database is PostgreSQL 14 or newer, or SQLite.",),
            secret=True,
            modules=(*STEPS, RESTORE),
            entries=WHOLE,
            common=True,
        ),
        Option(
            "db_url",
            "str",
            "URL of Prefect's PostgreSQL database in any SQLAlchemy form, with a user who owns "
            "the tables and may make roles, or a superuser.",
            (
                "When it is not set, E(PREFECT_DB_URL_SYNC) of the target is used, else Prefect's "
                "own setting there.",
            ),
            secret=True,
            modules=(ROLE,),
        ),
    ),
)
