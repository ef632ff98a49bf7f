"""When expressions come, on clocks that are put forward and back."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import SettingsError
from pipeline.core.schedule_times import (
    LONGEST,
    check_cron,
    check_zone,
    is_fixed,
    latest_between,
    next_after,
    times_between,
)

BERLIN, NEW_YORK, LORD_HOWE, KOLKATA = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"
MINUTE = 60_000


def ms(text):
    """ms since 1970 of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def told(times):
    return [datetime.fromtimestamp(at / 1000, UTC).strftime("%m-%d %H:%M") for at in times]


def after(cron, tz, begin, count):
    return told(islice(times_between(cron, tz, ms(begin), 2**50), count))


@pytest.mark.parametrize(
    ("tz", "cron", "begin", "times"),
    [
        # clocks go from 2 to 3: what would be between comes at 3
        (BERLIN, "30 2 * * *", "2026-03-28 00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        (BERLIN, "0,30 2 * * *", "2026-03-29 00:00", ["03-29 01:00", "03-30 00:00", "03-30 00:30"]),
        (BERLIN, "0 3 * * *", "2026-03-28 12:00", ["03-29 01:00", "03-30 01:00"]),
        # from 3 to 2: what comes twice fires the first time
        (BERLIN, "30 2 * * *", "2026-10-24 12:00", ["10-25 00:30", "10-26 01:30"]),
        (BERLIN, "30 2 * * *", "2026-10-25 00:40", ["10-26 01:30"]),
        (BERLIN, "30 2 * * *", "2026-10-25 01:10", ["10-26 01:30"]),
        # what is told by a star follows the clock
        (BERLIN, "0 * * * *", "2026-03-28 23:30", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        (BERLIN, "30 * * * *", "2026-10-24 23:45", ["10-25 00:30", "10-25 01:30", "10-25 02:30"]),
        (BERLIN, "*/30 2 * * *", "2026-10-25 00:00", ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-26 01:00"]),
        (BERLIN, "*/30 2 * * *", "2026-03-28 12:00", ["03-30 00:00", "03-30 00:30"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["03-08 07:00", "03-09 06:30"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", ["11-01 05:30", "11-02 06:30"]),
        # half an hour: 2 to 2:30 in October, 2 to 1:30 in April
        (LORD_HOWE, "15 2 * * *", "2026-10-02 16:00", ["10-03 15:30", "10-04 15:15"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-03 16:00", ["04-04 14:45", "04-05 15:15"]),
        (LORD_HOWE, "45 * * * *", "2026-04-04 14:00", ["04-04 14:45", "04-04 15:15", "04-04 16:15"]),
        (LORD_HOWE, "*/10 2 * * *", "2026-04-04 14:00", ["04-04 15:30", "04-04 15:40", "04-04 15:50", "04-04 16:00"]),
        (KOLKATA, "30 2 * * *", "2026-03-28 00:00", ["03-28 21:00", "03-29 21:00"]),
        # midnight itself does not come
        ("America/Santiago", "0 0 * * *", "2026-09-05 12:00", ["09-06 04:00", "09-07 03:00"]),
        ("America/Santiago", "*/30 0 * * *", "2026-09-05 12:00", ["09-07 03:00", "09-07 03:30"]),
        # a day that does not come
        ("Pacific/Apia", "0 12 * * *", "2011-12-29 00:00", ["12-29 22:00", "12-30 10:00", "12-30 22:00"]),
    ],
)
def test_times_follow_the_clock_of_their_zone(tz, cron, begin, times):
    assert after(cron, tz, begin, len(times)) == times


def test_a_time_is_after_and_not_at_the_one_that_is_told():
    assert next_after("0 2 * * *", "UTC", ms("2026-01-01 02:00") - 1) == ms("2026-01-01 02:00")
    assert next_after("0 2 * * *", "UTC", ms("2026-01-01 02:00")) == ms("2026-01-02 02:00")
    assert next_after("* * * * *", "UTC", ms("2026-01-01 02:00")) == ms("2026-01-01 02:01")


def test_names_the_last_day_and_the_second_monday():
    assert after("0 0 L * *", "UTC", "2026-02-01 00:00", 2) == ["02-28 00:00", "03-31 00:00"]
    assert after("0 0 * feb mon#2", "UTC", "2026-01-01 00:00", 1) == ["02-09 00:00"]
    assert after("0 0 29 2 *", "UTC", "2026-01-01 00:00", 1) == ["02-29 00:00"]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 2 * *", "five fields"),
        ("0 2 * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("60 2 * * *", "minute: found '60'; allowed are 0-59"),
        ("0 25 * * *", "hour: found '25'; allowed are 0-23"),
        ("0 2 32 * *", "day of month: found '32'"),
        ("0 2 * JUNE *", "month: found 'JUNE'; allowed are 1-12, JAN-DEC"),
        ("0 2 * * MON#6", "day of week: found 'MON#6'"),
        ("0 2 * * MON#1/2", "day of week: found 'MON#1/2'"),
        ("*/0 2 * * *", "minute: found '*/0'"),
        ("5-1 2 * * *", "minute: found '5-1'"),
        ("0 2 30 2 *", "never comes"),
        ("0 2 31 4,6 *", "never comes"),
        ("0" * LONGEST + " 2 * * *", "five fields"),
    ],
)
def test_an_expression_that_says_nothing_is_refused_with_what_is_allowed(cron, words):
    with pytest.raises(SettingsError) as told_why:
        check_cron(cron)
    assert words in str(told_why.value)
    assert str(told_why.value).startswith("--cron")


@pytest.mark.parametrize(
    "cron", ["0 2 * * *", "*/5 8-18 * * mon-fri", "0 0 31 2 MON", "0 0 * 2 MON#5", "1,2,3 4 5 6 7"]
)
def test_an_expression_that_comes_is_allowed(cron):
    check_cron(cron)


@pytest.mark.parametrize("tz", ["", "Berlin", "America", "../etc/passwd", "/etc/passwd", "Europe/Berlin\n", "\0"])
def test_a_zone_that_nobody_knows_is_refused(tz):
    with pytest.raises(SettingsError, match="--tz"):
        check_zone(tz)
    check_zone("Australia/Lord_Howe")


def test_of_a_year_of_minutes_only_the_last_ones_are_looked_at():
    times, earlier = latest_between("* * * * *", BERLIN, ms("2025-01-01 00:00"), ms("2026-01-01 00:00"), 5)
    assert (told(times), earlier) == ([f"12-31 23:{minute}" for minute in (56, 57, 58, 59)] + ["01-01 00:00"], True)
    times, earlier = latest_between("0 2 * * *", "UTC", ms("2026-01-01 00:00"), ms("2026-01-04 00:00"), 5)
    assert (told(times), earlier) == (["01-01 02:00", "01-02 02:00", "01-03 02:00"], False)
    assert latest_between("0 2 * * *", "UTC", ms("2026-01-01 03:00"), ms("2026-01-01 04:00"), 5) == ([], False)


MINUTES = st.sampled_from(["*", "*/7", "*/30", "0", "15", "5,45", "10-40/10"])
HOURS = st.sampled_from(["*", "*/2", "*/5", "0", "1", "2", "0-3", "1,2,3"])
DAYS = st.sampled_from([("*", "*"), ("*", "SUN"), ("1-15", "*"), ("*/3", "*"), ("1", "MON")])
CHANGES = st.sampled_from(
    [
        (BERLIN, "2026-03-29 01:00"),
        (BERLIN, "2026-10-25 01:00"),
        (NEW_YORK, "2026-03-08 07:00"),
        (NEW_YORK, "2026-11-01 06:00"),
        (LORD_HOWE, "2026-04-04 15:00"),
        (LORD_HOWE, "2026-10-03 15:30"),
        ("America/Santiago", "2026-09-06 04:00"),
        ("Africa/Casablanca", "2026-02-15 02:00"),
        (KOLKATA, "2026-03-29 01:00"),
    ]
)


def by_force(cron, tz, begin, end):
    """Every minute is held against the expression: as the clock on the wall shows it, fixed times by Debian's rule."""
    minute, hour, day, month, weekday = cron.split()
    zone, found, at = ZoneInfo(tz), [], begin + MINUTE
    assert month == "*"

    def fits(field, value, least, most):
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = (f"{least}-{most}" if span == "*" else span).partition("-")
            if value in range(int(first), int(last or first) + 1, int(step or 1)):
                return True
        return False

    def on_day(wall):
        by_date = fits(day, wall.day, 1, 31)
        by_name = weekday == "*" or wall.strftime("%a").upper() == weekday
        return by_date and by_name if day.startswith("*") or weekday.startswith("*") else by_date or by_name

    def comes(wall):
        return fits(minute, wall.minute, 0, 59) and fits(hour, wall.hour, 0, 23) and on_day(wall)

    while at <= end:
        now = datetime.fromtimestamp(at / 1000, zone)
        if not is_fixed(cron):
            came = comes(now)
        else:
            before = datetime.fromtimestamp((at - MINUTE) / 1000, zone).replace(tzinfo=None)
            passed = now.replace(tzinfo=None) - before
            walls = [before + timedelta(minutes=n) for n in range(1, round(passed.total_seconds() / 60) + 1)]
            came = now.fold == 0 and any(map(comes, walls))
        if came:
            found.append(at)
        at += MINUTE
    return found


@settings(max_examples=15, deadline=None)
@given(minute=MINUTES, hour=HOURS, days=DAYS, change=CHANGES, before=st.integers(1, 30))
def test_around_a_change_of_the_clock_times_are_those_of_every_minute_looked_at(minute, hour, days, change, before):
    tz, at = change
    cron = f"{minute} {hour} {days[0]} * {days[1]}"
    begin = ms(at) - before * 60 * MINUTE
    end = begin + 32 * 60 * MINUTE
    assert list(times_between(cron, tz, begin, end)) == by_force(cron, tz, begin, end)
