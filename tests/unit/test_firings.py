"""When a schedule fires, and what becomes of times that overlap, were missed, or fall into a pause."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.core.firings import (
    FAR_MS,
    MOST_MISSED,
    MOST_QUEUED,
    MOST_UNTOLD,
    ON_TIME_MS,
    added,
    by_hand,
    fired,
    moved,
    paused,
    replaced,
    resumed,
)
from pipeline.core.notices import is_waiting, over
from pipeline.core.schedules import Cause, FiringState, Missed, Overlap, Schedule

DAY, HOUR = 86_400_000, 3_600_000
NIGHTLY = Schedule("nightly", "0 2 * * *", "UTC", ("day.csv",), "/jobs", notify="https://hook.example")


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = ms("2026-01-01 12:00")
FIRST = ms("2026-01-02 02:00")


def told(book):
    return [(one.at_ms, one.cause, one.state) for one in book.firings]


def stand(book, state, place=0):
    """The book with one firing in this state."""
    firings = list(book.firings)
    firings[place] = replace(firings[place], state=state, run_id="run-1" if state is FiringState.RUNNING else "")
    return replace(book, firings=tuple(firings))


def at_work(schedule=NIGHTLY):
    """A book whose first firing's run is with the fleet."""
    return stand(fired(added(schedule, NOON), FIRST), FiringState.RUNNING)


def test_a_time_fires_once_when_it_has_come():
    book = added(NIGHTLY, NOON)
    assert book.next_ms == FIRST
    assert fired(book, FIRST - 1) is book
    after = fired(book, FIRST)
    assert told(after) == [(FIRST, Cause.CRON, FiringState.DUE)]
    assert after.next_ms == FIRST + DAY
    assert after.revision > book.revision
    assert fired(after, FIRST + HOUR) is after


def test_a_time_that_is_a_minute_ago_is_on_time_and_a_second_more_is_missed():
    assert fired(added(NIGHTLY, NOON), FIRST + ON_TIME_MS).firings[0].cause is Cause.CRON
    assert fired(added(NIGHTLY, NOON), FIRST + ON_TIME_MS + 1000).firings[0].cause is Cause.CAUGHT_UP


def test_of_missed_times_the_latest_is_caught_up():
    book = fired(added(NIGHTLY, NOON), FIRST + 2 * DAY + HOUR)
    assert told(book) == [
        (FIRST, Cause.CRON, FiringState.MISSED),
        (FIRST + DAY, Cause.CRON, FiringState.MISSED),
        (FIRST + 2 * DAY, Cause.CAUGHT_UP, FiringState.DUE),
    ]
    assert [len(one.notices) for one in book.firings] == [0, 1, 0], "one message tells of all that were missed"
    assert "1 before it" in book.firings[1].said


def test_none_is_caught_up_where_that_is_so_wanted():
    book = fired(added(replace(NIGHTLY, missed=Missed.SKIP), NOON), FIRST + DAY + HOUR)
    assert [one.state for one in book.firings] == [FiringState.MISSED] * 2


def test_none_is_caught_up_where_one_comes_just_now():
    book = fired(added(NIGHTLY, NOON), FIRST + DAY)
    assert told(book) == [(FIRST, Cause.CRON, FiringState.MISSED), (FIRST + DAY, Cause.CRON, FiringState.DUE)]


def test_many_missed_times_are_told_by_the_last_of_them_and_one_line():
    minutely = replace(NIGHTLY, cron="* * * * *")
    book = fired(added(minutely, NOON), NOON + 30 * DAY + 30_000)
    assert [one.state for one in book.firings] == [FiringState.MISSED] * MOST_MISSED + [FiringState.DUE]
    assert [place for place, one in enumerate(book.firings) if one.notices] == [MOST_MISSED - 1]
    assert book.firings[0].said.startswith(
        "no worker lived at that time, or Redis was away, nor at those before it, from 2026-01-01 12:01"
    )
    assert book.next_ms == NOON + 30 * DAY + 60_000


def test_a_time_that_comes_while_a_run_is_at_work_is_skipped_and_says_why():
    book = fired(at_work(), FIRST + DAY)
    skipped = book.firings[1]
    assert skipped.state is FiringState.SKIPPED
    assert skipped.said == "that of 2026-01-02 02:00+00:00 was still open, run run-1"
    assert [notice.event for notice in skipped.notices] == ["skipped"]
    assert skipped.exit_code is None


def test_or_it_waits_in_order():
    queueing = replace(NIGHTLY, overlap=Overlap.QUEUE)
    book = at_work(queueing)
    for night in range(1, 3):
        book = fired(book, FIRST + night * DAY)
    assert [one.state for one in book.firings] == [FiringState.RUNNING, FiringState.QUEUED, FiringState.QUEUED]
    book = fired(stand(book, FiringState.ENDED), FIRST + 3 * DAY)
    states = [FiringState.ENDED, FiringState.DUE, FiringState.QUEUED, FiringState.QUEUED]
    assert [one.state for one in book.firings] == states


def test_a_queue_has_an_end():
    book = at_work(replace(NIGHTLY, overlap=Overlap.QUEUE))
    for night in range(1, MOST_QUEUED + 3):
        book = fired(book, FIRST + night * DAY)
    states = [one.state for one in book.firings]
    assert states.count(FiringState.QUEUED) == MOST_QUEUED
    assert states[-2:] == [FiringState.SKIPPED] * 2
    assert book.firings[-1].said == f"{MOST_QUEUED} waited before it already"


def test_times_in_a_pause_are_neither_told_nor_caught_up():
    book = paused(added(NIGHTLY, NOON), NOON)
    book = fired(book, FIRST + 3 * DAY)
    assert (book.firings, book.next_ms) == ((), FIRST + 4 * DAY)
    book = resumed(book, FIRST + 5 * DAY + HOUR)  # no heartbeat has looked since
    assert (fired(book, FIRST + 5 * DAY + HOUR).firings, book.next_ms) == ((), FIRST + 6 * DAY)
    assert fired(book, FIRST + 6 * DAY).firings[0].state is FiringState.DUE


def test_a_pause_leaves_alone_what_has_begun_and_leaves_out_what_has_not():
    waiting = paused(fired(added(NIGHTLY, NOON), FIRST), FIRST + 1)
    assert waiting.firings[0].state is FiringState.SKIPPED
    assert "paused before it began" in waiting.firings[0].said
    assert paused(at_work(), FIRST + 1).firings[0].state is FiringState.RUNNING
    by_person = paused(by_hand(added(NIGHTLY, NOON), NOON), NOON)
    assert by_person.firings[0].state is FiringState.DUE
    before = paused(added(NIGHTLY, NOON), FIRST + DAY + HOUR)
    assert [one.state for one in before.firings] == [FiringState.MISSED, FiringState.SKIPPED], (
        "what came before it is told"
    )


def test_a_person_may_fire_it_even_while_it_is_paused_but_not_beside_another():
    book = by_hand(paused(added(NIGHTLY, NOON), NOON), NOON + 7)
    assert told(book) == [(NOON + 7, Cause.BY_HAND, FiringState.DUE)]
    assert book.next_ms == FIRST
    twice = by_hand(book, NOON + 7)
    assert twice.firings[1].state is FiringState.SKIPPED
    assert twice.firings[0].firing_id != twice.firings[1].firing_id
    assert by_hand(at_work(replace(NIGHTLY, overlap=Overlap.QUEUE)), FIRST + 1).firings[1].state is FiringState.QUEUED


def test_ids_sort_by_time():
    ids = [fired(added(NIGHTLY, NOON), FIRST).firings[0].firing_id]
    ids += [by_hand(added(NIGHTLY, NOON), FIRST + late).firings[0].firing_id for late in (1, 999, 1000)]
    ids += [fired(added(NIGHTLY, NOON), FIRST + DAY).firings[1].firing_id]
    assert ids == sorted(set(ids))
    assert ids[0] == "20260102T020000Z"


def test_a_clock_that_was_put_back_fires_nothing_twice_and_silences_nothing():
    book = fired(added(NIGHTLY, NOON), FIRST)
    assert fired(book, FIRST - HOUR) is book, "its time has fired already"
    ahead = replace(added(NIGHTLY, NOON), next_ms=FIRST + 90 * DAY)
    assert fired(ahead, NOON).next_ms == FIRST
    monthly = added(replace(NIGHTLY, cron="0 2 1 * *"), NOON)
    assert monthly.next_ms - NOON > FAR_MS
    assert fired(monthly, NOON) is monthly


def test_another_expression_counts_from_now_on_and_leaves_open_what_is():
    book = replaced(at_work(), replace(NIGHTLY, cron="0 3 * * *"), FIRST + HOUR // 2)
    assert (book.next_ms, book.firings[0].state) == (FIRST + HOUR, FiringState.RUNNING)


def test_a_time_that_comes_again_by_a_clock_that_was_put_back_is_no_second_firing_while_it_is_open():
    book = resumed(at_work(), FIRST - HOUR)
    assert book.next_ms == FIRST
    again = fired(book, FIRST + HOUR)
    assert [one.firing_id for one in again.firings] == [book.firings[0].firing_id]
    assert again.next_ms == FIRST + DAY


def test_a_time_that_nobody_has_looked_at_yet_is_not_lost_with_the_words_that_are_replaced():
    book = replaced(added(NIGHTLY, NOON), replace(NIGHTLY, cron="0 3 * * *"), FIRST + 500)
    assert (book.next_ms, [one.state for one in book.firings]) == (FIRST + HOUR, [FiringState.DUE])


def test_without_a_url_nobody_is_told_any_more():
    book = fired(at_work(), FIRST + DAY)
    assert any(is_waiting(notice) for one in book.firings for notice in one.notices)
    quiet = replaced(book, replace(NIGHTLY, notify=""), FIRST + DAY)
    kept, history = over(quiet)
    assert [one.state for one in kept.firings] == [FiringState.RUNNING]
    assert history[0].notices[0].trouble == "the schedule has no URL any more"


def test_messages_that_do_not_get_through_do_not_pile_up():
    book = at_work()
    for night in range(1, MOST_UNTOLD + 10):
        book, _ = over(fired(book, FIRST + night * DAY))
    assert len(book.firings) == 1 + MOST_UNTOLD


@pytest.mark.parametrize("cron", ["*/7 * * * *", "0,30 2 * * *", "15 */6 * * *"])
def test_however_often_somebody_looks_each_time_is_told_once(cron):
    schedule = replace(NIGHTLY, cron=cron, tz="Europe/Berlin", overlap=Overlap.QUEUE)
    begin = ms("2026-03-28 12:00")
    book, now, found = added(schedule, begin), begin, []
    for step in (1, 30_000, 59_000, 61_000, 3 * HOUR, 1000, 10 * HOUR, 999, 12 * HOUR):
        now += step
        book = fired(book, now)
        found += [one.at_ms for one in book.firings]
        book = replace(book, firings=())
    from pipeline.core.schedule_times import times_between

    assert found == list(times_between(cron, "Europe/Berlin", begin, now))


def test_what_moved_is_told_and_of_many_that_were_missed_the_last():
    book = added(NIGHTLY, NOON)
    late = fired(book, FIRST + 3 * DAY + HOUR)
    assert [(one.at_ms, one.state) for one in moved(book, late)] == [
        (FIRST + 2 * DAY, FiringState.MISSED),
        (FIRST + 3 * DAY, FiringState.DUE),
    ]
    assert moved(late, late) == []
    at_work_now = stand(late, FiringState.RUNNING, 3)
    assert [one.state for one in moved(late, at_work_now)] == [FiringState.RUNNING]
