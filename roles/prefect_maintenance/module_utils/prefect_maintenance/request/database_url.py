"""Addresses of databases, read so that no part of a password can pass for a host."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ..errors import SettingsError, Unsupported

_DATABASE = (
    "db_url is not a database URL; write postgresql://user:password@host:5432/prefect or "
    "sqlite:////path/to/prefect.db, and percent-encode the special characters of the password"
)
_AMBIGUOUS = (
    "db_url can be read in more than one way; percent-encode the special characters of the "
    "password, the user and the names, as %40 for @, %2F for /, %3A for : and %3F for ?"
)
# Those that people have; any other word before the colon may be a part of a password.
_DIALECTS = {"cockroachdb", "mariadb", "mssql", "mysql", "oracle", "postgres", "snowflake"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_HOST = re.compile(r"[\w.,:%/~-]*")
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
# Options whose values are shown with pride; any other may be a password or a key.
_HARMLESS = {
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "gssencmode", "host", "hostaddr", "options", "port", "service", "sslcert", "sslkey", "sslmode",
    "sslrootcert", "target_session_attrs", "user",
}  # fmt: skip

# asyncpg's names of connection options that libpq does not know.
_ASYNCPG_ONLY = {
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
    "command_timeout",
    "timeout",
    "server_settings",
    "direct_tls",
}


def parse_url(url: str | sa.URL) -> sa.URL:
    """Read any SQLAlchemy form of a PostgreSQL or SQLite URL and name the synchronous driver.

    Raises:
        SettingsError: it is no database URL, or can be read in more than one way.
        Unsupported: the dialect is neither PostgreSQL nor SQLite.
    """
    parsed = read_database_url(url) if isinstance(url, str) else url
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite", query={})
    query = {k: v for k, v in parsed.query.items() if k not in _ASYNCPG_ONLY}
    mode = query.pop("ssl", None)
    if isinstance(mode, str):
        query["sslmode"] = "require" if mode.lower() in ("true", "1", "on") else mode
    return parsed.set(drivername="postgresql+psycopg2", query=query)


def read_database_url(text: str) -> sa.URL:
    """Read a database URL; what stands in its host, port, database is no part of a password.

    A password with an unescaped "@" is understood where the host can only begin after the last.

    Raises:
        SettingsError: it is none, or can be read in more than one way.
        Unsupported: the dialect is neither PostgreSQL nor SQLite.
    """
    text = text.strip()
    parsed = _read(text)
    dialect = parsed.get_backend_name()
    if dialect == "sqlite":
        if parsed.host or parsed.username or parsed.password or parsed.port:
            raise SettingsError(f"{_DATABASE}; a path after sqlite:// begins with a slash")
        if re.search(r":.*@", text.partition("://")[2]):
            raise SettingsError(_AMBIGUOUS)
        return parsed
    if dialect != "postgresql":
        named = f"the dialect {dialect!r}" if dialect in _DIALECTS else "an unknown dialect"
        raise Unsupported(
            f"db_url names {named}; Prefect and this tool know postgresql and sqlite, name one of "
            "them"
        )
    head, _, tail = text.partition("://")[2].rpartition("@")
    if parsed.host and "@" in parsed.host:
        host = parsed.host.rpartition("@")[2]
        parsed = parsed.set(password=unquote(head.partition(":")[2]), host=host)
    # Whatever follows the last "@" must be understood as if it stood there by itself.
    if _without_user(_read(f"postgresql://{tail}")) != _without_user(parsed):
        raise SettingsError(_AMBIGUOUS)
    if "@" in head and ":" not in head:
        raise SettingsError(_AMBIGUOUS)
    if not _HOST.fullmatch(parsed.host or "") or not 0 <= (parsed.port or 0) < 65536:
        raise SettingsError(_AMBIGUOUS)
    _check_options(parsed)
    return parsed


def database_secrets(url: sa.URL) -> set[str]:
    """Return what must not be shown of a URL: its password and other options, in each form."""
    found = {str(url.password)} if url.password else set()
    for name, values in url.normalized_query.items():
        found |= set() if name in _HARMLESS else {value for value in values if value}
    return {form for secret in found for form in (secret, quote(secret, safe=""), quote(secret))}


def _read(text: str) -> sa.URL:
    try:
        text.encode()
        if _CONTROL.search(text):
            raise SettingsError(_DATABASE)
        parsed = sa.make_url(text)
        parts = (parsed.username, parsed.password, parsed.host, parsed.database, *parsed.query)
        values = [value for found in parsed.normalized_query.values() for value in found]
        if any("\x00" in str(part) for part in (*parts, *values)):
            raise SettingsError(f"{_DATABASE}; none of them can hold %00")
    except (ArgumentError, ValueError):
        raise SettingsError(_DATABASE) from None
    return parsed


def _without_user(url: sa.URL) -> tuple[object, ...]:
    return (url.host or None, url.port, url.database or None, url.query)


def _check_options(url: sa.URL) -> None:
    """Make sure that the driver can be asked, which names what it does not understand."""
    if not all(_OPTION.fullmatch(name) for name in url.query):
        raise SettingsError(_AMBIGUOUS)
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "db_url names hosts and ports that do not fit together; write one host, or "
            "?host=a:5432&host=b:5432"
        ) from None


def default_url() -> str:
    """Return the target's own database URL: PREFECT_DB_URL_SYNC, else Prefect's setting."""
    if url := os.environ.get("PREFECT_DB_URL_SYNC"):
        return url
    # Prefect takes longer to import than most steps do without it.
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    value = PREFECT_API_DATABASE_CONNECTION_URL.value()
    url = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    if not url:
        raise SettingsError("no db_url: set it, or PREFECT_DB_URL_SYNC on the target")
    return str(url)
