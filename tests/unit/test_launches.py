"""A firing's way from its command to its end, whoever dies on it."""

from dataclasses import replace

import pytest

from pipeline.core.firings import added, fired
from pipeline.core.holds import Held, Hold, hold_of
from pipeline.core.launches import (
    AGAIN_MS,
    LEASE_MS,
    MOST_LAUNCHES,
    claimable,
    claimed,
    ended,
    failed,
    handed_over,
    held,
    lost,
    released,
    renewed,
    running,
    seen,
)
from pipeline.core.schedules import FiringState, Overlap, Schedule
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RunSnapshot, RunState

NIGHTLY = Schedule("nightly", "0 2 * * *", "UTC", ("day.csv",), "/jobs", notify="https://hook.example")
NOW = 1_800_000_000_000
ID = "20270116T020000Z"
DAY = 86_400_000


@pytest.fixture
def book():
    """A book whose command is to be given."""
    before = added(NIGHTLY, NOW)
    found = fired(before, before.next_ms)
    assert found.firings[0].firing_id == ID
    return found


def now(book):
    return book.firings[0].at_ms


def claim(book, holder="w1", at=None):
    return claimed(book, ID, holder, now(book) if at is None else at)


def with_fleet(book):
    return handed_over(claim(book), ID, "w1", "run-1", "/out", now(book))


def test_one_worker_gives_the_command_until_it_is_silent(book):
    mine = claim(book)
    assert held(mine, ID, "w1").tries == 1
    assert claim(mine, "w2") is None
    assert claim(mine, "w2", now(book) + LEASE_MS - 1) is None
    later = renewed(mine, ID, "w1", now(book) + LEASE_MS - 1)
    assert claim(later, "w2", now(book) + LEASE_MS) is None
    theirs = claim(later, "w2", now(book) + 2 * LEASE_MS)
    assert held(theirs, ID, "w2").tries == 2


def test_whoever_was_taken_for_dead_changes_nothing(book):
    theirs = claim(claim(book), "w2", now(book) + LEASE_MS)
    assert renewed(theirs, ID, "w1", now(book)) is None
    assert released(theirs, ID, "w1", now(book)) is None
    assert handed_over(theirs, ID, "w1", "run-1", "/out", now(book)) is None
    assert failed(theirs, ID, "w1", "no", now(book)) is None
    assert ended(theirs, ID, 2, "no", now(book), holder="w1") is None


def test_a_lease_of_a_clock_that_was_put_back_holds_nobody_up(book):
    assert claimable(claim(book), now(book) - 3_600_000) is not None
    waiting = failed(claim(book), ID, "w1", "no", now(book))
    assert claimable(waiting, now(book) - 3_600_000) is not None


def test_a_worker_that_leaves_gives_the_command_back_and_it_does_not_count(book):
    given_back = released(claim(book), ID, "w1", now(book))
    assert held(claim(given_back, "w2"), ID, "w2").tries == 1


def test_a_command_that_the_system_failed_is_given_again_a_minute_later_five_times(book):
    at = now(book)
    for _ in range(MOST_LAUNCHES - 1):
        book = failed(claimed(book, ID, "w1", at), ID, "w1", "no Redis", at)
        assert book.firings[0].state is FiringState.DUE
        assert claimable(book, at + AGAIN_MS - 1) is None
        at += AGAIN_MS
    book = failed(claimed(book, ID, "w1", at), ID, "w1", "no Redis", at)
    over = book.firings[0]
    assert (over.state, over.exit_code, over.said, over.tries) == (FiringState.ENDED, 5, "no Redis", 6)
    assert [notice.event for notice in over.notices] == ["ended"]


def test_a_command_that_kills_its_workers_is_given_up(book):
    at = now(book)
    for _ in range(MOST_LAUNCHES):
        book = claimed(book, ID, "w1", at)
        at += LEASE_MS
    over = claimed(book, ID, "w2", at).firings[0]
    assert (over.state, over.exit_code) == (FiringState.ENDED, 5)
    assert "given 6 times" in over.said


def test_a_command_that_ends_by_itself_ends_the_firing(book):
    over = ended(claim(book), ID, 2, "no such file", now(book), holder="w1").firings[0]
    assert (over.state, over.exit_code, over.said, over.holder, over.lease_ms) == (
        FiringState.ENDED,
        2,
        "no such file",
        "",
        0,
    )


def test_a_run_ends_with_its_sums_and_the_next_one_is_due(book):
    waiting = fired(replace(with_fleet(book), schedule=replace(NIGHTLY, overlap=Overlap.QUEUE)), now(book) + DAY)
    assert claimable(waiting, now(book) + DAY) is None
    assert running(waiting).run_id == "run-1"
    over = ended(waiting, ID, 1, "11 of 12", now(book) + DAY, summary={"cost": 1.5})
    assert (over.firings[0].state, over.firings[0].summary) == (FiringState.ENDED, {"cost": 1.5})
    assert claimable(over, now(book) + DAY).firing_id == over.firings[1].firing_id
    assert ended(over, ID, 0, "", now(book)) is None, "it ends once"


def test_each_pause_of_a_run_is_told_once(book):
    book, at = with_fleet(book), now(book)
    assert seen(book, ID, None, at) is book
    paused = seen(book, ID, Hold(Held.BUDGET, "budget: 5 of 5"), at)
    assert (paused.firings[0].exit_code, paused.firings[0].is_open) == (3, True)
    assert seen(paused, ID, Hold(Held.BUDGET, "budget: 5 of 5"), at) is paused
    other = seen(paused, ID, Hold(Held.PAUSED, "a guard"), at)
    assert (other.firings[0].exit_code, other.firings[0].said) == (4, "a guard")
    going_on = seen(other, ID, None, at)
    assert (going_on.firings[0].exit_code, going_on.firings[0].said) == (None, "")
    again = seen(going_on, ID, Hold(Held.STORAGE, "disk full"), at)
    assert again.firings[0].exit_code == 5
    assert [notice.event for notice in again.firings[0].notices] == ["paused", "paused"]


def test_after_the_ledger_was_lost_the_same_command_is_given_again_and_not_for_ever(book):
    at = now(book)
    for _ in range(MOST_LAUNCHES):
        book = lost(handed_over(claimed(book, ID, "w1", at), ID, "w1", "run-1", "/out", at), ID, at)
        assert book.firings[0].state is FiringState.DUE
        assert lost(book, ID, at) is None
    over = claimed(book, ID, "w1", at).firings[0]
    assert (over.state, over.exit_code) == (FiringState.ENDED, 5)
    assert "the ledger of its run was lost" in over.said


QUIET = RunSnapshot(
    "run-1", RunState.RUNNING, NOW, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, {}, reason="", account_polls=True
)


@pytest.mark.parametrize(
    ("changes", "hold"),
    [
        ({"ready": 1}, None),
        ({"state": RunState.FINISHED}, None),
        ({"state": RunState.PAUSED, "reason": PERSON_PAUSED, "ready": 1}, None),
        ({"state": RunState.PAUSED, "reason": f"{BUDGET_REACHED}1 of 1", "ready": 1}, (3, f"{BUDGET_REACHED}1 of 1")),
        ({"state": RunState.PAUSED, "reason": "4 rows", "ready": 1}, (4, "4 rows")),
        ({"state": RunState.PAUSED, "reason": "4 rows", "ready": 1, "pending": 1}, None),
        ({"state": RunState.PAUSED, "reason": "storage: full", "ready": 1, "pending": 1}, (5, "full")),
        ({"ready": 1, "account_blocked": "no key"}, (4, "no key")),
        ({"ready": 1, "pending": 1, "account_blocked": "no balance"}, None),
        ({"ready": 1, "pending": 1, "account_blocked": "no key", "account_polls": False}, (4, "no key")),
        ({"state": RunState.CANCELLING, "ready": 1, "account_blocked": "no key"}, None),
        ({"state": RunState.STOPPING, "ready": 1}, (130, "")),
    ],
)
def test_a_run_is_held_where_its_own_command_would_end(changes, hold):
    found = hold_of(replace(QUIET, **changes))
    assert (None if found is None else (found.exit_code, found.reason)) == hold
