"""How the space of an SQLite file comes back."""

from __future__ import annotations

import pytest
from prefect_maintenance.measure.sizes import TableSize
from prefect_maintenance.plan.sqlite_file import choose_file
from prefect_maintenance.request.settings import Reclaim

MIB = 2**20
# VACUUM of what is kept takes less than a second, some seconds, some minutes.
SMALL, LARGE, HUGE = 20 * MIB, 1000 * MIB, 20_000 * MIB


def choose(kept: int, mode: str, *, steps: bool = False, room: bool = True) -> tuple[str, int, str]:
    free = 1000 * MIB
    whole = TableSize("", 0, "", kept + free, 0, 0, kept + free, 0, free, "", None)
    chosen = choose_file(
        whole,
        Reclaim(mode, 0, 0, max_lock=1.0),
        exact=True,
        incremental=steps,
        no_room="" if room else "no room: it needs more",
    )
    return chosen.action, chosen.gives_back // MIB, chosen.why


@pytest.mark.parametrize(
    ("kept", "mode", "steps", "action"),
    [
        (SMALL, "auto", False, "full"),
        (SMALL, "auto", True, "full"),
        (LARGE, "auto", False, "full"),
        (LARGE, "auto", True, "compact"),
        (HUGE, "auto", False, "plain"),
        (HUGE, "auto", True, "compact"),
        (HUGE, "full", False, "full"),
        (HUGE, "full", True, "full"),
        (SMALL, "compact", True, "compact"),
        (SMALL, "compact", False, "plain"),
        (SMALL, "rewrite", True, "plain"),
        (SMALL, "plain", True, "plain"),
    ],
)
def test_a_file_is_rewritten_where_writers_need_not_wait_long_and_else_shrunk_in_steps(
    kept: int, mode: str, steps: bool, action: str
) -> None:
    chosen, back, _ = choose(kept, mode, steps=steps)
    assert (chosen, back) == (action, 0 if action == "plain" else 1000)


def test_what_is_left_says_for_how_long_and_how_it_can_be_done() -> None:
    why = choose(HUGE, "auto")[2]
    assert "the server's writers out for about 242 s" in why
    assert "prefect_maintenance_vacuum: full" in why
    assert "auto_vacuum" in choose(SMALL, "compact")[2]


def test_a_file_whose_copy_does_not_fit_is_shrunk_in_steps_where_that_is_possible() -> None:
    assert choose(SMALL, "auto", steps=True, room=False)[0] == "compact"
    action, _, why = choose(SMALL, "auto", room=False)
    assert action == "plain"
    assert "no room: it needs more" in why
    # Where it is asked for by name, VACUUM itself refuses with the numbers.
    assert choose(SMALL, "full", room=False)[0] == "full"


def test_free_pages_that_were_counted_are_believed() -> None:
    for free, action in ((8192, "plain"), (MIB, "full")):
        whole = TableSize("", 0, "", 10 * MIB, 0, 0, 10 * MIB, 0, free, "", None)
        wanted = Reclaim("auto", 0, 0)
        chosen = choose_file(whole, wanted, exact=True, incremental=False, no_room="")
        assert chosen.action == action
