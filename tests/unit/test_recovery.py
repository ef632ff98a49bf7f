"""What is known of a row whose ledger was lost, by the ids that the run left on disk."""

import itertools

import pytest

from pipeline.core.answers import Failed, Problem
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.policy import Policy
from pipeline.core.polling import DEFAULT
from pipeline.core.records import Attempt, RowRecord
from pipeline.core.recovery import SavedId, beside, recovered
from pipeline.core.retries import after_query

NOW = 1_800_000_000_000
POLICY = Policy(generation_deadline_s=100.0)
LOST = Attempt(None, NOW * 1000, Outcome.UNKNOWN)


def record_of(*ids):
    return recovered(ids, POLICY, NOW)


def saved(attempt, generation_id=None, resubmits=0):
    return SavedId(attempt, attempt * 10, generation_id or f"task-{attempt}", resubmits)


def test_a_row_without_an_id_may_have_been_paid_for_and_is_sent_again_once():
    assert record_of() == RowRecord(attempts=1, resubmits=1, possible_duplicate=True, log=(LOST,), recovered=True)


def test_a_row_with_one_id_is_polled_for_it_and_is_in_no_doubt():
    assert record_of(saved(1)) == RowRecord(
        attempts=1, generation_id="task-1", submitted_at=10, looked_at_ms=NOW, recovered=True
    )


def test_where_answers_are_repaired_earlier_generations_are_asked_for_beside_the_row():
    ids, policy = [saved(1), saved(2), saved(3)], Policy(repairs=1)
    record = recovered(ids, policy, NOW)
    assert record.log == (Attempt(None, 10, Outcome.UNKNOWN), Attempt(None, 20, Outcome.UNKNOWN))
    assert (record.generation_id, record.repairs, record.attempts) == ("task-3", 1, 3), (
        "no more is repaired than may be"
    )
    late = beside(7, ids, policy, "m")
    assert [(one.row_index, one.generation_id, one.attempt, one.model) for one in late] == [
        (7, "task-1", 1, "m"),
        (7, "task-2", 2, "m"),
    ]
    assert beside(7, ids, POLICY, "m") == beside(7, ids[:1], policy, "m") == beside(7, [], policy, "m") == ()


def test_the_last_of_several_attempts_is_polled_and_the_others_are_in_the_log():
    for ids in itertools.permutations([saved(1), saved(2), saved(3)]):
        record = record_of(*ids)
        assert (record.generation_id, record.attempts, record.submitted_at) == ("task-3", 3, 30)
        assert [(one.generation_id, one.submitted_at) for one in record.log] == [("task-1", 10), ("task-2", 20)]
        assert (record.possible_duplicate, record.resubmits) == (False, 0)


@pytest.mark.parametrize(("ids", "unknown"), [((3,), 2), ((1, 3), 1), ((2, 3), 1), ((2,), 1)])
def test_a_row_with_fewer_ids_than_attempts_says_which_it_does_not_know(ids, unknown):
    record = record_of(*map(saved, ids))
    assert (record.attempts, record.generation_id) == (max(ids), f"task-{max(ids)}")
    assert record.log.count(LOST) == unknown
    assert len(record.log) == max(ids) - 1
    assert (record.possible_duplicate, record.resubmits) == (True, 1)


def test_two_ids_of_one_attempt_are_two_payments():
    record = record_of(saved(1, "task-a"), saved(1, "task-b"))
    assert (record.attempts, record.generation_id) == (2, "task-b")
    assert [one.generation_id for one in record.log] == ["task-a"]
    assert (record.possible_duplicate, record.resubmits) == (True, 1)


def test_a_late_id_beside_the_one_of_the_attempt_that_was_sent_again_is_two_payments():
    late, again = saved(1, "task-late"), saved(2, "task-again", resubmits=1)
    for ids in ((late, again), (again, late)):
        record = record_of(*ids)
        assert (record.attempts, record.generation_id) == (2, "task-again")
        assert [one.generation_id for one in record.log] == ["task-late"]
        assert (record.possible_duplicate, record.resubmits) == (True, 1)


def test_a_late_id_alone_is_polled():
    assert record_of(saved(1, "task-late")).generation_id == "task-late"


def test_one_id_that_was_saved_twice_is_one_payment():
    assert record_of(saved(1), saved(1)) == record_of(saved(1))
    record = record_of(saved(1), SavedId(1, 99, "task-1"))
    assert (record.attempts, record.log, record.possible_duplicate) == (1, (), False)


def test_an_id_that_was_adopted_into_a_later_attempt_counts_there():
    record = record_of(saved(1, "task-a"), saved(2, "task-b"), saved(3, "task-b"))
    assert (record.generation_id, record.attempts) == ("task-b", 3)
    assert record.possible_duplicate


def test_a_row_that_was_sent_again_in_doubt_is_still_in_doubt_and_not_sent_again_in_doubt():
    record = record_of(saved(1, resubmits=1))
    assert (record.possible_duplicate, record.resubmits, record.log) == (True, 1, ())


@pytest.mark.parametrize("ids", [(), (1,), (1, 2)])
def test_a_recovered_row_that_fails_and_is_sent_again_says_that_it_may_be_paid_twice(ids):
    record = record_of(*map(saved, ids))
    answer = Failed(Problem("timeout", "too slow"), retryable=True)
    step = after_query(answer, record, POLICY, DEFAULT, now_ms=NOW, troubles=0, chance=0.0)
    assert step.state is State.READY
    assert (step.record.possible_duplicate, step.record.recovered) == (True, False)


@pytest.mark.parametrize(("retryable", "doubtful"), [(True, True), (False, False)])
def test_where_rows_in_doubt_are_held_a_recovered_one_that_fails_is_not_sent_again(retryable, doubtful):
    policy = Policy(on_unknown="hold")
    record = recovered([saved(1)], policy, NOW)
    answer = Failed(Problem("timeout", "too slow"), retryable=retryable)
    step = after_query(answer, record, policy, DEFAULT, now_ms=NOW, troubles=0, chance=0.0)
    assert (step.event, step.ending.outcome) == (Event.FAILED_LAST, Outcome.FAILED)
    assert (step.record.generation_id, step.record.possible_duplicate) == ("task-1", doubtful)
