import pytest

from benchmarks.pacing_real.arrivals import (
    Arrival,
    Inside,
    arrivals_of,
    busiest,
    inside_retry_after,
    longest_gap,
    overshoot,
    seconds_until,
    throttled,
    utilisation,
    within,
)


def evenly(a_second, seconds, begin=100.0):
    return [Arrival(begin + number / a_second, 200) for number in range(round(a_second * seconds))]


def test_the_rows_of_the_simulator_are_put_in_the_order_of_time():
    read = arrivals_of([[2.0, 429, 3.0], [1.0, 200, None]])
    assert read == [Arrival(1.0, 200), Arrival(2.0, 429, 3.0)]
    assert throttled(read) == 1


def test_a_window_holds_its_beginning_and_not_its_end():
    assert [one.at for one in within(evenly(10, 2), 100.5, 101.0)] == [100.5, 100.6, 100.7, 100.8, 100.9]


def test_a_limit_that_is_kept_to_exactly_is_used_wholly_and_not_overshot():
    steady = evenly(10, 60)
    assert utilisation(steady, 10, 110, 150) == pytest.approx(1)
    assert busiest(steady, 10) == 100
    assert overshoot(steady, 10, 10) == 0


def test_what_the_limit_refused_uses_nothing_of_it():
    half = [Arrival(100 + number / 10, 429 if number % 2 else 200) for number in range(100)]
    assert utilisation(half, 10, 100, 110) == pytest.approx(0.5)


def test_a_burst_shows_in_the_windows_that_hold_it_wherever_they_begin():
    burst = sorted([*evenly(10, 60), *(Arrival(123.4567, 200) for _ in range(7))], key=lambda one: one.at)
    assert overshoot(burst, 10, 10) == 7
    assert busiest([], 10) == 0


def test_a_request_inside_a_retry_after_counts_unless_it_was_on_the_wire():
    seen = [
        Arrival(10.0, 429, 2.0),
        Arrival(10.05, 429, 2.0),
        Arrival(10.09, 200),
        Arrival(11.5, 200),
        Arrival(12.04, 200),
        Arrival(12.06, 200),
        Arrival(20.0, 429, 0.0),
        Arrival(20.01, 200),
    ]
    assert inside_retry_after(seen) == Inside(sent=2, on_the_wire=2)


def test_without_a_retry_after_nothing_is_inside_one():
    assert inside_retry_after([Arrival(1.0, 429), Arrival(1.1, 200)]) == Inside(0, 0)


def test_a_rate_is_reached_when_a_whole_window_holds_it():
    slow, fast = evenly(2, 10), evenly(10, 20, begin=110.0)
    reached = seconds_until([*slow, *fast], 9.0, 100.0)
    assert 14 < reached < 15
    assert seconds_until([*slow, *fast], 11.0, 100.0) is None
    assert seconds_until(evenly(10, 20), 9.0, 100.0) == 5.0
    assert seconds_until([], 9.0, 100.0) is None


def test_a_refused_request_reaches_no_rate():
    assert seconds_until([Arrival(100 + number / 10, 429) for number in range(200)], 9.0, 100.0) is None


def test_a_limit_is_found_only_when_nothing_in_the_window_was_refused():
    run_into = [Arrival(100 + number / 10, 429 if number % 10 == 9 else 200) for number in range(100)]
    found = [*run_into, *evenly(9, 20, begin=110.0)]
    assert seconds_until(found, 8.5, 100.0) == pytest.approx(5.0, abs=0.3)
    assert 14 < seconds_until(found, 8.5, 100.0, calm=True) < 15
    assert seconds_until(run_into, 8.5, 100.0, calm=True) is None


def test_the_longest_gap_counts_from_the_beginning_to_the_end():
    assert longest_gap([Arrival(101.0, 200), Arrival(104.0, 200)], 100.0, 105.0) == 3.0
    assert longest_gap([], 100.0, 105.0) == 5.0
