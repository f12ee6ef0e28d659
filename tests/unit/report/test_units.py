"""Numbers for people are those of the library that people know them from."""

from __future__ import annotations

import random

import humanize
import pytest
from prefect_maintenance.units import count, duration, size

EDGES = [n for power in range(0, 60, 10) for n in (2**power - 1, 2**power, 2**power + 1)]
EDGES += [1_048_523, 1_048_524, 1_073_688_135, 1_073_688_136, 2**62]


def test_sizes_and_counts_are_written_as_the_library_does() -> None:
    chosen = random.Random(7)
    for value in (*EDGES, *(int(2 ** chosen.uniform(0, 58)) for _ in range(5_000))):
        for number in (value, -value):
            assert size(number) == humanize.naturalsize(number, binary=True)
            assert count(number) == humanize.intcomma(number)
    assert (size(None), count(None)) == ("?", "?")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (192.4, "3 min 12 s"), (7_260, "2 h 1 min"),
     (90_000, "1 d 1 h")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said
