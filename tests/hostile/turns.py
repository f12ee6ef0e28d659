"""Who acts where: every party at every statement, without playing the same thing twice.

docs/reliability.md says which cases are taken for the same, and why.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from .parties import Party
from .place import Place
from .stage import Stage

# At a statement about other tables than the logs acts one in so many parties.
_OTHERS = 8


def turns(
    stages: Mapping[str, Stage], parties: Mapping[str, Party]
) -> list[tuple[Stage, Party, Place]]:
    """Return the cases of these stages: who acts at which statement."""
    found: dict[tuple[str, str, Place], tuple[Stage, Party, Place]] = {}

    def act(stage: Stage, party: Party, place: Place) -> None:
        found[stage.name, party.name, place] = stage, party, place

    for kind, sent in _alike(stages, tense=True).items():
        for number, party in enumerate(parties.values(), _number(*kind)):
            for time in range(max(len(places) for _, places in sent)):
                stage, places = sent[(number + time) % len(sent)]
                place = places[min(time, len(places) - 1)]
                if matters(party, place):
                    act(stage, party, place)
    for kind, sent in _alike(stages, tense=False).items():
        for number, party in enumerate(parties.values(), _number(*kind)):
            heard = [
                (stage, place) for stage, places in sent for place in places if loud(party, place)
            ]
            own = [(stage, place) for stage, place in heard if place.concerns(party.tables)]
            if own:
                where = own[number % len(own)]
                act(where[0], party, where[1])
            elif heard and not number % _OTHERS:
                where = heard[number // _OTHERS % len(heard)]
                act(where[0], party, where[1])
    return list(found.values())


def matters(party: Party, place: Place) -> bool:
    """Whether what a party does can be seen at a place or can be held up there."""
    return place.concerns(party.tables) and loud(party, place)


def loud(party: Party, place: Place) -> bool:
    """Whether it makes a difference that a party acts here, and not at the next statement."""
    return not place.is_quiet or party.interrupts or party.child


def first_middle_last(places: Sequence[Place]) -> list[Place]:
    """Return the first, a middle and the last of some places, each once."""
    return list(dict.fromkeys((places[0], places[len(places) // 2], places[-1])))


def _alike(
    stages: Mapping[str, Stage], *, tense: bool
) -> dict[tuple[str, str], list[tuple[Stage, list[Place]]]]:
    """Return for each statement the stages that send it, with its first, a middle and its last."""
    found: dict[tuple[str, str], list[tuple[Stage, list[Place]]]] = defaultdict(list)
    for stage in stages.values():
        here: dict[tuple[str, str], list[Place]] = defaultdict(list)
        for place in stage.tense if tense else stage.calm:
            here[place.alike].append(place)
        for kind, places in here.items():
            found[kind].append((stage, first_middle_last(places)))
    return found


def _number(*words: str) -> int:
    """Return a number that looks like chance and is always the same."""
    return int.from_bytes(hashlib.sha256("/".join(words).encode()).digest()[:4], "big")
