"""Which cases the hostile neighbour plays: each party at each statement, nothing twice."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.hostile.parties import Party, says
from tests.hostile.place import Place, normalised
from tests.hostile.stage import Stage
from tests.hostile.turns import turns

ENDS = Party("ends sessions", lambda _: None, interrupts=True)
PARTIES = {party.name: party for party in (says("VACUUM"), says("ANALYZE"), ENDS)}
COPY = "CREATE TABLE public.log__maintenance_new"
LOOK = "SELECT count(*) FROM log"


def stage(name: str, *statements: str) -> Stage:
    """Make a step that sends these statements, all from one function of the engine."""
    times: Counter[str] = Counter()
    sent = []
    for statement in statements:
        text = normalised(statement)
        times[text] += 1
        sent.append(Place(text, "copy.copy", times[text]))
    return Stage(name, tuple(sent), {}, {}, {}, (), frozenset())


def met(*stages: Stage) -> Counter[tuple[str, str, int]]:
    """Count the cases by the party, the statement and how often it had come before."""
    found = turns({stage.name: stage for stage in stages}, PARTIES)
    return Counter((party.name, place.text, place.time) for _, party, place in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DELETE FROM log WHERE id IN (1)", "DELETE FROM log WHERE id IN (22)"),
        ("SET lock_timeout = '50ms'", "SET timezone = 'UTC'"),
        ('ALTER INDEX public."pk_log" RENAME TO x_1', 'ALTER INDEX public."ix_log" RENAME TO x_2'),
        ("GRANT SELECT ON log__maintenance_new TO a", "GRANT INSERT ON log__maintenance_new TO b"),
    ],
)
def test_what_is_sent_for_one_thing_after_the_other_is_one_statement(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DROP TABLE log__maintenance_old", "DROP TABLE log__maintenance_new"),
        ("LOCK TABLE log IN SHARE MODE", "LOCK TABLE log IN ACCESS EXCLUSIVE MODE"),
        ("SET lock_timeout = '50ms'", "SET LOCAL lock_timeout = '50ms'"),
    ],
)
def test_what_does_another_thing_is_another_statement(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_beside_a_copy_each_acts_at_the_first_a_middle_and_the_last_time() -> None:
    cases = met(stage("purge", LOOK, *[COPY] * 9))
    assert {key: n for key, n in cases.items() if key[1] == COPY} == {
        (party, COPY, time): 1 for party in PARTIES for time in (1, 5, 9)
    }


def test_what_two_steps_send_beside_a_copy_each_meets_in_one_of_them_and_nobody_never() -> None:
    one, other = stage("purge", COPY), stage("vacuum", COPY)
    found = turns({"purge": one, "vacuum": other}, PARTIES)
    assert Counter(party.name for _, party, _ in found) == dict.fromkeys(PARTIES, 1)
    assert {stage.name for stage, _, _ in found} == {"purge", "vacuum"}


def test_where_a_step_only_looks_each_acts_once_and_they_take_turns() -> None:
    cases = {key: n for key, n in met(stage("purge", *[LOOK] * 9, COPY)).items() if key[1] == LOOK}
    assert Counter(party for party, _, _ in cases) == dict.fromkeys(PARTIES, 1)
    assert {time for _, _, time in cases} == {1, 5, 9}


def test_where_nothing_can_be_seen_or_held_only_those_act_who_end_sessions() -> None:
    own = "ANALYZE prefect_maintenance_worklist"
    cases = met(stage("purge", "SET LOCAL lock_timeout = '50ms'", COPY, "SAVEPOINT a", COPY, own))
    quiet = [party for party, text, _ in cases if text != COPY]
    assert quiet == [ENDS.name] * 3


def test_a_temporary_table_made_of_logs_is_met_by_everybody() -> None:
    filled = "CREATE TEMPORARY TABLE prefect_maintenance_worklist AS SELECT x.id FROM log x"
    cases = met(stage("purge", COPY, filled, COPY))
    assert {party for party, text, _ in cases if text == filled} == set(PARTIES)


def test_at_a_statement_about_another_table_one_party_in_eight_acts() -> None:
    tables = ("events", "flow_run", "task_run", "artifact")
    looks = [f"SELECT count(*) FROM {table}" for table in tables]
    many = {f"p{n}": Party(f"p{n}", lambda _: None) for n in range(40)}
    found = turns({"purge": stage("purge", *looks, COPY)}, many)
    others = [(party.name, place.text) for _, party, place in found if place.text != COPY]
    assert len({party for party, _ in others}) == len(others) == 5
    assert {text for _, text in others} == {looks[0], looks[2], looks[3]}
