"""What a schedule's URL is told, and when it is told again."""

from dataclasses import replace

import orjson
import pytest

from pipeline.core.notices import (
    CLAIM_MS,
    GRACE_MS,
    RETRY_MS,
    claimed,
    due_notices,
    exit_meaning,
    is_claimed,
    is_waiting,
    message_id,
    notice_state,
    over,
    payload,
    sums,
    told,
)
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule

NOW = 1_795_827_600_000
"""2026-11-28 01:00 UTC."""

SCHEDULE = Schedule("nightly", "0 2 * * *", "Europe/Berlin", ("m.csv",), "/srv", notify="https://ops.example/x")
ENDED = Firing(
    "0001",
    NOW,
    Cause.CRON,
    FiringState.ENDED,
    NOW + 60_000,
    run_id="r1",
    out="out",
    exit_code=1,
    said="done: 9 of 10 rows completed",
    summary={"rows": {"manifest": 10, "completed": 9, "failed": 1}, "usage": {"total_tokens": 70, "cost": 0.5}},
    notices=(Notice("ended", due_ms=NOW),),
)


def book_of(*firings: Firing) -> Book:
    return Book(SCHEDULE, NOW + 86_400_000, firings)


def the_due(book: Book, now_ms: int = NOW):
    (due,) = due_notices(book, now_ms)
    return due


def failed(book: Book, now_ms: int) -> Book:
    due = the_due(book, now_ms)
    after = told(claimed(book, due, now_ms), due, now_ms, "it answered 500")
    assert after is not None
    return after


def test_a_notice_waits_until_its_time_has_come():
    book = book_of(ENDED)
    assert not list(due_notices(book, NOW - 1))
    assert the_due(book).notice.event == "ended"


def test_a_worker_without_a_secret_lets_others_go_first():
    book = book_of(ENDED)
    assert not list(due_notices(book, NOW + GRACE_MS - 1, able=False))
    assert list(due_notices(book, NOW + GRACE_MS, able=False))


def test_a_clock_that_was_put_back_keeps_no_notice_waiting():
    book = book_of(replace(ENDED, notices=(Notice("ended", tries=3, due_ms=NOW),)))
    assert not list(due_notices(book, NOW - RETRY_MS[-1]))
    assert list(due_notices(book, NOW - 2 * RETRY_MS[-1]))


def test_while_one_sends_no_other_does():
    book = book_of(ENDED)
    mine = claimed(book, the_due(book), NOW)
    assert is_claimed(mine, the_due(book))
    assert not list(due_notices(mine, NOW + CLAIM_MS - 1))


def test_what_a_dead_sender_had_in_hand_is_sent_by_another():
    mine = claimed(book_of(ENDED), the_due(book_of(ENDED)), NOW)
    again = the_due(mine, NOW + CLAIM_MS)
    assert again.notice.tries == 1
    assert "did not come back" in again.notice.trouble


def test_failed_tries_are_made_again_ever_later_and_then_given_up():
    book, now, waits = book_of(ENDED), NOW, []
    for _ in RETRY_MS:
        book = failed(book, now)
        waits.append(book.firings[0].notices[0].due_ms - now)
        now = book.firings[0].notices[0].due_ms
    assert waits == list(RETRY_MS)
    given_up = failed(book, now).firings[0].notices[0]
    assert not is_waiting(given_up)
    assert notice_state(given_up) == "given up"
    assert given_up.trouble == "it answered 500"


def test_the_last_try_of_a_sender_that_died_ends_it_too():
    notice = Notice("ended", tries=len(RETRY_MS) + 1, due_ms=NOW)
    book = book_of(replace(ENDED, notices=(notice,)))
    due = the_due(book)
    after = claimed(book, due, NOW)
    assert not is_claimed(after, due)
    assert notice_state(after.firings[0].notices[0]) == "given up"


def test_a_notice_that_arrived_is_over():
    book = book_of(ENDED)
    due = the_due(book)
    after = told(claimed(book, due, NOW), due, NOW + 5, "")
    assert after is not None
    assert notice_state(after.firings[0].notices[0]) == "delivered"
    assert not list(due_notices(after, NOW * 2))


def test_what_a_late_sender_has_to_say_changes_nothing():
    book = book_of(ENDED)
    first = the_due(book)
    second_try = claimed(claimed(book, first, NOW), the_due(claimed(book, first, NOW), NOW + CLAIM_MS), NOW + CLAIM_MS)
    assert told(second_try, first, NOW + CLAIM_MS, "") is None
    assert told(book_of(), first, NOW, "") is None


def test_a_firing_leaves_its_book_when_nobody_is_to_be_told_of_it_any_more():
    running = replace(ENDED, firing_id="0002", state=FiringState.RUNNING, notices=())
    waiting, ended = over(book_of(ENDED, running))
    assert waiting.firings == (ENDED, running)
    assert ended == [ENDED]
    done = replace(ENDED, notices=(Notice("ended", tries=1, delivered_ms=NOW),))
    left, ended = over(book_of(done, running))
    assert left.firings == (running,)
    assert ended == [done]


def test_an_open_firing_stays_though_its_notice_arrived():
    paused = replace(ENDED, state=FiringState.RUNNING, exit_code=3, notices=(Notice("paused", 1, 0, NOW),))
    assert over(book_of(paused)) == (book_of(paused), [])


def test_the_message_tells_how_it_ended_and_no_more():
    book = book_of(ENDED)
    assert orjson.loads(payload(book, the_due(book))) == {
        "schema_version": 1,
        "event": "ended",
        "schedule": "nightly",
        "firing": "0001",
        "planned_at": "2026-11-28T02:00:00+01:00",
        "time_zone": "Europe/Berlin",
        "cause": "cron",
        "state": "ended",
        "good": False,
        "exit_code": 1,
        "exit_meaning": "done, but some rows did not complete or were rejected",
        "run_id": "r1",
        "out": "out",
        "said": "done: 9 of 10 rows completed",
        "summary": {"rows": {"manifest": 10, "completed": 9, "failed": 1}, "total_tokens": 70, "cost": 0.5},
    }


@pytest.mark.parametrize(
    ("state", "code", "good"),
    [
        (FiringState.ENDED, 0, True),
        (FiringState.ENDED, 5, False),
        (FiringState.RUNNING, 3, None),
        (FiringState.SKIPPED, None, False),
        (FiringState.MISSED, None, False),
    ],
)
def test_good_is_a_run_whose_every_row_completed(state, code, good):
    book = book_of(replace(ENDED, state=state, exit_code=code))
    assert orjson.loads(payload(book, the_due(book)))["good"] is good


def test_sums_are_numbers_alone():
    summary = {
        "run_id": "r1",
        "prompt": "never",
        "outcomes": {"completed": 3, "note": "text"},
        "prompt_tokens": 5,
        "cost": None,
        "rejections": 1,
        "answers": ["a dog barks"],
    }
    assert sums(summary) == {"rows": {"completed": 3}, "prompt_tokens": 5, "rejections": 1}
    assert sums(None) is None


def test_every_message_of_a_firing_has_an_id_of_its_own():
    both = replace(ENDED, notices=(Notice("paused", due_ms=NOW), Notice("ended", due_ms=NOW)))
    ids = [message_id("nightly", due) for due in due_notices(book_of(both), NOW)]
    assert ids == ["nightly-0001-0", "nightly-0001-1"]


def test_an_exit_code_that_nobody_knows_is_told_as_it_is():
    assert exit_meaning(None) == ""
    assert exit_meaning(137) == "ended with 137, which vidbatch does not use"
