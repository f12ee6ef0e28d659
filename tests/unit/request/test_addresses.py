"""No part of a password is shown, whatever the address of the database or the API looks like."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from prefect_maintenance.errors import MaintenanceError, SettingsError
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.database_url import parse_url
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

SPECIAL = ("@", ":", "/", "?", "#", "%", "[", "]", " ", "\\", "'", '"', "ü", "\n", "%zz", "&", "=",
           "\x00", "")  # fmt: skip
DATABASES = (
    "postgresql://maint:{password}@127.0.0.1:9/prefect",
    "postgresql+asyncpg://ma{special}int:{password}@127.0.0.1:9/prefect?ssl=require",
    "postgresql://maint:{password}@127.0.0.1{special}x:9/prefect",
    "postgresql://maint:{password}@127.0.0.1:9/pre{special}fect",
    "postgresql://maint:{password}@127.0.0.1:9/prefect?application_name=a{special}b",
    "postgresql://maint@127.0.0.1:9/prefect?password={password}&wrong{special}=1",
    "postgresql://maint:{password}@127.0.0.1:{special}/prefect",
    "postgresql://{password}@127.0.0.1:9:9/prefect",
    "maint:{password}@127.0.0.1/prefect",
    "postgresql//maint:{password}@127.0.0.1/prefect",
    "mysql://maint:{password}@127.0.0.1/prefect",
    "sqlite://maint:{password}@127.0.0.1/prefect.db",
    "sqlite:///maint:{password}@127.0.0.1/prefect.db",
)
APIS = (
    "http://maint:{password}@127.0.0.1:9/api",
    "maint:{password}@127.0.0.1/api",
    "//maint:{password}@127.0.0.1/api",
    "http://maint:{password}/api",
    "http:/maint:{password}@127.0.0.1:9/api",
    "http://127.0.0.1:9/api?token={password}",
    "http://127.0.0.1:9/api#{password}",
    "ftp://{password}@127.0.0.1/api",
)


def passwords(special: str) -> tuple[str, ...]:
    plain = f"Tr0ub4{special}dor{special}Zebra9"
    return plain, quote(plain, safe="")


def table(shapes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return pairs of an address and the password that it holds."""
    return [
        (shape.format(password=password, special=special), password)
        for special in SPECIAL
        for shape in shapes
        for password in dict.fromkeys(passwords(special))
    ]


def fragments(password: str) -> Iterator[str]:
    return (password[start : start + 4] for start in range(len(password) - 3))


def refusal(request: dict[str, Any]) -> str:
    """Ask for a step that cannot begin; return all that anybody would see of it."""
    with pytest.raises(MaintenanceError) as raised:
        STEPS["bloat_info"](Settings.parse(request, check=True), Pace())
    assert "\n" not in str(raised.value)
    return "".join(traceback.format_exception(raised.value, chain=True))


def test_no_address_of_a_database_shows_a_part_of_its_password() -> None:
    tried = table(DATABASES)
    assert len(tried) > 200
    for url, password in tried:
        shown = refusal({"db_url": url})
        assert not [part for part in fragments(password) if part in shown], (url, shown)


def test_no_address_of_an_api_shows_a_part_of_its_password() -> None:
    tried = table(APIS)
    assert len(tried) > 200
    for url, password in tried:
        shown = refusal({"db_url": "postgresql://u@127.0.0.1:9/d", "api_url": url})
        # Before anything is opened: a report names the address of a server that was reached.
        assert "api_url" in shown, url
        assert not [part for part in fragments(password) if part in shown], (url, shown)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://maint:Tr0ub4@dor/Zebra9@db/prefect",
        "postgresql://maint:Tr0ub4@dor?Zebra9@db/prefect",
        "postgresql://maint:Tr0ub4@do#r@d b/prefect",
        "postgresql://ma/int:Tr0ub4@db/prefect",
        "postgresql://maint:x@db/prefect?application_name=a@b",
        "postgresql://Tr0@ub4@db/prefect",
    ],
)
def test_an_ambiguous_address_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(SettingsError, match="percent-encode the special characters"):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "password", "host"),
    [
        ("postgresql://u:p%40s%2Fs@h/d", "p@s/s", "h"),
        ("postgresql://u:p%40s@s%2Fs@h/d", "p@s@s/s", "h"),
        ("postgresql://u:p/s#s?@h:5/d", "p/s#s?", "h"),
        ("postgresql://u@corp:p@h/d", "p", "h"),
        ("postgresql://u:p@[::1]:5/d", "p", "::1"),
        (" postgresql://u:p@h/d\n", "p", "h"),
    ],
)
def test_an_unambiguous_address_is_understood(url: str, password: str, host: str) -> None:
    parsed = parse_url(url)
    assert (parsed.password, parsed.host, parsed.database) == (password, host, "d")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@/d?host=/var/run/postgresql",
        "postgresql:///d",
        "postgresql://u:p@a-1.example_x:5/d",
        "sqlite:////srv/a@b/prefect.db",
        "sqlite:///relative.db",
    ],
)
def test_other_forms_are_still_understood(url: str) -> None:
    assert parse_url(url).database


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4200/api", "https://[::1]/api/", "https://h/proxy/~u/a.b-c%20d/api"]
)
def test_an_address_of_an_api_is_understood(url: str) -> None:
    api = Settings.parse({"api_url": url}, check=True).api
    assert api is not None
    assert api.url == url.rstrip("/")


@pytest.mark.parametrize("option", ["api_key", "api_headers"])
@pytest.mark.parametrize("value", ["Zebra9\n", "Ze\nbra9-dor", "Zebra9ü", " Zebra9"])
def test_a_credential_that_no_request_can_carry_is_refused_unshown(option: str, value: str) -> None:
    given = {"X-Token": value} if option == "api_headers" else value
    shown = refusal({"api_url": "http://127.0.0.1:9/api", option: given})
    assert option in shown
    assert not [part for part in fragments("Zebra9") if part in shown]
