"""When generations are asked for: lag and polls are cheapest together, and learning never ends."""

from dataclasses import replace
from itertools import pairwise
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.latency import FEWEST, Distribution, learned
from pipeline.core.observations import Observed
from pipeline.core.timetable import (
    MOST_SCOUTS,
    SCOUTS,
    pack_timetables,
    read_timetables,
    timetable,
    timetables_of,
)

REGULAR = 0.5
"""A chance that is no scout's."""

FLOOR_S, CEILING_S = 0.25, 60.0


def drawn(ended_by, until, step=0.05):
    ages = [step * number for number in range(int(until / step) + 1)]
    return Distribution((*ages, 7200.0), (*(ended_by(age) for age in ages), 1.0))


def uniform(low, high):
    return drawn(lambda age: min(1.0, max(0.0, (age - low) / (high - low))), high)


def polls(table, until, chance=REGULAR):
    """The ages of a generation's polls."""
    ages = [0.0]
    while ages[-1] < until:
        ages.append(ages[-1] + table.delay(ages[-1], chance))
    return ages[1:]


def cost(times, distribution, poll_cost_s):
    """Lag and polls of a list of poll times, on what the distribution says."""
    total, before = 0.0, 0.0
    for number, time in enumerate(times, 1):
        pieces = 50
        width = (time - before) / pieces
        for piece in range(pieces):
            low = before + piece * width
            share = distribution.ended_by(low + width) - distribution.ended_by(low)
            total += share * (time - low - width / 2 + number * poll_cost_s)
        before = time
    return total


def test_a_constant_duration_is_asked_for_once_when_it_is_over():
    constant = drawn(lambda age: float(age >= 10.0), 12.0)
    assert timetable(constant, 1.0, FLOOR_S, CEILING_S).delay(0.0, REGULAR) == pytest.approx(10.0, abs=0.1)


def test_polls_of_a_uniform_duration_are_as_far_apart_as_the_formula_says():
    # the last poll is at the end; before it, n polls over a range of L s are apart by falling distances d, d + c less
    # each time, for a poll that is worth c seconds: 8 s and 1 s make 4 polls, 3.5 s, 2.5 s, 1.5 s and 0.5 s apart
    times = polls(timetable(uniform(2.0, 10.0), 1.0, FLOOR_S, CEILING_S), 9.9)
    assert times[:4] == pytest.approx([5.5, 8.0, 9.5, 10.0], abs=0.45)


def test_two_kinds_of_generations_are_asked_for_when_each_may_be_over():
    two = drawn(lambda age: 0.5 * (age >= 5.0) + 0.5 * (age >= 60.0), 61.0)
    assert polls(timetable(two, 1.0, FLOOR_S, CEILING_S), 60.0) == pytest.approx([5.0, 60.0], abs=0.2)


@pytest.mark.parametrize("poll_cost_s", [0.2, 1.0, 5.0])
def test_no_regular_schedule_is_cheaper(poll_cost_s):
    distribution = drawn(lambda age: 1 - exp(-((age / 8) ** 2)), 40.0)
    ours = cost(polls(timetable(distribution, poll_cost_s, FLOOR_S, CEILING_S), 40.0), distribution, poll_cost_s)
    for apart in (0.5, 1.0, 2.0, 3.0, 5.0, 8.0):
        regular = [apart * number for number in range(1, 200)]
        assert ours < 1.01 * cost(regular, distribution, poll_cost_s)


def test_the_dearer_a_poll_the_rarer_it_is():
    counts = [len(polls(timetable(uniform(2, 20), cost_s, FLOOR_S, CEILING_S), 20.0)) for cost_s in (0.1, 1.0, 10.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_floor_and_ceiling_hold_whatever_was_learned():
    floored = timetable(uniform(2, 20), 0.001, 2.0, CEILING_S)
    assert min(second - first for first, second in pairwise(polls(floored, 30.0))) >= 2.0
    capped = timetable(drawn(lambda age: float(age >= 100.0), 101.0), 1.0, FLOOR_S, 30.0)
    assert max(second - first for first, second in pairwise([0.0, *polls(capped, 200.0)])) <= 30.0


def test_beyond_what_was_ever_seen_polls_become_rarer_up_to_the_ceiling():
    table = timetable(learned([(8.0, 10.0)] * 50), 1.0, FLOOR_S, CEILING_S)
    waits = [table.delay(age, REGULAR) for age in (30.0, 100.0, 400.0, 3000.0)]
    assert waits == sorted(waits)
    assert waits[0] >= 1.0
    assert {table.delay(age, REGULAR) for age in (4000.0, 10_000.0, 1e6)} == {CEILING_S}


def test_scouts_go_before_the_others_just_before_and_long_before():
    table = timetable(drawn(lambda age: float(age >= 10.0), 12.0), 1.0, FLOOR_S, CEILING_S)
    scouts = [table.delay(0.0, SCOUTS * number / 100) for number in range(100)]
    planned = table.delay(0.0, SCOUTS)
    assert all(wait < planned for wait in scouts)
    assert any(wait > planned - 0.1 for wait in scouts)
    assert any(wait < planned / 2 for wait in scouts)


def test_after_a_poll_half_of_the_scouts_look_whether_it_was_a_little_early():
    table = timetable(drawn(lambda age: 0.5 * (age >= 5.0) + 0.5 * (age >= 50.0), 52.0), 1.0, FLOOR_S, CEILING_S)
    scouts = [table.delay(5.1, SCOUTS * number / 100) for number in range(100)]
    assert sum(wait < 2.0 for wait in scouts) > 10


def test_one_observation_more_makes_no_cliff_of_scouts():
    def share(count):
        (table,) = timetables_of([Observed("m", 4000, 5000)] * count, 1.0, FLOOR_S, CEILING_S).values()
        return table.scouts

    assert share(FEWEST) == MOST_SCOUTS
    assert SCOUTS < share(100) < MOST_SCOUTS
    assert share(1000) == SCOUTS


def test_each_model_has_its_own_timetable_and_one_with_too_few_observations_none():
    observed = [Observed("quick", 1000, 2000), Observed("slow", 50_000, 60_000)] * 60 + [Observed("new", 0, 1)]
    tables = timetables_of(observed, 1.0, FLOOR_S, CEILING_S)
    assert set(tables) == {"quick", "slow"}
    assert tables["quick"].delay(0.0, REGULAR) < 3.0
    assert tables["slow"].delay(0.0, REGULAR) > 30.0


def test_timetables_are_read_as_they_were_packed():
    tables = timetables_of([Observed("m", 4000, 5000)] * 20, 1.0, FLOOR_S, CEILING_S)
    read = read_timetables(pack_timetables(tables))
    assert read == {"m": replace(tables["m"], **rounded(tables["m"]))}
    assert read_timetables(b"") == {}


def rounded(table):
    return {name: tuple(round(age, 4) for age in getattr(table, name)) for name in ("ages", "first", "last")}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 100_000)), min_size=FEWEST, max_size=40),
    st.floats(0.01, 100.0),
    st.floats(0.0, 20_000.0),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_whatever_was_seen_the_next_poll_is_within_floor_and_ceiling(pairs, poll_cost_s, age_s, chance):
    observed = [Observed("m", min(pair), max(pair)) for pair in pairs]
    table = timetables_of(observed, poll_cost_s, FLOOR_S, CEILING_S)["m"]
    assert FLOOR_S <= table.delay(age_s, chance) <= CEILING_S


def test_a_generation_that_nobody_watched_tells_no_time():
    unwatched = [Observed("m", 0, 0, prompt_tokens=9)] * 20
    assert timetables_of(unwatched, 1.0, FLOOR_S, CEILING_S) == {}
    watched = [Observed("m", 4000, 5000)] * 20
    assert timetables_of([*unwatched, *watched], 1.0, FLOOR_S, CEILING_S) == timetables_of(
        watched, 1.0, FLOOR_S, CEILING_S
    )
