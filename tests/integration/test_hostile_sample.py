"""Whatever others do at a statement of a step: every row is where it belongs, the report is true.

A sample of `make hostile`, always the same while the engine's statements are the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import environments
from lab.postgres import Postgres
from lab.server import migrate
from tests.hostile.cases import PARTIES, chosen, missing, play
from tests.hostile.stage import OPTIONS, STAGES, Theatre

# Seconds that somebody may wait for a step on a machine that does much else.
PATIENCE = 20.0
_OTHERS = [stage for stage in STAGES if stage != "purge by rewrite"]
SAMPLE = [
    (stage, party)
    for number, party in enumerate(PARTIES)
    for stage in ("purge by rewrite", _OTHERS[number % len(_OTHERS)])
]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with Postgres(os.environ.get("LAB_POSTGRES", "18"), OPTIONS) as cluster:
        migrate(cluster.create_database("migrated"), environments.NEWEST)
        found = Theatre(cluster)
        found.fill("migrated")
        yield found


@pytest.mark.parametrize(("stage", "party"), SAMPLE, ids=lambda name: name.replace(" ", "-"))
def test_rows_schema_and_report_are_right_whoever_acts_meanwhile(
    theatre: Theatre, stage: str, party: str
) -> None:
    if lacking := missing(PARTIES[party]):
        pytest.skip(lacking)
    calm = theatre.stage(stage)
    result = play(theatre, calm, PARTIES[party], chosen(calm, PARTIES[party]), PATIENCE)
    assert result.failures == (), f"{party} at {result.place}; the step: {result.error or 'ended'}"
