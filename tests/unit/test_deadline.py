"""Whether a run is through by the time that a person named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.deadline import Forecast, Outlook, clock_words, forecast, forecast_object, forecast_words, parse_by
from pipeline.core.errors import SettingsError
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import RunSnapshot, RunState

BERLIN = ZoneInfo("Europe/Berlin")


def berlin(wall):
    return wall.replace(tzinfo=BERLIN)


NOW = berlin(datetime(2026, 11, 22, 22, 0))  # noqa: DTZ001 - the zone is given by berlin
RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000_000,
    total=1_000,
    fed=1_000,
    ready=900,
    ready_due=900,
    submitting=0,
    pending=0,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 1},
)
UNSENT = RUN.total - 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("06:00", "2026-11-23T06:00:00+01:00"),
        ("6:00", "2026-11-23T06:00:00+01:00"),
        ("22:00", "2026-11-23T22:00:00+01:00"),
        ("22:01", "2026-11-22T22:01:00+01:00"),
        ("2026-11-25T06:30", "2026-11-25T06:30:00+01:00"),
        ("2026-11-25 06:30", "2026-11-25T06:30:00+01:00"),
        ("2026-11-25T06:30+00:00", "2026-11-25T06:30:00+00:00"),
        ("8h", "2026-11-23T06:00:00+01:00"),
        ("90m", "2026-11-22T23:30:00+01:00"),
    ],
)
def test_a_time_is_the_next_one_here_and_a_day_or_a_span_are_taken_as_they_are(text, wanted):
    assert parse_by(text, NOW, berlin).isoformat() == wanted


def test_a_night_in_which_clocks_are_put_back_is_an_hour_longer():
    evening = berlin(datetime(2026, 10, 24, 22, 0))  # noqa: DTZ001 - the zone is given by berlin
    assert (parse_by("06:00", evening, berlin).astimezone(UTC) - evening.astimezone(UTC)) == timedelta(hours=9)


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "06:61", "6", "2026-11-25", "2026-11-22T21:59", "0h", "-8h", "99999999h"]
)
def test_what_names_no_time_to_come_is_refused_by_the_options_name(text):
    with pytest.raises(SettingsError, match="--by"):
        parse_by(text, NOW, berlin)


def test_a_day_that_this_place_has_no_time_for_is_refused():
    def nowhere(_):
        raise OverflowError("date value out of range")

    with pytest.raises(SettingsError, match="--by"):
        parse_by("0001-01-01T00:00", NOW, nowhere)


def test_rows_that_are_sent_less_than_a_latency_before_are_late():
    by = NOW + timedelta(minutes=10)
    assert forecast(540, 60, NOW, by, 60.0) == Forecast(by, NOW + timedelta(minutes=10), 0)
    assert forecast(541, 60, NOW, by, 60.0).late_rows == 1
    assert forecast(600, 60, NOW, by, 1_200.0).late_rows == 600


def test_a_run_that_does_not_move_finishes_never_and_one_without_rows_when_its_answers_come():
    by = NOW + timedelta(minutes=10)
    assert forecast(5, 0.0, NOW, by, 8.0) == Forecast(by, None, 5)
    assert forecast(0, 0.0, NOW, by, 8.0) == Forecast(by, NOW + timedelta(seconds=8), 0)


@given(st.integers(0, 10**9), st.floats(0, 1e6, allow_nan=False), st.floats(1, 1e6), st.floats(0, 1e5, allow_nan=False))
def test_no_more_rows_are_late_than_there_are(rows, a_minute, seconds, latency):
    told = forecast(rows, a_minute, NOW, NOW + timedelta(seconds=seconds), latency)
    assert 0 <= told.late_rows <= rows
    assert forecast_words(told, NOW)


@pytest.mark.parametrize(
    ("rows", "a_minute", "words"),
    [
        (600, 10, "by 06:00: at this rate every row is done, the last one about 23:00"),
        (6_000, 10, "by 06:00: about 1,200 rows won't be done; at this rate the last one is about 08:00"),
        (60_000, 10, "by 06:00: about 55,200 rows won't be done; at this rate the last one is about 2026-11-27 02:00"),
        (5, 0, "by 06:00: 5 rows won't be done, since nothing is accepted"),
    ],
)
def test_a_forecast_is_one_sentence(rows, a_minute, words):
    assert forecast_words(forecast(rows, a_minute, NOW, parse_by("06:00", NOW, berlin), 0.0), NOW) == words


def looks(outlook, count, *, a_second, every_s=5, pending=0, start=0):
    """What is told at each of so many looks at a run whose rows are accepted at this rate."""
    told = []
    for number in range(start, start + count):
        run = replace(
            RUN,
            now_ms=1_000_000 + number * every_s * 1000,
            accepted=round(number * every_s * a_second),
            pending=pending,
        )
        told.append(outlook.news(run, NOW + timedelta(seconds=number * every_s)))
    return told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(45, "22:00:45"), (120, "22:02"), (599, "22:09:59"), (601, "22:10"), (90_000, "2026-11-23 23:00")],
)
def test_a_time_is_told_to_the_second_where_it_is_near(seconds, told):
    assert clock_words(NOW + timedelta(seconds=seconds), NOW) == told


def test_a_run_under_way_tells_its_forecast_once_when_its_rate_is_known():
    told = looks(Outlook(NOW + timedelta(minutes=30)), 12, a_second=1)
    assert [place for place, line in enumerate(told) if line] == [2]
    assert "every row is done" in told[2]


def test_a_forecast_that_turns_is_told_again_but_not_at_every_turn():
    outlook = Outlook(NOW + timedelta(minutes=30))
    assert any(looks(outlook, 4, a_second=1))
    slower = replace(RUN, now_ms=1_100_000, accepted=20)
    for seconds, told in ((30, False), (90, True), (95, False)):
        news = outlook.news(replace(slower, now_ms=1_000_000 + seconds * 1000), NOW + timedelta(seconds=seconds))
        assert bool(news) is told
        assert news is None or "won't be done" in news


def test_a_forecast_of_many_more_rows_is_told_again_once_a_minute_has_passed():
    outlook = Outlook(NOW + timedelta(minutes=5))
    known = replace(RUN, bound="rate", pace=Pace(rate=1.0, why="given"))
    told = []
    for seconds, rate in ((0, 1.0), (30, 0.1), (61, 0.1), (130, 0.1)):
        pace = replace(known.pace, rate=rate)
        run = replace(known, pace=pace, now_ms=1_000_000 + seconds * 1000)
        told.append(outlook.news(run, NOW + timedelta(seconds=seconds)))
    assert [bool(one) for one in told] == [True, False, True, False]


def test_a_rate_that_holds_tells_the_forecast_before_a_row_was_sent_and_one_that_is_being_found_does_not():
    outlook = Outlook(NOW + timedelta(minutes=10))
    run = replace(RUN, accepted=0, outcomes={}, bound="rate", pace=Pace(rate=1.0, why="given"))
    assert outlook.look(replace(run, pace=Pace(rate=9.0, why="searching")), NOW) is None
    forecast = outlook.look(run, NOW)
    assert (forecast.late_rows, forecast.finishes_at) == (RUN.total - 600, NOW + timedelta(seconds=RUN.total))


def test_first_rows_that_go_alone_do_not_pass_for_the_rate():
    outlook = Outlook(NOW + timedelta(minutes=10))
    for seconds in (0, 20, 40):
        run = replace(RUN, now_ms=1_000_000 + seconds * 1000, accepted=4, outcomes={}, bound="first rows")
        assert outlook.look(run, NOW) is None


def test_a_run_that_shares_its_account_has_its_own_part_of_the_rate():
    outlook = Outlook(NOW + timedelta(minutes=10))
    for ms in (0, 30_000):
        run = replace(
            RUN,
            now_ms=1_000_000 + ms,
            accepted=ms // 2000,
            account_answered=ms // 1000,
            bound="rate",
            pace=Pace(rate=1.0, why="found"),
        )
        forecast = outlook.look(run, NOW)
    assert forecast.finishes_at == NOW + timedelta(seconds=2 * UNSENT)


def test_when_the_time_is_over_it_is_told_once_how_many_rows_are_not_done():
    outlook = Outlook(NOW + timedelta(minutes=1))
    late = NOW + timedelta(minutes=1)
    assert (
        outlook.news(replace(RUN, state=RunState.PAUSED), late)
        == f"22:01 is over: {RUN.total - 1:,} rows are not done yet"
    )
    assert outlook.news(RUN, late) is None
    assert Outlook(NOW).news(replace(RUN, outcomes={Outcome.COMPLETED: RUN.total}), NOW) is None


def test_a_forecast_for_programs_has_times_to_the_minute():
    assert forecast_object(None) is None
    told = forecast(600, 10, NOW, NOW + timedelta(minutes=10), 0.0)
    assert forecast_object(told) == {
        "by": "2026-11-22T22:10+01:00",
        "late_rows": 500,
        "finishes_at": "2026-11-22T23:00+01:00",
    }


def test_what_is_in_flight_tells_the_latency():
    outlook = Outlook(NOW + timedelta(minutes=20))
    told = [
        outlook.look(replace(RUN, now_ms=1_000_000 + ms, accepted=ms // 1000, pending=100), NOW) for ms in (0, 20_000)
    ]
    assert told[0] is None
    assert told[1] is not None
    assert told[1].finishes_at == NOW + timedelta(seconds=UNSENT - 100 + 100)


def test_nothing_is_told_of_a_run_that_stands_or_has_sent_all():
    outlook = Outlook(NOW + timedelta(minutes=1))
    for ms in (0, 20_000, 40_000):
        run = replace(RUN, now_ms=1_000_000 + ms)
        assert outlook.news(replace(run, state=RunState.PAUSED), NOW) is None
        assert outlook.news(replace(run, total=0), NOW) is None


def test_a_ledger_that_was_made_anew_begins_a_new_measure():
    outlook = Outlook(NOW + timedelta(minutes=30))
    outlook.look(replace(RUN, accepted=500), NOW)
    assert outlook.look(replace(RUN, now_ms=1_020_000, accepted=0), NOW) is None
    later = outlook.look(replace(RUN, now_ms=1_040_000, accepted=20), NOW)
    assert later is not None
    assert later.late_rows == 0
