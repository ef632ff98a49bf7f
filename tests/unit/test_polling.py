"""Polling schedules, as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import SettingsError
from pipeline.core.polling import (
    ADAPTIVE_FLOOR_S,
    CEILING_S,
    DEFAULT,
    TOGETHER_MS,
    VENDOR_INTERVAL_S,
    parse_duration,
    parse_schedule,
    together,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("fixed:5s", (5.0,)),
        ("fixed:5", (5.0,)),
        ("fixed:0.5m", (30.0,)),
        ("fixed:50ms", (0.05,)),
        ("fixed: 5s ", (5.0,)),
        ("steps:2s", (2.0,)),
        ("steps:2s,5s,10s,30s", (2.0, 5.0, 10.0, 30.0)),
        ("steps: 500ms, 1.5, 1m", (0.5, 1.5, 60.0)),
    ],
)
def test_a_schedule_is_read(text, steps):
    assert parse_schedule(text).steps == pytest.approx(steps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5s",
        "fixed",
        "fixed:",
        "fixed:5s,6s",
        "fixed:5h",
        "fixed:-5s",
        "fixed:.5s",
        "fixed:1e3s",
        "fixed:inf",
        "steps",
        "steps:",
        "steps:2s,",
        "steps:2s,,5s",
        "steps:2s;5s",
        "adaptive:",
        "adaptive:5s",
        "adaptive:5s,2s",
        "adaptive:1s,2s,3s",
        "adaptive:0s,60s",
        "Fixed:5s",
        "fixed:0s",
        "fixed:49ms",
        "steps:5s,0",
    ],
)
def test_what_is_no_schedule_is_refused_with_the_option_in_the_message(text):
    with pytest.raises(SettingsError, match=r"^--poll: "):
        parse_schedule(text)


def test_the_message_names_the_part_that_is_wrong():
    with pytest.raises(SettingsError, match=r"found '5h' in 'steps:2s,5h'"):
        parse_schedule("steps:2s,5h")


def test_the_last_delay_repeats_for_ever():
    schedule = parse_schedule("steps:2s,5s,10s")
    assert [schedule.delay(polls, 9.0, "m", 0.5) for polls in (0, 1, 2, 3, 10_000)] == [2.0, 5.0, 10.0, 10.0, 10.0]


def test_an_adaptive_schedule_polls_as_the_vendors_client_does_while_it_knows_nothing():
    assert {parse_schedule("adaptive").delay(polls, 0.0, "m", 0.5) for polls in range(100)} == {VENDOR_INTERVAL_S}
    assert DEFAULT.delay(0, 0.0, "m", 0.5) == VENDOR_INTERVAL_S


def test_an_adaptive_schedule_asks_by_the_timetable_of_the_rows_model_within_its_floor_and_ceiling():
    class Table:
        def __init__(self, seconds):
            self.seconds = seconds

        def delay(self, age_s, chance):
            return self.seconds + age_s + chance

    schedule = parse_schedule("adaptive:2s,30s")
    schedule.timetables = {"quick": Table(0.0), "usual": Table(8.0), "slow": Table(90.0)}
    delays = [schedule.delay(3, 1.0, model, 0.5) for model in ("quick", "usual", "slow", "unknown")]
    assert delays == [2.0, 9.5, 30.0, VENDOR_INTERVAL_S]


def test_an_adaptive_schedule_has_a_floor_and_a_ceiling_of_its_own_unless_it_is_told():
    schedule = parse_schedule("adaptive")
    assert (schedule.floor_s, schedule.ceiling_s) == (ADAPTIVE_FLOOR_S, CEILING_S)


@given(st.integers(10**12, 2 * 10**12))
def test_polls_of_many_generations_are_due_together_never_early_and_hardly_late(due_ms):
    assert together(due_ms) % TOGETHER_MS == 0
    assert 0 <= together(due_ms) - due_ms < TOGETHER_MS


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), ("500ms", 0.5)]
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration("--wait", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "h", "1mh", "1sh", "soon", "inf", "1e3"])
def test_a_duration_that_is_none_is_refused_with_its_option(text):
    with pytest.raises(SettingsError, match=r"--wait: .* such as 90s, 10m or 1h"):
        parse_duration("--wait", text)
