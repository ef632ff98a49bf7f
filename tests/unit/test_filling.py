"""`{date}` and the like, on the clock of the schedule's zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.cli.schedule_text import CRON_DATES
from pipeline.core.filling import FILLED, NAMES, doubtful, filled, filled_argument, is_filled
from pipeline.core.schedules import Schedule
from pipeline.edges.clock import local_zone

AT = datetime(2026, 11, 28, 2, 5, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("s3://films/today-{date}.csv", "s3://films/today-2026-11-28.csv"),
        ("{yesterday}..{tomorrow}", "2026-11-27..2026-11-29"),
        ("{year}/{month}/{day}", "2026/11/28"),
        ("{hour}:{minute} {time}", "02:05 0205"),
        ("{weekday} of {week}", "6 of 2026-W48"),
        ("out/{schedule}", "out/nightly"),
        ("{date}{date}", "2026-11-282026-11-28"),
    ],
)
def test_every_name_stands_for_its_part_of_the_planned_time(argument, expected):
    assert filled_argument(argument, AT, "nightly") == expected


@pytest.mark.parametrize(
    "argument",
    [
        "What happens in {{ title }}?",
        "{{date}} is a column here",
        "{{ date }}",
        '{"type": "object", "properties": {"date": {}}}',
        "{Date} {dates} {} { date } {0}",
        "{{{date}}}",
        "no braces",
    ],
)
def test_everything_else_stays_as_it_is(argument):
    assert filled_argument(argument, AT, "nightly") == argument
    assert not is_filled(argument)


def test_a_prompt_may_have_both_kinds_of_braces():
    prompt = "On {date}: what happens in {{ title }}?"
    assert filled_argument(prompt, AT, "nightly") == "On 2026-11-28: what happens in {{ title }}?"


def test_the_planned_time_is_told_in_the_schedules_zone():
    late = int(datetime(2026, 11, 28, 23, 30, tzinfo=UTC).timestamp() * 1000)
    there = Schedule("nightly", "30 0 * * *", "Europe/Berlin", ("{date}", "{time}"), "/srv")
    here = Schedule("nightly", "30 23 * * *", "UTC", ("{date}", "{time}"), "/srv")
    assert filled(there, late) == ("2026-11-29", "0030")
    assert filled(here, late) == ("2026-11-28", "2330")


def test_yesterday_is_a_date_and_not_24_hours_ago():
    after_the_gap = datetime(2026, 3, 30, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert filled_argument("{yesterday}", after_the_gap, "nightly") == "2026-03-29"


def test_the_last_days_of_a_year_may_be_of_the_next_ones_first_week():
    assert filled_argument("{year} {week}", datetime(2024, 12, 31, tzinfo=UTC), "nightly") == "2024 2025-W01"


def test_what_looks_like_a_name_is_doubted_with_the_nearest_one():
    found = dict(doubtful(["today-{dat}.csv", "{Yesterday}", "{date:%Y%m%d}", "out/{customer}"]))
    assert found == {"{dat}": "date", "{Yesterday}": "yesterday", "{date:%Y%m%d}": "date", "{customer}": ""}


def test_braces_of_a_prompt_are_doubted_only_where_they_are_close_to_a_name():
    assert dict(doubtful(["Answer as {answer} for {dat}, {{ colour }}"])) == {"{dat}": "date"}


def test_names_that_are_filled_are_no_doubt():
    assert not list(doubtful([f"{{{name}}}" for name in NAMES]))


def test_what_a_crontab_writes_is_known_for_every_name():
    assert CRON_DATES.keys() == FILLED.keys()


def test_a_machines_zone_is_told_by_its_variable_or_its_clock_and_else_by_nobody(tmp_path):
    zone = tmp_path / "zoneinfo" / "Europe" / "Berlin"
    zone.parent.mkdir(parents=True)
    zone.touch()
    (tmp_path / "localtime").symlink_to(zone)
    assert local_zone({}, tmp_path / "localtime") == "Europe/Berlin"
    assert local_zone({"TZ": ":Asia/Tokyo"}, tmp_path / "localtime") == "Asia/Tokyo"
    assert local_zone({"TZ": "CET-1CEST"}, tmp_path / "localtime") is None
    assert local_zone({}, tmp_path / "none") is None
