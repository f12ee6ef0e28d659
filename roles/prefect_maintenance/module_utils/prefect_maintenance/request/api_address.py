"""The address of an API and the headers of its requests, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import SettingsError

_API = (
    "api_url is not the address of an API; write http://host:4200/api or https://host/api, "
    "without a query"
)
_API_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?(/[\w.~%+,;=-]*)*", re.ASCII
)


def check_api_url(url: str) -> str:
    """Return the address of an API without a slash at its end.

    Raises:
        SettingsError: it is none, or may hold a password.
    """
    if "@" in url:
        raise SettingsError(
            "api_url holds a user or password, which reports would show; "
            "put user:password into api_auth_string"
        )
    if not _API_URL.fullmatch(url):
        raise SettingsError(f"{_API}; put the credentials into api_auth_string or api_key")
    return url.rstrip("/")


def check_headers(headers: Mapping[str, str], option: str) -> None:
    """Make sure that a request can carry these headers.

    Raises:
        SettingsError: a name is none, or a value has a character that no header can have.
    """
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise SettingsError(f"{option} has a name that no header can have; write X-Name: value")
        if not re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", value):
            raise SettingsError(
                f"{option} has a value that no header can have: a line break, a space at an end "
                "or a character beyond ASCII; correct it"
            )
