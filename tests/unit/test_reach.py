"""A process that does not reach the API holds itself back: how long, how many rows try, and what it learns from."""

import pytest

from pipeline.core.answers import (
    UNREACHABLE,
    Accepted,
    Ambiguous,
    NothingSent,
    Problem,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.reach import FEW, LONGEST_WAIT_S, Reach

NO_WAY = Problem(UNREACHABLE, "no route")
SILENCE = Problem("no_answer", "timed out")
LOST = [NothingSent(NO_WAY), Trouble(NO_WAY)]


def failed(times=1, answer=LOST[0], chance=0.0):
    """A process whose tries failed so often, each right when it was allowed; and the time."""
    reach, now = Reach(), 100.0
    for _ in range(times):
        now += reach.wait_s(now)
        reach.take(256, now)
        reach.heard(answer, now, chance)
    return reach, now


def test_who_reaches_the_api_takes_all_that_it_has_places_for():
    reach = Reach()
    assert (reach.wait_s(5.0), reach.take(96, 5.0), reach.wait_s(5.0)) == (0.0, 96, 0.0)


@pytest.mark.parametrize("answer", LOST)
def test_a_connection_that_could_not_be_made_holds_the_process_back_longer_each_time(answer):
    waits = [failed(times, answer) for times in range(1, 8)]
    assert [reach.wait_s(now) for reach, now in waits] == [1, 2, 4, 8, *[LONGEST_WAIT_S] * 3]
    reach, now = failed(1, answer, chance=0.5)
    assert reach.wait_s(now) == 1.25


def test_after_the_wait_a_few_rows_try_and_no_more_until_they_are_heard_of():
    reach, now = failed()
    assert reach.take(96, now + 1) == FEW
    assert reach.wait_s(now + 1) == LONGEST_WAIT_S
    reach.heard(NothingSent(NO_WAY), now + 4, 0.0)
    assert reach.wait_s(now + 4) == 2
    assert reach.take(2, now + 6) == 2


def test_who_found_no_row_to_try_with_looks_again_at_once_and_takes_no_more_than_a_few():
    reach, now = failed()
    reach.take(96, now + 1)
    reach.nothing_came(now + 1.1)
    assert (reach.wait_s(now + 1.1), reach.take(96, now + 1.2)) == (0.0, FEW)
    reach.heard(NothingSent(NO_WAY), now + 1.3, 0.0)
    reach.nothing_came(now + 1.3)
    assert reach.wait_s(now + 1.3) == 2, "a wait that a failure began is no such thing"


def test_rows_that_fail_together_are_one_failure():
    reach, now = failed()
    for _ in range(50):
        reach.heard(NothingSent(NO_WAY), now + 0.5, 0.0)
    assert (reach.failures, reach.wait_s(now + 0.5)) == (1, 0.5)


def test_tries_that_nobody_hears_of_are_followed_by_others():
    reach, now = failed()
    reach.take(96, now + 1)
    later = now + 1 + LONGEST_WAIT_S
    assert (reach.wait_s(later), reach.take(96, later)) == (0.0, FEW)


@pytest.mark.parametrize(
    "answer",
    [
        Accepted("task-1"),
        Running("processing"),
        Throttled(SILENCE),
        Refused(SILENCE),
        Trouble(Problem("server_error", "500", None, 500)),
        Ambiguous(Problem("server_error", "502", None, 502)),
    ],
)
def test_whoever_answers_was_reached(answer):
    reach, now = failed(3)
    reach.heard(answer, now, 0.0)
    assert (reach.wait_s(now), reach.take(96, now)) == (0.0, 96)


@pytest.mark.parametrize(
    "answer", [Ambiguous(SILENCE), Trouble(SILENCE), NothingSent(Problem("video_unreadable", "no file"))]
)
def test_silence_and_files_say_nothing_of_the_way_to_the_api(answer):
    reach, now = failed(2)
    reach.heard(answer, now, 0.0)
    assert (reach.failures, reach.wait_s(now)) == (2, 2)
    fresh = Reach()
    fresh.heard(answer, now, 0.0)
    assert fresh.take(96, now) == 96
