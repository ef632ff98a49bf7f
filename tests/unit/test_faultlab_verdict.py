"""What counts as lost, doubled, wrong or paid for twice: the verdict on evidence that is made up here."""

from dataclasses import replace

import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.faultlab.verdict import (
    Evidence,
    Moment,
    Post,
    Row,
    Rules,
    ambiguous_answers,
    judge,
    nothing,
    what_was_in_flight,
    what_was_on_the_wire,
)

STRUCK_AT = 1_000.0
BEFORE, AFTER = STRUCK_AT - 1, STRUCK_AT + 1


def row(index, **changes):
    whole = Row(
        row_index=index,
        outcome="completed",
        own=True,
        flagged=False,
        generation_id=f"g{index}",
        log=((f"g{index}", "completed"),),
    )
    return replace(whole, **changes)


def post(generation_id, received_at=BEFORE, *, answered=True):
    return Post(generation_id, received_at, answered)


def evidence(**changes):
    """Three rows, each paid for once."""
    whole = Evidence(
        rows=3,
        dataset=[row(0), row(1), row(2)],
        rejected=(),
        posts={0: [post("g0")], 1: [post("g1")], 2: [post("g2")]},
    )
    return replace(whole, **changes)


def found(rules=None, **changes):
    return judge("a-fault", rules or Rules(), evidence(**changes))


def sent_twice(*, flagged=True, again_at=AFTER, **changes):
    """Row 1 was sent twice, its first POST unanswered."""
    twice = row(1, flagged=flagged, generation_id="g1b", log=((None, "unknown"), ("g1b", "completed")))
    posts = {0: [post("g0")], 1: [post("g1", answered=False), post("g1b", again_at)], 2: [post("g2")]}
    return {"dataset": [row(0), twice, row(2)], "posts": posts, **changes}


def test_a_run_that_paid_once_for_each_row_passes():
    finding = found()
    assert finding.passed
    assert (finding.lost, finding.duplicated, finding.wrong_row, finding.extra_posts) == (0, 0, 0, 0)


def test_a_row_without_an_end_is_lost():
    finding = found(dataset=[row(0), row(2)])
    assert finding.lost == 1
    assert "rows with no end: 1 (1)" in finding.reasons


def test_a_rejected_row_has_its_end():
    assert found(dataset=[row(0), row(2)], rejected=[1], posts={0: [post("g0")], 2: [post("g2")]}).passed


@pytest.mark.parametrize("ends", [{"dataset": [row(0), row(1), row(1), row(2)]}, {"rejected": [1]}])
def test_a_row_with_two_ends_is_doubled(ends):
    finding = found(**ends)
    assert finding.duplicated == 1
    assert not finding.passed


def test_an_answer_of_another_row_is_wrong():
    finding = found(dataset=[row(0), row(1, own=False), row(2)])
    assert finding.wrong_row == 1
    assert not finding.passed


def test_an_answer_under_a_generation_that_was_never_asked_for_this_row_is_wrong():
    assert found(dataset=[row(0), row(1, generation_id="g2"), row(2)]).wrong_row == 1


def test_a_second_end_in_the_ledger_fails_although_it_was_not_written():
    assert found(double_ends=2).reasons == ("2 rows ended twice in the ledger",)


def test_an_outcome_that_the_fault_does_not_explain_fails():
    failed = [row(0), row(1, outcome="failed"), row(2)]
    assert found(dataset=failed).reasons == ("rows that ended as failed: 1 (1)",)
    assert found(Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.FAILED})), dataset=failed).passed


def test_a_second_post_is_extra_and_fails_where_nothing_is_allowed():
    finding = found(**sent_twice())
    assert (finding.extra_posts, finding.allowed) == (1, 0)
    assert finding.reasons == ("1 extra POSTs where 0 are allowed",)


def test_a_second_post_that_the_row_owns_up_to_passes_within_the_allowance():
    assert found(Rules(ambiguous_answers), **sent_twice()).passed


def test_a_second_post_in_silence_fails_whatever_is_allowed():
    silent = sent_twice(flagged=False)
    silent["dataset"] = [replace(one, log=one.log[-1:]) for one in silent["dataset"]]
    finding = found(Rules(ambiguous_answers), **silent)
    assert finding.reasons == ("rows that were paid for twice and do not say so: 1 (1)",)


def test_a_longer_attempt_log_owns_up_to_it_too():
    assert found(Rules(ambiguous_answers), **sent_twice(flagged=False)).passed


def test_the_post_after_a_failed_generation_was_meant_and_is_not_extra():
    again = row(1, generation_id="g1b", log=(("g1", "failed"), ("g1b", "completed")))
    posts = {0: [post("g0")], 1: [post("g1"), post("g1b")], 2: [post("g2")]}
    finding = found(dataset=[row(0), again, row(2)], posts=posts)
    assert finding.extra_posts == 0
    assert finding.passed


def test_a_row_that_failed_three_times_was_meant_to_be_sent_three_times():
    last = row(1, outcome="failed", generation_id="g1c", log=(("g1", "failed"), ("g1b", "failed"), ("g1c", "failed")))
    posts = {0: [post("g0")], 1: [post("g1"), post("g1b"), post("g1c")], 2: [post("g2")]}
    rules = Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.FAILED}), resends_pending=True)
    assert found(rules, dataset=[row(0), last, row(2)], posts=posts).passed


def test_a_row_that_was_pending_is_never_sent_again():
    struck = Moment(at=STRUCK_AT, pending=frozenset({1}), in_flight=9, unanswered=9)
    finding = found(Rules(what_was_on_the_wire), **sent_twice(moments=[struck]))
    assert finding.reasons == ("rows that were pending and were sent again: 1 (1)",)


def test_a_pending_row_may_have_been_sent_twice_before_the_fault():
    struck = Moment(at=STRUCK_AT, pending=frozenset({1}), in_flight=9, unanswered=9)
    assert found(Rules(what_was_on_the_wire), **sent_twice(moments=[struck], again_at=BEFORE)).passed


def test_where_the_api_ends_generations_pending_rows_may_be_sent_again():
    struck = Moment(at=STRUCK_AT, pending=frozenset({1}), in_flight=9, unanswered=9)
    rules = Rules(what_was_on_the_wire, resends_pending=True)
    assert found(rules, **sent_twice(moments=[struck])).passed


def test_slow_recovery_fails_and_no_recovery_to_measure_does_not():
    assert found(recovery_s=30.0).passed
    assert found(recovery_s=None).passed
    assert found(recovery_s=31.0).reasons == ("it took 31.0 s to recover, where 30 are allowed",)


def test_what_came_up_on_the_way_fails():
    assert found(complaints=["the command showed a traceback"]).reasons == ("the command showed a traceback",)


def test_allowances_add_up_over_the_moments():
    two = evidence(moments=[Moment(at=1.0, in_flight=5, unanswered=3, processes=1), Moment(at=2.0, in_flight=2)])
    assert nothing(two) == 0
    assert what_was_on_the_wire(two) == 3 + 64
    assert what_was_in_flight(two) == 7


def test_ambiguous_answers_are_generations_whose_id_never_went_out():
    assert ambiguous_answers(evidence(**sent_twice())) == 1


def test_only_some_rows_are_named_and_all_are_counted():
    finding = judge("a-fault", Rules(), Evidence(rows=9, dataset=[], rejected=(), posts={}))
    assert finding.lost == 9
    assert finding.reasons == ("rows with no end: 0, 1, 2, 3, 4 … (9)",)
