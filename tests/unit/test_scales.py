"""Plots are read at whole steps, and percentiles are told from counts alone."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.core.scales import bin_of, in_flight, nice_seconds, nice_step, percentile, span_of

AT = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)


def counted(values):
    counts = {}
    for value in values:
        counts[bin_of(value)] = counts.get(bin_of(value), 0) + 1
    return counts


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_of_bins_is_that_of_the_values_within_one_percent(share):
    values = sorted(random.Random(3).lognormvariate(2, 1) for _ in range(5_000))
    exact = values[round(share * len(values)) - 1]
    assert percentile(counted(values), share) == pytest.approx(exact, rel=0.01)


def test_nothing_has_no_percentile():
    assert percentile({}, 0.5) is None


def test_one_value_is_every_percentile_of_itself():
    assert percentile(counted([8.0]), 0.01) == percentile(counted([8.0]), 0.99) == pytest.approx(8.0, rel=0.01)


def test_what_took_no_time_is_counted_too():
    assert percentile(counted([0.0, 0.0]), 0.5) == pytest.approx(0.001, rel=0.02)


@pytest.mark.parametrize(
    ("span", "most", "step"), [(19, 20, 1), (20, 20, 1), (21, 20, 2), (64, 20, 5), (0.3, 20, 0.02)]
)
def test_steps_are_ones_twos_and_fives(span, most, step):
    assert nice_step(span, most) == pytest.approx(step)


@pytest.mark.parametrize(
    ("span", "step"), [(0, 1), (48, 1), (49, 2), (3600, 120), (86_400, 1800), (60 * 86_400, 2 * 86_400)]
)
def test_time_goes_in_steps_that_people_count_in(span, step):
    assert nice_seconds(span, 48) == step


def test_a_span_begins_at_a_whole_step_and_holds_both_ends():
    span = span_of(AT, AT + timedelta(minutes=50), 48)
    assert (span.step_s, span.start) == (120, AT.replace(second=0))
    assert span.start <= AT <= AT + timedelta(minutes=50) < span.at(span.steps)
    assert list(span.labels())[:2] == ["10:00", "10:02"]


def test_a_run_over_days_has_the_day_in_its_labels_and_a_short_one_seconds():
    assert next(iter(span_of(AT, AT + timedelta(days=3), 48).labels())) == "01 Mar 10:00"
    assert next(iter(span_of(AT, AT + timedelta(seconds=20), 48).labels())) == "10:00:07"


def test_in_flight_is_what_began_and_did_not_end():
    assert in_flight({0: 3, 1: 2}, {1: 1, 3: 4}, 4) == [3, 4, 4, 0]
