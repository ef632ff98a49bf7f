"""What bounds sending, in words: who set it, which number it is, and nothing that no longer holds."""

from dataclasses import replace

import pytest

from pipeline.core.bounds import (
    begins_words,
    bound_of,
    given_words,
    in_flight_words,
    per_minute,
    poll_rate_words,
    rate_words,
    sending_words,
)
from pipeline.core.budget import Budget, Reservation, Spending
from pipeline.core.lifecycle import Outcome
from pipeline.core.limits import Limits
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import RESULTS_BYTES, RunSnapshot, RunState

RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=10_000,
    total=100,
    fed=100,
    ready=40,
    ready_due=40,
    submitting=3,
    pending=7,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=60,
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 50},
    pace=Pace(rate=9.72, poll_rate=100.0, why="found"),
)
COST = {"budget": Budget(cost=10.0), "spending": Spending(cost_micro=9_800_000, reserved=Reservation(9, 50_000))}


def bound(**changes):
    return bound_of(replace(RUN, **changes))


@pytest.mark.parametrize(
    ("changes", "name", "wait"),
    [
        ({"bound": "rate"}, "the account's rate limit (found: 583 a minute)", "the account's rate limit (found: 583"),
        ({"bound": "rate", "pace": Pace(rate=10.0, why="given")}, "limit (given: 600 a minute)", "(given: 600"),
        (
            {"bound": "rate", "pace": Pace(rate=0.5, why="tokens")},
            "(by the tokens that rows take: 30 a minute)",
            "rows take: 30",
        ),
        ({"bound": "rate", "pace": Pace(rate=40.0, why="starting")}, "still to be found, now: 2,400", "to be found"),
        ({"bound": "rate", "pace": Pace()}, "the account's rate limit", "the account's rate limit"),
        (
            {"bound": "in flight", "pace": Pace(most=50)},
            "in flight (given: 50)",
            "a generation to end: 50 are in flight",
        ),
        (
            {"bound": "in flight", "pace": Pace(cap=48, most=50)},
            "(found: 48)",
            "48 are in flight, the most that the API",
        ),
        ({"bound": "in flight", "pace": Pace(cap=60, most=50)}, "(given: 50)", "50 are in flight, as was given"),
        ({"bound": "in flight"}, "no limit known", "as many are in flight as are risked"),
        ({"bound": "turn", "priority": 30}, "other runs of the account (priority 30)", "its turn among other runs"),
        (
            {"bound": "budget", **COST},
            "the budget: all that is left of $10.00 is reserved",
            "the budget: all that is left",
        ),
        ({"bound": "budget"}, "the budget", "the budget"),
        ({"bound": "first rows"}, "the first rows, which go alone", "one of the first rows"),
        ({"bound": "back-off"}, "the API's back-off", "one of a few rows that try"),
        ({"bound": "rate", "account_wait_until_ms": 11_000}, "the API's back-off, 1 s more", "a few rows"),
        ({"bound": "rate", "pace": Pace(rate=40.0, why="searching")}, "being found, now: 2,400", "being found"),
        ({"bound": "rate", "results_bytes": RESULTS_BYTES}, "the disk", "results to be on disk"),
    ],
)
def test_each_bound_has_its_name_and_what_is_waited_for(changes, name, wait):
    found = bound(**changes)
    assert name in found.name
    assert wait in found.wait


def test_a_bound_of_long_ago_is_not_told():
    assert bound() is None
    assert bound(bound="empty") is None
    assert bound(bound="rate", ready=0) is None
    assert bound(bound="rate", state=RunState.PAUSED) is None


def test_a_run_that_sends_tells_its_rate_and_what_bounds_it():
    paced = replace(RUN, bound="rate")
    told = "580 POSTs a minute, bound by the account's rate limit (found: 583 a minute)"
    assert sending_words(paced, 580.2, 581.0) == told
    assert sending_words(RUN, 580.2, 581.0) == "580 POSTs a minute"
    assert sending_words(paced, 290.0, 580.0).startswith("290 POSTs a minute (580 of the account), bound by")
    assert sending_words(paced, 0.0, 0.0).startswith("bound by the account's rate limit")


def test_nothing_is_said_of_sending_where_all_was_sent():
    assert sending_words(replace(RUN, ready=0, submitting=0), 580.0, 580.0) == ""
    assert sending_words(replace(RUN, state=RunState.STOPPING), 580.0, 580.0) == ""


@pytest.mark.parametrize(
    ("rate", "told"), [(10.0, "600"), (9.7166, "583"), (1000.0, "60,000"), (1 / 60, "1"), (0.0725, "4.35")]
)
def test_a_rate_is_told_a_minute(rate, told):
    assert per_minute(rate) == told


def test_limits_that_were_given_are_told_in_the_order_of_their_options():
    assert given_words(Limits()) == ""
    given = Limits(rpm=600.0, poll_rpm=6_000.0, tpm=2_000_000.0, max_in_flight=50)
    assert given_words(given) == "600 POSTs a minute, 6,000 polls a minute, 2,000,000 tokens a minute, 50 in flight"
    assert given_words(Limits(rpm=0.5)) == "0.5 POSTs a minute"


def test_an_account_that_nothing_paces_has_no_words_for_a_rate():
    assert rate_words(Pace()) == ""
    assert in_flight_words(Pace()) == "no limit known"
    assert poll_rate_words(Pace()) == ""
    assert poll_rate_words(Pace(poll_rate=100.0, poll_why="given")) == "given: 6,000 a minute"
    assert poll_rate_words(Pace(poll_rate=100.0, poll_why="searching")) == "being found, now: 6,000 a minute"
    assert poll_rate_words(Pace(poll_rate=100.0)) == "now: 6,000 a minute"


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("given", "30 POSTs a minute (given)"),
        ("tokens", "30 POSTs a minute (by the tokens that rows take)"),
        ("searching", "30 POSTs a minute (being found)"),
        ("found", "30 POSTs a minute (found)"),
    ],
)
def test_with_what_a_run_begins_is_told_as_a_number_and_who_set_it(why, words):
    assert begins_words(Pace(rate=0.5, why=why)) == words
    assert begins_words(Pace(why=why)) == ""
