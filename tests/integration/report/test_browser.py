"""The pages in a real browser: on a wide screen, on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pages import MEANT, new_report, old_report, page, page_of_fleet, runs, texts_changed

from lab import browser

WIDE, PHONE, PAPER = 1280, 390, 688
HOSTILE = (
    '"><img src="http://127.0.0.1:9/" onerror="console.log(1)"><script>console.log(2)</script>'
    "<style>@import url(http://127.0.0.1:9/)</style>" + "long" * 300
)


def summary() -> dict[str, Any]:
    """Return a rollout over servers with short and long names, some of which failed."""
    whole = {
        "report": "a.json", "finished": "2026-06-30T12:00:00Z", "deleted": {"log": 5_000_000},
        "bytes_before": 2**40, "bytes_after": 2**39, "bytes_given_back": 2**39,
        "started": "2026-06-30T11:00:00Z", "warnings": ["one"],
        "overdue": {"table": "event_resources", "days_past": 12.5},
        "needs": [{"text": HOSTILE, "do": "prefect_maintenance_retention: {logs: 7}"}],
    }  # fmt: skip
    names = ("a", "prefect-production-eu-west-1.internal.example.org", "x" * 200, HOSTILE)
    statuses = ("ok", "failed", "partial", "not reached")
    hosts = [
        {**whole, "host": name, "status": status, "failure": "" if status == "ok" else HOSTILE}
        for name, status in zip(names, statuses, strict=True)
    ]
    return {
        "check_mode": False, "status": "failed", "stopped": "1 of 2 servers failed",
        "servers": {"total": 4, "ok": 1, "partial": 1, "failed": 1, "not_reached": 1},
        "finished": "2026-06-30T12:00:00Z", "deleted": {"log": 5}, "bytes_given_back": 2**39,
        "hosts": hosts,
    }  # fmt: skip


def hostile() -> dict[str, Any]:
    changed: dict[str, Any] = texts_changed(new_report(), lambda _: HOSTILE, MEANT)
    return changed


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType({
    "run": lambda: page(new_report(), runs(23)),
    "check": lambda: page(new_report("postgresql/check") | {"check_mode": True}, runs(2)),
    "look": lambda: page(new_report(), runs(5), looks=True),
    "old": lambda: page(old_report("sqlite/failed")),
    "hostile": lambda: page(hostile(), runs(3)),
    "fleet": lambda: page_of_fleet(summary(), {"a": runs(10)}),
})  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    program = browser.program()
    if not program:
        pytest.skip("needs Debian's package chromium; installed with CI=true as root")
    with browser.Browser(program) as running:
        yield running


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_screen_and_asks_for_nothing(
    chromium: browser.Browser, tmp_path: Path, name: str
) -> None:
    written = tmp_path / f"{name}.html"
    written.write_text(PAGES[name]())
    seen = {
        "wide": chromium.look(written, width=WIDE),
        "phone": chromium.look(written, width=PHONE),
        "paper": chromium.look(written, width=PAPER, media="print"),
    }
    for how, one in seen.items():
        assert one.complaints == (), how
        assert one.requests == (written.as_uri(),), how
    widths = {how: one.width for how, one in seen.items()}
    assert widths == {"wide": WIDE, "phone": PHONE, "paper": PAPER}


def test_a_page_is_dark_for_who_wants_it_dark_and_nothing_moves(
    chromium: browser.Browser, tmp_path: Path
) -> None:
    written = tmp_path / "a.html"
    written.write_text(page(new_report(), runs(3)))
    light, dark = (
        chromium.look(written, width=PHONE, dark=dark, picture=True) for dark in (False, True)
    )
    assert light.picture != dark.picture
    assert (light.width, light.height) == (dark.width, dark.height)
    again = chromium.look(written, width=PHONE, dark=True, picture=True)
    assert again.picture == dark.picture


def test_the_browser_notices_what_a_page_must_not_do(
    chromium: browser.Browser, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.html"
    wrong.write_text('<div style="width: 2000px">x</div><img src="gone.png"><script>no()</script>')
    seen = chromium.look(wrong, width=PHONE)
    assert seen.width >= 2000
    assert seen.requests == (wrong.as_uri(), (tmp_path / "gone.png").as_uri())
    assert "no is not defined" in " ".join(seen.complaints)
