"""Whatever others do at a statement of a step: every row is where it belongs, the report is true.

A sample of `make hostile`, always the same while the engine's statements are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from maintenance import run_step
from prefect_maintenance.errors import MaintenanceError

from tests.hostile.cases import PARTIES, Result, chosen, missing, play
from tests.hostile.force import move_clock
from tests.hostile.parties import Party
from tests.hostile.ruled import RULED, RULERS, acts
from tests.hostile.stage import Theatre, lend

# Seconds that somebody may wait for a step on a machine that does much else.
PATIENCE = 10.0
AT_THE_SWAP = (
    "VACUUM FULL",
    "CREATE INDEX CONCURRENTLY",
    "CREATE POLICY",
    "CREATE VIEW",
    "FOREIGN KEY",
    "TRUNCATE",
    "session_replication_role = replica",
    "writer, repeatable read by default",
    "writer, serializable by default",
    "a run is set RUNNING",
    "rows cross the cutoff",
    "rows dated infinity",
    "REPEATABLE READ in one string",
    "two-phase transaction",
    "ACCESS SHARE lock held",
    "backend terminated",
    "SIGKILL",
    "server restart",
)
_OTHER = (
    "purge by deletes",
    "vacuum by rewrite",
    "delete by SQL",
    "vacuum by compaction",
    "vacuum full",
)
_ANYWHERE = [party for party in PARTIES if acts(_OTHER[0], party)]
# The middle of a copy, the instant before the swap, and anywhere.
SAMPLE = [
    *(("purge by rewrite", party, 0) for party in _ANYWHERE),
    *(("purge by rewrite", party, 1) for party in AT_THE_SWAP),
    *((_OTHER[n % len(_OTHER)], party, 2) for n, party in enumerate(_ANYWHERE[::3])),
]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with lend() as found:
        yield found


@pytest.mark.parametrize(
    ("stage", "party", "number"), SAMPLE, ids=lambda part: str(part).replace(" ", "-")
)
def test_rows_schema_and_report_are_right_whoever_acts_meanwhile(
    theatre: Theatre, stage: str, party: str, number: int
) -> None:
    if lacking := missing(PARTIES[party], theatre.cluster):
        pytest.skip(lacking)
    calm = theatre.stage(stage)
    well(play(theatre, calm, PARTIES[party], chosen(calm, PARTIES[party], number), PATIENCE))


@pytest.mark.parametrize("party", RULERS, ids=lambda party: party.name.replace(" ", "-"))
def test_what_others_do_to_a_run_that_rules_let_go_decides_about_it(
    theatre: Theatre, party: Party
) -> None:
    calm = theatre.stage(RULED)
    # By then the plan is made, and nothing is locked.
    locking = next(place for place in calm.sent if place.text.startswith("WITH tree AS"))
    well(play(theatre, calm, party, locking, PATIENCE))


def well(result: Result) -> None:
    assert result.came, f"{result.party} never came to {result.place}"
    told = f"{result.party} at {result.place}; the step: {result.error or 'ended'}"
    assert result.failures == (), told


def test_a_target_whose_clock_is_years_ahead_deletes_nothing(theatre: Theatre) -> None:
    calm = theatre.stage("purge by rewrite")
    with theatre.copy() as name:
        scene = theatre.scene(calm, name)
        move_clock(scene)
        try:
            asked = {key: v for key, v in scene.request.items() if key != "reference_time"}
            with pytest.raises(MaintenanceError, match=r"clock|time"):
                run_step(scene.step, asked)
        finally:
            scene.ending.pop()()
        assert scene.ids("log") == calm.before["log"]
