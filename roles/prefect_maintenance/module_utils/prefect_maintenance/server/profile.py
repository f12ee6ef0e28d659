"""Which credentials a request to the API carries: a profile's only to the profile's own server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect import settings as prefect_settings
from prefect.context import SettingsContext, get_settings_context

from ..request.settings import Api

_PORTS = {"http": 80, "https": 443}


@contextmanager
def profile_of(api: Api) -> Iterator[tuple[str, ...]]:
    """Use Prefect's settings for a server; yields the names of the headers that they add.

    The active profile may be that of Prefect Cloud. What it lets in with is sent to the very
    address that it names, and what was asked for comes before it.
    """
    own = _same(prefect_settings.PREFECT_API_URL.value(), api.url)
    updates: dict[Any, Any] = {prefect_settings.PREFECT_API_URL: api.url}
    if api.auth_string or api.key or not own:
        updates[prefect_settings.PREFECT_API_AUTH_STRING] = api.auth_string
        updates[prefect_settings.PREFECT_API_KEY] = api.key
    if api.ca_cert:
        updates[prefect_settings.PREFECT_API_SSL_CERT_FILE] = api.ca_cert
    if not api.validate_certs:
        updates[prefect_settings.PREFECT_API_TLS_INSECURE_SKIP_VERIFY] = True
    with prefect_settings.temporary_settings(updates=updates) as settings:
        # An update would be merged with the profile's headers; those are to be replaced.
        theirs = getattr(settings.client, "custom_headers", None) or {}
        if not theirs:
            yield ()
            return
        given = {name.lower() for name in api.headers or {}}
        given |= {"authorization"} if api.auth_string or api.key else set()
        headers = {k: v for k, v in theirs.items() if own and k.lower() not in given}
        client = settings.client.model_copy(update={"custom_headers": headers})
        settings = settings.model_copy(update={"client": client})
        with SettingsContext(profile=get_settings_context().profile, settings=settings):
            yield tuple(headers)


def keeper(api: Api, headers: Iterable[str]) -> Callable[[httpx.Request], None]:
    """Return a hook that takes credentials off a request that a server sent on to another one."""
    home = httpx.URL(api.url)
    # The host of the other server stands there already.
    given = [name for name in (*(api.headers or {}), *headers) if name.lower() != "host"]
    names = ("Authorization", *given)

    def keep(request: httpx.Request) -> None:
        there = request.url
        same = _origin(there) == _origin(home)
        safer = there.host == home.host and (home.scheme, there.scheme) == ("http", "https")
        if same or (safer and (home.port, there.port) == (None, None)):
            return
        for name in names:
            request.headers.pop(name, None)

    return keep


def _same(one: str | None, other: str) -> bool:
    try:
        first, second = httpx.URL(one or ""), httpx.URL(other)
    except httpx.InvalidURL:
        return False
    paths = [url.path.rstrip("/") for url in (first, second)]
    return _origin(first) == _origin(second) and paths[0] == paths[1]


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)
