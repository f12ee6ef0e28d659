"""Masking takes secrets out of sentences, and nothing out of the data of a report."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.request.masking import HIDDEN, Mask
from prefect_maintenance.request.secrets import secrets_of
from prefect_maintenance.request.settings import Settings

REPORT: dict[str, Any] = {
    "schema": 1,
    "host": "postgres",
    "status": "ok",
    "reference_time": "2026-11-25T01:00:00Z",
    "database": {"dialect": "postgresql", "revision": "1f2026"},
    "deleted": {"log": 12026},
    "steps": ["purge"],
    "check_mode": True,
    "tables": [{"name": "log", "cutoff": "2026-11-10T01:00:00Z", "error": None}],
    "kept": [{"what": "flow_run", "rows": 1, "why": "state CRASHED is not in the policy"}],
    "warnings": ["log: 1 of 2026 rows; the dialect is postgresql, and all is ok since 2026-11-25"],
    "errors": [],
}
ORDINARY = ("1", "postgres", "log", "ok", "2026", "true", "True", "2026-11", "purge", "1.2.3")


def test_secrets_that_are_ordinary_words_damage_nothing() -> None:
    assert Mask.of(ORDINARY).sentences(REPORT) == REPORT


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("s3cr", 'no host "s3cr" is known'),
        ("p@ss/w", "postgresql://u:p@ss/w@h/d is wrong"),
        ("correct-horse-battery", "near correct-horse-battery1"),
        ("a(b[c*", "a(b[c* is no pattern"),
    ],
)
def test_other_secrets_are_taken_out_of_every_sentence(secret: str, said: str) -> None:
    report = {"errors": [said], "tables": [{"error": said}], "host": "h"}
    masked = Mask.of([secret]).sentences(report)
    assert secret not in str(masked)
    assert HIDDEN in masked["errors"][0]
    assert masked["host"] == "h"


def test_of_two_secrets_the_longer_goes_whole() -> None:
    mask = Mask.of(["zebra", "zebra-dor-mouse"])
    assert mask.text("zebra-dor-mouse zebra") == f"{HIDDEN} {HIDDEN}"


def test_a_header_that_repeats_the_address_is_no_secret() -> None:
    asked = {"api_url": "https://prefect.example.com/api", "api_headers": {
        "Host": "prefect.example.com", "X-Token": "t0ken-of-the-proxy"}}  # fmt: skip
    mask = Mask.of(secrets_of(Settings.parse(asked, check=False)))
    assert mask.text("Prefect at https://prefect.example.com/api").endswith("example.com/api")
    assert "t0ken" not in mask.text("t0ken-of-the-proxy")
