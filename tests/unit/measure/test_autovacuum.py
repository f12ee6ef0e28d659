"""Which settings of autovacuum are suggested: for large tables, and never weaker ones."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prefect_maintenance.measure.autovacuum import Setting, of_server, of_table

SERVER = {
    "autovacuum": "on",
    "track_counts": "on",
    "autovacuum_vacuum_scale_factor": "0.2",
    "autovacuum_vacuum_insert_scale_factor": "0.2",
    "autovacuum_analyze_scale_factor": "0.1",
}
VACUUM, INSERT, ANALYZE = (
    f"autovacuum_{kind}_scale_factor" for kind in ("vacuum", "vacuum_insert", "analyze")
)


def suggested(rows: int, own: Mapping[str, str] | None = None) -> dict[str, float | str]:
    return {one.setting: one.suggested for one in of_table("log", rows, own or {}, SERVER)}


def test_the_larger_a_table_the_smaller_the_share_that_may_be_dead() -> None:
    assert suggested(999_999) == {}
    assert suggested(1_000_000) == {VACUUM: 0.02, INSERT: 0.1, ANALYZE: 0.02}
    assert suggested(10_000_000) == {VACUUM: 0.01, INSERT: 0.05, ANALYZE: 0.01}


def test_what_a_table_has_stricter_already_stays() -> None:
    own = {VACUUM: "0.005", INSERT: "0.1", ANALYZE: "0.5"}
    assert suggested(2_000_000, own) == {ANALYZE: 0.02}


def test_what_was_suggested_is_suggested_no_more_once_it_is_set() -> None:
    own = {name: str(value) for name, value in suggested(20_000_000).items()}
    assert suggested(20_000_000, own) == {}
    assert suggested(2_000_000, own) == {}


def test_what_the_server_has_stricter_counts_for_its_tables() -> None:
    server = {**SERVER, VACUUM: "0.01", INSERT: "0", ANALYZE: "0.01"}
    assert of_table("log", 50_000_000, {}, server) == ()


def test_a_suggestion_says_the_rows_that_are_at_stake_and_the_statement() -> None:
    found = of_table("log", 2_000_000, {INSERT: "0", ANALYZE: "0"}, SERVER)
    assert found == (
        Setting(
            table="log",
            setting=VACUUM,
            now=0.2,
            suggested=0.02,
            why="400,000 rows may be dead before they are removed",
            do=f"ALTER TABLE log SET ({VACUUM} = 0.02)",
        ),
    )


@pytest.mark.parametrize("word", ["false", "OFF", "no", "0"])
def test_a_table_for_which_autovacuum_is_off_is_named_whatever_its_size(word: str) -> None:
    [found] = of_table("log", 3, {"autovacuum_enabled": word}, SERVER)
    assert (found.now, found.suggested) == ("off", "on")
    assert found.do == "ALTER TABLE log SET (autovacuum_enabled = on)"
    assert of_table("log", 3, {"autovacuum_enabled": "true"}, SERVER) == ()


@pytest.mark.parametrize("switch", ["autovacuum", "track_counts"])
def test_a_server_without_autovacuum_is_named_with_the_way_out(switch: str) -> None:
    [found] = of_server({**SERVER, switch: "off"})
    assert (found.table, found.setting) == (None, switch)
    assert found.do == f"ALTER SYSTEM SET {switch} = on; SELECT pg_reload_conf()"
    assert of_server(SERVER) == ()
