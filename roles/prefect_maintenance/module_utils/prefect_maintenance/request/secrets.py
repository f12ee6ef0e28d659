"""The secrets of a request, so that they can be taken out of texts."""

from __future__ import annotations

from ..errors import MaintenanceError
from .database_url import database_secrets, parse_url
from .settings import Settings


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every text of a request that must never be shown, in each form it may take."""
    found: set[str] = set()
    if settings.role and settings.role.password:
        found.add(settings.role.password)
    if settings.db_url:
        found |= url_secrets(settings.db_url)
    if api := settings.api:
        # A header such as Host repeats what the address shows.
        headers = {value for value in (api.headers or {}).values() if value not in api.url}
        found |= {value for value in (api.auth_string, api.key, *headers) if value}
        if api.auth_string and ":" in api.auth_string:
            found.add(api.auth_string.split(":", 1)[1])
    return tuple(sorted(found, key=len, reverse=True))


def url_secrets(url: str) -> set[str]:
    """Return the password of a database URL, and its secret options, decoded and encoded."""
    try:
        parsed = parse_url(url)
    except MaintenanceError:
        return {url}
    return database_secrets(parsed)
