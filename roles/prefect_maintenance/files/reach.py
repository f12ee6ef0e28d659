"""Look whether the Prefect API and its database answer; needs nothing but Python itself.

Reads a JSON object from its standard input, so that no secret is in the process list, and prints a
JSON list of sentences: what is certainly wrong. Whatever could be right says nothing.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SECONDS = 10
_REFUSED = (401, 403)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A server that sends on to another one answers; credentials are not for that other one."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def api_fault(asked: dict[str, Any]) -> str:
    """Say what is wrong with the API, or nothing."""
    url = str(asked["api_url"]).rstrip("/")
    try:
        with _opener(asked).open(_request(asked, url), timeout=SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return _answered(url, error.code)
    except ssl.SSLError:
        return ""
    except urllib.error.URLError as error:
        # Which authorities are trusted is not this Python's matter.
        if isinstance(error.reason, ssl.SSLError):
            return ""
        why = str(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
    return (
        f"prefect_maintenance_api_url: nothing answers at {url} ({why}); start the Prefect "
        "server, or write the address as this target sees it"
    )


def database_fault(asked: dict[str, Any]) -> str:
    """Say what is wrong with the database, or nothing."""
    url = str(asked["db_url"] or os.environ.get("PREFECT_DB_URL_SYNC", "")).strip()
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        path = unquote(rest.partition("?")[0])[1:]
        if not path.startswith("/") or _is_file(path):
            return ""
        return (
            f"prefect_maintenance_db_url: there is no SQLite database at {path}, or it may not be "
            "looked at; start the Prefect server once, or correct the path"
        )
    found = re.fullmatch(r"(?:[^@]*@)?([\w.-]+)(?::(\d{1,5}))?/[^@]*", rest)
    if not scheme.startswith("postgres") or not found or "host=" in rest:
        return ""
    host, port = found[1], int(found[2] or 5432)
    try:
        socket.create_connection((host, port), SECONDS).close()
    except (OSError, OverflowError) as error:
        return (
            f"prefect_maintenance_db_url: nothing answers at {host}:{port} ({error}); start "
            "PostgreSQL, or write the host and port as this target sees them"
        )
    return ""


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:
        return False


def _opener(asked: dict[str, Any]) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if asked["ca_cert"] and _is_file(asked["ca_cert"]):
        context.load_verify_locations(asked["ca_cert"])
    if not asked["validate"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=context))


def _request(asked: dict[str, Any], url: str) -> urllib.request.Request:
    headers = {str(name): str(value) for name, value in (asked["headers"] or {}).items()}
    if asked["auth"]:
        basic = base64.b64encode(str(asked["auth"]).encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    elif asked["key"]:
        headers["Authorization"] = f"Bearer {asked['key']}"
    return urllib.request.Request(f"{url}/admin/version", headers=headers)


def _answered(url: str, status: int) -> str:
    if status in _REFUSED:
        return (
            f"prefect_maintenance_api_url: {url} asks for credentials ({status}); set "
            "prefect_maintenance_api_auth_string, _api_key or _api_headers"
        )
    if status == 404:
        return (
            f"prefect_maintenance_api_url: what answers at {url} is no Prefect API (404); the "
            "address ends in /api"
        )
    return ""


if __name__ == "__main__":
    told = json.load(sys.stdin)
    print(json.dumps([fault for fault in (api_fault(told), database_fault(told)) if fault]))
