"""The arithmetic of permits: smooth, forgiving to who wakes late, and fair."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.permits import (
    AHEAD,
    LATE_US,
    PAUSE_US,
    SHARE,
    WAKE_US,
    Lane,
    ahead_of,
    current,
    gap_us,
    late_us,
    room,
    share,
    taken,
    until_due,
    unwanted,
    wait_ms,
    waiter,
)

WINDOW_US = 10_000_000
GAPS = st.integers(500, 3_000_000)
LANES = st.builds(Lane, st.integers(0, 2 * 10**9), st.integers(0, 2 * 10**9))


def test_no_rate_is_no_gap_and_a_rate_is_the_time_between_two_requests():
    assert (gap_us(None), gap_us(10.0), gap_us(600 / 60), gap_us(0.5)) == (0, 100_000, 100_000, 2_000_000)


def granted(gap, looks):
    """When permits were taken by claimers that look after each of these waits, in µs, and take all they can."""
    lane, now, taken_at = Lane(), 10**15, []
    for wait in looks:
        now += wait
        free = room(lane, gap, now)
        if free:
            lane = taken(lane, gap, now, free)
            taken_at += [now] * free
    return taken_at


@given(GAPS, st.lists(st.integers(0, 2_000_000), min_size=20, max_size=200))
def test_no_window_of_ten_seconds_holds_more_than_its_rate_and_what_may_come_late(gap, looks):
    times = granted(gap, looks)
    most = WINDOW_US / gap + 1 + LATE_US / gap
    for place, start in enumerate(times):
        assert bisect_left(times, start + WINDOW_US) - place <= most


@pytest.mark.parametrize(
    ("gap", "late"), [(100_000, 150_000), (30_000, 150_000), (20_000, 100_000), (10_000, 80_000), (1_000, 80_000)]
)
def test_a_fast_lane_makes_up_for_less_so_that_a_small_bucket_takes_it(gap, late):
    assert late_us(gap) == late
    lane = taken(Lane(), gap, 10**15, 1)
    assert room(lane, gap, 10**15 + PAUSE_US) == late // gap + 1


def test_nobody_has_to_leave_a_permit_until_it_is_lost():
    gap = 10_000
    lane = taken(Lane(), gap, 10**15, 1)
    waited = [count for ms in range(0, 120, 10) if (count := unwanted(lane, gap, 10**15 + gap + ms * 1_000))]
    assert waited[0] == 1
    assert waited[-1] == (late_us(gap) - late_us(gap) * 2 // 3) // gap + 1


@given(st.integers(500, LATE_US), st.lists(st.integers(1, LATE_US // 2), min_size=50, max_size=200))
def test_who_looks_in_time_is_given_every_permit_of_the_rate(gap, looks):
    passed = sum(looks[1:])
    assert len(granted(gap, looks)) >= passed // gap


@given(GAPS, st.lists(st.integers(0, 2_000_000), min_size=20, max_size=100))
def test_a_lane_under_its_own_gap_is_never_further_ahead_than_a_changed_one_may_be(gap, looks):
    lane, now = Lane(), 10**15
    for wait in looks:
        now += wait
        assert current(lane, gap, now) == lane
        if free := room(lane, gap, now):
            lane = taken(lane, gap, now, free)
        lane, _ = waiter(lane, gap, now)


def test_after_a_raised_rate_the_next_request_is_one_gap_away():
    now = 10**15
    slow = waiter(taken(Lane(), 60_000_000, now, 1), 60_000_000, now)[0]
    assert current(slow, 100_000, now).tat == now + 100_000
    assert room(current(slow, 100_000, now), 100_000, now + 100_000) == 1


@given(GAPS, st.integers(1, 10**9))
def test_a_pause_saves_up_nothing(gap, pause):
    lane = taken(Lane(), gap, 10**15, 1)
    assert room(lane, gap, 10**15 + pause) <= LATE_US // gap + 1
    assert room(lane, gap, 10**15 + gap + PAUSE_US + pause) == 1


@given(GAPS, st.integers(1, 50))
def test_waiters_come_one_after_the_other_and_soon_enough_to_see_a_change(gap, count):
    lane, now = taken(Lane(), gap, 10**15, 3), 10**15
    waits = []
    for _ in range(count):
        lane, wait = waiter(lane, gap, now)
        waits.append(wait)
    assert waits == sorted(waits)
    assert max(waits) <= WAKE_US
    own = [wait for wait in waits if wait < WAKE_US]
    assert len(set(own)) == len(own)


@given(st.integers(0, WAKE_US))
def test_a_waiter_never_comes_before_its_turn(wait_us):
    assert wait_ms(wait_us) * 1000 > wait_us or wait_us == WAKE_US


@given(st.integers(0, 10**9), st.integers(1, 100), GAPS)
def test_a_run_that_is_not_ahead_may_always_go(clock, priority, gap):
    assert share(clock, [clock], priority, ahead_of(gap)) >= AHEAD


def test_a_run_may_be_ahead_by_a_part_of_whatever_bounds_it():
    assert [ahead_of(gap) for gap in (0, 10**6, 1_000)] == [AHEAD, AHEAD, 250]
    assert [ahead_of(1_000, limit) for limit in (1, 50, 800)] == [AHEAD, 6, 100]


@given(st.integers(0, 2 * 10**9), LANES, GAPS)
def test_who_is_first_comes_for_the_very_next_permit(now, lane, gap):
    lane = current(lane, gap, now)
    wait = until_due(lane, now)
    assert 0 <= wait <= WAKE_US
    assert wait == WAKE_US or room(lane, gap, now + wait) > 0


@pytest.mark.parametrize("priority", [1, 10, 100])
def test_a_run_that_is_too_far_ahead_waits_for_the_others(priority):
    cost = SHARE // priority
    assert share(100 * cost, [100 * cost - AHEAD * cost], priority, AHEAD) == 0
    assert share(100 * cost, [100 * cost - cost], priority, AHEAD) == AHEAD - 1


@given(st.integers(1, 100), st.integers(1, 100))
def test_two_runs_that_always_want_more_share_by_priority(one, other):
    clocks, got = {"one": 0, "other": 0}, {"one": 0, "other": 0}
    priorities = {"one": one, "other": other}
    for step in range(2_000):
        order = ("one", "other") if step % 2 else ("other", "one")
        first = next(name for name in order if share(clocks[name], [clocks[_rival(name)]], priorities[name], AHEAD))
        clocks[first] += SHARE // priorities[first]
        got[first] += 1
    assert got["one"] / 2_000 == pytest.approx(one / (one + other), abs=0.03)


def _rival(name):
    return "other" if name == "one" else "one"
