"""Which database and which versions: what needs no server to be decided."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect_maintenance.database.session import require_supported
from prefect_maintenance.errors import Unsupported
from prefect_maintenance.request.database_url import parse_url
from prefect_maintenance.server.api import PrefectApi

from lab.environments import ROOT

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils"
ASK = "from prefect_maintenance.request.database_url import default_url; print(default_url())"


def chosen(**environment: str) -> str:
    """Return the URL that a target with this environment would use."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**plain, "PYTHONPATH": str(ENGINE), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_targets_synchronous_url_comes_before_prefects_own_setting(tmp_path: Path) -> None:
    own = "postgresql+asyncpg://u:p@h/prefect"
    home = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_DATABASE_CONNECTION_URL": own}
    assert chosen(**home) == own
    assert chosen(**home, PREFECT_DB_URL_SYNC="postgresql://u:p@h/sync").endswith("/sync")


def test_without_any_setting_it_is_prefects_default_file(tmp_path: Path) -> None:
    url = chosen(PREFECT_HOME=str(tmp_path))
    assert parse_url(url).drivername == "sqlite+pysqlite"
    assert url.endswith(f"{tmp_path}/prefect.db")


def test_options_of_asyncpg_are_translated_or_left_out() -> None:
    url = parse_url("postgresql+asyncpg://u@h/d?ssl=verify-full&prepared_statement_cache_size=0")
    assert dict(url.query) == {"sslmode": "verify-full"}


def test_a_postgresql_below_14_is_refused() -> None:
    require_supported("14.0", 140000)
    with pytest.raises(Unsupported, match=r"PostgreSQL 13\.12 is too old, 14 or newer"):
        require_supported("13.12", 130012)


# A server that old cannot be had here, so its answer is put in.


def test_a_prefect_below_3_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_self: PrefectApi, _method: str, _path: str, **_: Any) -> str:
        return "2.20.27"

    monkeypatch.setattr(PrefectApi, "ask", answer)
    api = PrefectApi(client=None, url="http://h/api")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=r"2\.20\.27; this tool supports Prefect 3"):
        api.version()
