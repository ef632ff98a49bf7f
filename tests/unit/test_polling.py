"""Polling schedules, as people write them."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.polling import DEFAULT, parse_duration, parse_schedule


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
        "adaptive:5s",
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
    assert [schedule.delay(polls) for polls in (0, 1, 2, 3, 10_000)] == [2.0, 5.0, 10.0, 10.0, 10.0]


def test_without_a_word_it_polls_as_the_vendors_client_does():
    assert {DEFAULT.delay(polls) for polls in range(100)} == {5.0}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), ("500ms", 0.5)]
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration("--wait", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "h", "1mh", "1sh", "soon", "inf", "1e3"])
def test_a_duration_that_is_none_is_refused_with_its_option(text):
    with pytest.raises(SettingsError, match=r"--wait: .* such as 90s, 10m or 1h"):
        parse_duration("--wait", text)
