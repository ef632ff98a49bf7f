"""How values cross to the scripts and back."""

from dataclasses import replace

import orjson
import pytest

from pipeline.core.answers import Completion, Problem
from pipeline.core.budget import MOST_TOKENS, Budget
from pipeline.core.costs import Price
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.limits import Limits
from pipeline.core.policy import Policy
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.steps import Step
from pipeline.edges.redis_keys import ROLES, RunKeys
from pipeline.edges.redis_wire import (
    accepted_line,
    commit_arguments,
    pack_card,
    taken_over,
    told,
    unpack_card,
)
from pipeline.ports import Commit, RunCard

RECORD = RowRecord(attempts=1, generation_id="task-1", submitted_at=5)
PROBLEM = Problem("busy", "slow\n  down", None, 429)


def few(step):
    """What few steps have."""
    packed = commit_arguments(Commit(3, "t", step))[12]
    return orjson.loads(packed) if packed else {}


def test_a_step_that_goes_on_has_thirteen_arguments():
    step = Step(State.SUBMITTING, Event.THROTTLED, RECORD, wait_ms=7, account_wait_ms=9, trouble=PROBLEM)
    head = [3, "t", "submitting", "ready", 7, pack(RECORD)]
    tail = [b"", "", 0, 0, 0, ""]
    assert commit_arguments(Commit(3, "t", step))[:-1] == [*head, *tail]
    assert few(step) == {"hold": 9, "trouble": "busy (HTTP 429): slow down"}


def test_a_step_that_ends_has_as_many_and_names_its_outcome():
    ending = Ending(Outcome.COMPLETED, 9, Completion(prompt_tokens=3, completion_tokens=2, cost=0.5))
    step = Step(State.PENDING, Event.COMPLETED, RECORD, ending=ending, cost_micro=500_000)
    head = [3, "t", "pending", "done", 0, pack(RECORD)]
    tail = [pack_ending(ending), "completed", 3, 2, 500_000, "", ""]
    assert commit_arguments(Commit(3, "t", step)) == [*head, *tail]


@pytest.mark.parametrize(("polling_works", "word"), [(True, "balance"), (False, "key")])
def test_a_block_says_whether_polls_go_on(polling_works, word):
    step = Step(State.SUBMITTING, Event.ACCOUNT_REFUSED, RECORD, account_problem=PROBLEM, polling_works=polling_works)
    assert few(step)["block"] == f"{word} busy (HTTP 429): slow down"


@pytest.mark.parametrize(("source", "event"), [(State.SUBMITTING, Event.ACCEPTED), (State.READY, Event.ADOPTED)])
def test_an_id_that_was_paid_for_is_one_line_for_the_disk(source, event):
    line = accepted_line(Commit(3, "t", Step(source, event, replace(RECORD, resubmits=1))))
    assert orjson.loads(line) == [3, "task-1", 5, 1, 1]


def test_a_post_that_may_have_been_billed_without_an_id_says_so():
    assert few(Step(State.SUBMITTING, Event.LOST_RESUBMIT, RECORD, doubt=True))["doubt"] is True
    held = Ending(Outcome.UNKNOWN, 9, problem=PROBLEM)
    last = Step(State.SUBMITTING, Event.LOST_HOLD, RECORD, ending=held, doubt=True)
    assert few(last)["doubt"] is True, "the row has its end, the API is in doubt all the same"


def test_other_steps_have_no_such_line():
    assert accepted_line(Commit(3, "t", Step(State.PENDING, Event.NOT_READY, RECORD))) == b""


def ended(outcome, completion, **step):
    event = Event.COMPLETED if outcome is Outcome.COMPLETED else Event.FAILED_LAST
    return Step(State.PENDING, event, RECORD, ending=Ending(outcome, 1, completion), **step)


def test_what_is_summed_is_what_the_answer_used():
    def sums(step):
        return commit_arguments(Commit(3, "t", step))[8:11]

    assert sums(ended(Outcome.FAILED, None)) == [0, 0, 0]
    assert sums(ended(Outcome.COMPLETED, Completion())) == [0, 0, 0]
    assert sums(ended(Outcome.COMPLETED, Completion(prompt_tokens=3), cost_micro=7)) == [3, 0, 7]
    absurd = Completion(prompt_tokens=2**63 - 1, completion_tokens=2**63 - 1)
    assert sums(ended(Outcome.COMPLETED, absurd)) == [MOST_TOKENS, MOST_TOKENS, 0]


def test_a_problem_is_told_in_one_short_line():
    assert told(None) == ""
    assert told(Problem("a", "")) == "a:"
    assert told(Problem("a", "b\r\n\tc", "t", None)) == "a: b c"
    assert len(told(Problem("a", "x" * 10_000))) == 500


def test_a_row_that_was_taken_over_tells_of_the_claim_before():
    reply = [5, 0, 0, b"", b"7", b"90:w:1|99:r:2", b"90:w:1", b'{"a":1}']
    row = taken_over(reply, 4)
    assert (row.row_index, row.token, row.before, row.claimed_at_ms) == (7, "90:w:1|99:r:2", "90:w:1", 90)
    assert row.record == RowRecord(attempts=1)


def test_a_row_that_is_polled_was_nobodys():
    row = taken_over([b"7", b"99:p:2", b"", b""], 0)
    assert (row.before, row.claimed_at_ms, row.record) == ("", 0, RowRecord())


def test_a_card_comes_back_as_it_was():
    card = RunCard("run-1", "api#é", "https://api", "key", "out", "secret", "e1", 7, Policy(lease_s=1.5))
    assert unpack_card(pack_card(card)) == card
    full = replace(card, limits=Limits(rpm=1.5), budget=Budget(cost=2.0), models=("m",), prices={"m": Price(1.0, 2.0)})
    assert unpack_card(pack_card(full)) == full


def test_all_keys_of_a_run_are_known_and_named_by_it():
    every = RunKeys("run-1").every()
    assert len(every) == len(set(every)) == 13 + 2 * len(ROLES)
    assert all(key.startswith("vidbatch:run:run-1:") for key in every)
