"""When a cap stops a run, and what a person is told of it."""

from dataclasses import replace

import pytest

from pipeline.core.budget import Budget, Reservation, Spending
from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import (
    budget_lines,
    budget_object,
    budget_reached,
    budget_words,
    expected_cost,
    receipt_lines,
    spent_words,
)

SPENT = Spending(tokens=9_000, cost_micro=4_900_000, reserved=Reservation(500, 200_000))
RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000,
    total=100,
    fed=100,
    ready=60,
    ready_due=60,
    submitting=0,
    pending=0,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=40,
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 40},
    budget=Budget(cost=5.0),
    spending=SPENT,
)


def test_a_cap_that_takes_no_more_row_pauses_the_run_and_says_what_became_of_it():
    assert budget_reached(RUN) == (
        "budget: $4.90 of $5.00 is spent, and $0.1000 left is less than a row may cost ($0.2000)"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": 1},
        {"submitting": 1},
        {"ready": 0},
        {"budget": Budget()},
        {"budget": Budget(cost=5.2)},
        {"state": RunState.PAUSED},
        {"state": RunState.CANCELLING},
        {"spending": Spending(reserved=Reservation(500, 9_000_000))},
    ],
)
def test_a_run_that_can_go_on_or_waits_for_answers_is_not_paused(changes):
    assert budget_reached(replace(RUN, **changes)) is None


def test_rows_that_are_not_fed_yet_wait_for_the_budget_too():
    assert budget_reached(replace(RUN, ready=0, ready_due=0, fed=40)) is not None


def test_what_is_kept_for_rows_in_doubt_is_told():
    kept = replace(SPENT, kept_cost_micro=300_000)
    assert budget_reached(replace(RUN, spending=kept)) == (
        "budget: $4.90 of $5.00 is spent, $0.3000 is kept for rows that may have been billed, and nothing is left"
    )


def test_the_cap_that_binds_is_the_one_that_is_told():
    both = replace(RUN, budget=Budget(cost=500.0, tokens=9_100))
    assert budget_reached(both) == (
        "budget: 9,000 tokens of 9,100 tokens are spent, and 100 tokens left are less than a row may cost (500 tokens)"
    )
    assert [line for line in budget_lines(both) if "a higher --max-total-tokens goes on" in line]


def test_a_person_is_told_what_is_left_to_do_and_how_to_go_on():
    stopped = replace(RUN, state=RunState.PAUSED, reason=budget_reached(RUN))
    assert list(budget_lines(stopped)) == [
        "stopped by the budget: $4.90 of $5.00 is spent, and $0.1000 left is less than a row may cost ($0.2000)",
        "no row failed for it, 60 are still to be done: the same command with a higher --max-cost goes on",
    ]


def test_an_overshoot_is_told_with_its_cause():
    over = replace(SPENT, cost_micro=5_100_000, over_cost_micro=120_000)
    run = replace(RUN, spending=over)
    stopped = replace(run, state=RunState.PAUSED, reason=budget_reached(run))
    assert list(budget_lines(stopped))[:2] == [
        "stopped by the budget: $5.10 of $5.00 is spent, and nothing is left",
        (
            "$0.1000 more than --max-cost: what was spent or sent before the cap was given or reached cost $0.1200 "
            "more than it had left"
        ),
    ]
    [line] = receipt_lines(budget_object(stopped))
    assert line.startswith("budget: $5.10 of $5.00 spent, $0.1000 beyond it: what was spent or sent before")


def test_a_receipt_tells_the_caps_and_what_became_of_them_and_nothing_of_a_run_without():
    spending = replace(SPENT, kept_cost_micro=300_000, over_cost_micro=20_000, over_tokens=7)
    told = budget_object(replace(RUN, spending=spending))
    assert told == {
        "caps": {"cost": 5.0, "tokens": None},
        "spent": {"tokens": 9_000, "cost": 4.9},
        "kept": {"tokens": 0, "cost": 0.3},
        "over": {"tokens": 7, "cost": 0.02},
        "overshot": {"tokens": 0, "cost": 0.0},
    }
    [line] = receipt_lines(told)
    assert line == "budget: $4.90 of $5.00 spent, $0.3000 kept for rows that may have been billed"
    assert budget_object(replace(RUN, budget=Budget())) is None
    assert list(receipt_lines(None)) == []


def test_what_a_run_will_cost_is_the_mean_so_far_for_all_of_its_rows():
    assert expected_cost(RUN) == pytest.approx(12.25)
    assert spent_words(RUN) == "$4.90 of about $12.25"


@pytest.mark.parametrize(
    "changes",
    [
        {"outcomes": {Outcome.COMPLETED: 4}},
        {"outcomes": {}},
        {"spending": Spending()},
    ],
)
def test_before_enough_is_known_the_plans_estimate_is_told_and_none_where_it_counts_only_some_rows(changes):
    run = replace(RUN, **changes)
    assert expected_cost(run) is None
    spent = "$0.0000" if "spending" in changes else "$4.90"
    assert spent_words(run) == spent
    assert spent_words(run, {"cost": [1.0, 3.0, 9.0], "priced": 100, "rows": 100}) == f"{spent} of about $3.00"
    assert spent_words(run, {"cost": [1.0, 3.0, 9.0], "priced": 99, "rows": 100}) == spent
    assert spent_words(run, {"cost": None, "priced": 0, "rows": 100}) == spent


def test_a_small_run_is_known_when_all_of_it_ended():
    run = replace(RUN, total=2, outcomes={Outcome.COMPLETED: 2})
    assert expected_cost(run) == pytest.approx(4.9)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(), ""),
        (Budget(cost=20.0), "--max-cost 20"),
        (Budget(cost=1_234_567.891), "--max-cost 1234567.891"),
        (Budget(cost=12.345678, tokens=5), "--max-cost 12.345678 --max-total-tokens 5"),
    ],
)
def test_a_cap_is_told_as_it_would_be_typed(budget, words):
    assert budget_words(budget) == words
