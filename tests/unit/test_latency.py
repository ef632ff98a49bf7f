"""What is learned of durations from polls that only tell "not yet" or "by now"."""

from math import log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.latency import FEWEST, NEWEST, learned
from pipeline.core.mixture import LONGEST_S


def polled(dice, duration_s, first=(0.5, 4.0), apart=(0.5, 3.0)):
    """What polls at times of chance tell of one generation."""
    low, age = 0.0, dice.uniform(*first)
    while age < duration_s:
        low, age = age, age + dice.uniform(*apart)
    return low, age


def observations(draw, count, seed=1):
    dice = Random(seed)
    return [polled(dice, draw(dice)) for _ in range(count)]


def test_too_few_observations_are_no_estimate():
    assert learned([(1.0, 2.0)] * (FEWEST - 1)) is None
    assert learned([(1.0, 2.0)] * FEWEST) is not None


def test_a_constant_duration_is_known_to_hundredths_of_a_second():
    distribution = learned(observations(lambda _: 10.0, 400))
    assert distribution.ended_by(9.9) < 0.05
    assert distribution.ended_by(10.1) > 0.9


def test_a_smooth_curve_is_drawn_as_one():
    distribution = learned(observations(lambda dice: dice.lognormvariate(log(8), 0.6), 400))
    shares = [distribution.ended_by(age) for age in (3.7, 5.34, 8.0, 12.0, 17.3)]
    assert shares == pytest.approx([0.1, 0.25, 0.5, 0.75, 0.9], abs=0.08)


def test_two_kinds_of_generations_are_both_seen():
    distribution = learned(observations(lambda dice: 5.0 if dice.random() < 0.5 else 60.0, 400))
    assert distribution.ended_by(4.5) < 0.05
    assert distribution.ended_by(5.5) == pytest.approx(0.5, abs=0.08)
    assert distribution.ended_by(55.0) == pytest.approx(0.5, abs=0.08)
    assert distribution.ended_by(65.0) > 0.95


def test_polls_that_only_ever_said_by_now_leave_what_is_below_open():
    distribution = learned([(0.0, 10.0)] * 100)
    assert distribution.ended_by(3.0) > 0.1
    assert distribution.ended_by(10.5) > 0.9


@pytest.mark.parametrize(("before", "after"), [(8.0, 20.0), (20.0, 8.0)])
def test_a_service_that_became_slower_or_faster_is_followed(before, after):
    old = observations(lambda dice: dice.uniform(0.9, 1.1) * before, 400)
    new = observations(lambda dice: dice.uniform(0.9, 1.1) * after, NEWEST, seed=2)
    distribution = learned(old + new)
    assert distribution.ended_by(1.3 * after) - distribution.ended_by(0.7 * after) > 0.5


def test_order_tells_age_and_newer_observations_weigh_more():
    quick, slow = [(3.0, 4.0)] * 300, [(9.0, 10.0)] * 300
    assert learned(slow + quick).ended_by(6.0) > learned(quick + slow).ended_by(6.0)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 10_000.0), st.floats(0.0, 10_000.0)).map(lambda pair: (min(pair), max(pair))),
        min_size=FEWEST,
        max_size=60,
    )
)
def test_whatever_was_seen_the_estimate_is_a_distribution_and_rules_nothing_out(intervals):
    distribution = learned(intervals)
    assert distribution.ages[0] == 0.0
    assert distribution.ages[-1] == LONGEST_S
    assert distribution.by[0] == 0.0
    assert distribution.by[-1] == 1.0
    assert all(low < high for low, high in zip(distribution.ages, distribution.ages[1:], strict=False))
    assert all(low <= high for low, high in zip(distribution.by, distribution.by[1:], strict=False))
    assert distribution.ended_by(1.0) > 0.0
    assert distribution.ended_by(2 * LONGEST_S) == 1.0
