"""What becomes of a row after each kind of answer."""

from dataclasses import replace

import pytest

from pipeline.core.answers import (
    UNREACHABLE,
    Accepted,
    AccountRefused,
    Ambiguous,
    Completed,
    Completion,
    Failed,
    Missing,
    NothingSent,
    NotNow,
    Problem,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.closing import backoff
from pipeline.core.costs import Price
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.observations import Observed
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.records import Attempt, RowRecord
from pipeline.core.retries import after_query
from pipeline.core.submitting import after_late_id, after_lost_post, after_submit

NOW = 1_800_000_000_000
POLICY = Policy(lease_s=10.0)
DEADLINE_MS = 3_600_000
SCHEDULE = parse_schedule("steps:2s,5s,10s")
WRONG = Problem("some_code", "some words", None, 400)
PENDING = RowRecord(
    attempts=1, polls=1, generation_id="task-1", submitted_at=5, watched_ms=DEADLINE_MS - 1_000, looked_at_ms=NOW
)


def submit(answer, record=RowRecord(), policy=POLICY, troubles=0, chance=0.0):  # noqa: B008 - a frozen value
    return after_submit(answer, record, policy, SCHEDULE, now_ms=NOW, troubles=troubles, chance=chance)


def query(answer, record=PENDING, policy=POLICY, now_ms=NOW, troubles=0, chance=0.0):
    return after_query(answer, record, policy, SCHEDULE, now_ms=now_ms, troubles=troubles, chance=chance)


# After a POST


def test_an_accepted_row_is_pending_under_its_id_until_its_deadline():
    step = submit(Accepted("task-1"))
    assert (step.event, step.state, step.wait_ms) == (Event.ACCEPTED, State.PENDING, 2_000)
    assert step.record == RowRecord(attempts=1, generation_id="task-1", submitted_at=NOW * 1000, looked_at_ms=NOW)
    assert (step.ending, step.trouble, step.account_wait_ms) == (None, None, 0)


def test_an_accepted_row_starts_its_polls_anew_and_keeps_its_history():
    log = (Attempt("task-0", 1, Outcome.FAILED),)
    before = RowRecord(attempts=1, polls=9, missing=2, missing_since_ms=7, given_up="t", log=log, resubmits=1)
    after = submit(Accepted("task-1"), before).record
    assert (after.attempts, after.polls, after.missing, after.missing_since_ms, after.given_up) == (2, 0, 0, 0, None)
    assert (after.log, after.resubmits) == (log, 1)


@pytest.mark.parametrize(
    ("answer", "event", "wait_ms", "account_wait_ms"),
    [
        (Throttled(WRONG, 7.5), Event.THROTTLED, 7_500, 7_500),
        (Throttled(WRONG), Event.THROTTLED, 4_000, 4_000),
        (Throttled(WRONG, 0.0), Event.THROTTLED, 4_000, 4_000),
        (NotNow(WRONG, 3.0), Event.THROTTLED, 3_000, 0),
        (NotNow(WRONG), Event.THROTTLED, 15_000, 0),
        (NotNow(WRONG, 0.0), Event.THROTTLED, 15_000, 0),
        (NothingSent(WRONG), Event.NOTHING_SENT, 4_000, 4_000),
        (AccountRefused(WRONG, polling_works=True), Event.ACCOUNT_REFUSED, 0, 0),
        (AccountRefused(WRONG, polling_works=False), Event.ACCOUNT_REFUSED, 0, 0),
    ],
)
def test_an_answer_that_created_nothing_costs_the_row_nothing(answer, event, wait_ms, account_wait_ms):
    before = RowRecord(attempts=1, resubmits=1, given_up="t", possible_duplicate=True)
    step = submit(answer, before, troubles=2)
    assert (step.event, step.state, step.record) == (event, State.READY, before)
    assert (step.wait_ms, step.account_wait_ms, step.trouble) == (wait_ms, account_wait_ms, WRONG)


def test_who_does_not_reach_the_api_leaves_the_row_to_others_and_holds_the_account_back_from_nobody():
    no_way = Problem(UNREACHABLE, "no route")
    step = submit(NothingSent(no_way), troubles=5)
    assert (step.event, step.wait_ms, step.account_wait_ms, step.trouble) == (Event.NOTHING_SENT, 1_000, 0, no_way)
    asked = query(Trouble(no_way), replace(PENDING, polls=50))
    assert (asked.wait_ms, asked.trouble) == (10_000, no_way)  # as the schedule has it


@pytest.mark.parametrize("polling_works", [True, False])
def test_a_refused_account_is_blocked_and_says_whether_polls_go_on(polling_works):
    step = submit(AccountRefused(WRONG, polling_works))
    assert (step.account_problem, step.polling_works) == (WRONG, polling_works)


def test_a_refused_row_is_done_with_the_apis_words_and_without_an_attempt():
    step = submit(Refused(WRONG))
    assert (step.event, step.state) == (Event.REFUSED, State.DONE)
    assert (step.ending.outcome, step.ending.at, step.ending.problem) == (Outcome.REFUSED, NOW * 1000, WRONG)
    assert (step.record.attempts, step.trouble) == (0, None)


def test_an_ambiguous_answer_is_an_attempt_that_may_have_been_billed():
    step = submit(Ambiguous(WRONG))
    assert (step.event, step.state, step.wait_ms) == (Event.LOST_RESUBMIT, State.READY, 10_000)
    assert step.record.log == (Attempt(None, NOW * 1000, Outcome.UNKNOWN),)
    assert (step.record.attempts, step.record.resubmits, step.record.possible_duplicate) == (1, 1, True)
    assert step.record.given_up is None


@pytest.mark.parametrize("policy", [POLICY, Policy(lease_s=10.0, on_unknown="hold")])
@pytest.mark.parametrize(("troubles", "wait_ms"), [(0, 1_000), (3, 8_000), (99, 60_000)])
def test_an_ambiguous_answer_holds_the_account_back_for_it_may_cost_each_time(policy, troubles, wait_ms):
    assert submit(Ambiguous(WRONG), policy=policy, troubles=troubles).account_wait_ms == wait_ms


def test_an_ambiguous_answer_is_resent_once_at_most():
    first = submit(Ambiguous(WRONG))
    second = submit(Ambiguous(WRONG), first.record)
    assert (second.event, second.ending.outcome) == (Event.LOST_HOLD, Outcome.UNKNOWN)
    assert (second.record.attempts, len(second.record.log), second.ending.problem) == (2, 2, WRONG)


def test_a_policy_that_holds_never_resends():
    step = submit(Ambiguous(WRONG), policy=Policy(on_unknown="hold"))
    assert (step.state, step.ending.outcome) == (State.DONE, Outcome.UNKNOWN)
    assert (step.record.possible_duplicate, step.record.attempts) == (False, 1)


# After a POST whose answer never came


def lost(record=RowRecord(), policy=POLICY, token="1:w:1"):  # noqa: B008 - a frozen value
    return after_lost_post(record, policy, WRONG, now_ms=NOW, sent_at_ms=NOW - 50_000, token=token)


def test_a_lost_post_remembers_when_and_under_which_claim_it_was_sent():
    step = lost()
    assert step.record.log == (Attempt(None, (NOW - 50_000) * 1000, Outcome.UNKNOWN),)
    assert (step.record.given_up, step.wait_ms) == ("1:w:1", 10_000)


def test_a_late_id_takes_the_lost_attempt_back():
    adopted = after_late_id(lost().record, submit(Accepted("task-late")).record, "1:w:1")
    assert (adopted.state, adopted.wait_ms, adopted.source) == (State.PENDING, 0, State.READY)
    assert (adopted.record.generation_id, adopted.record.attempts, adopted.record.log) == ("task-late", 1, ())
    assert (adopted.record.possible_duplicate, adopted.record.resubmits, adopted.record.given_up) == (False, 0, None)


def test_a_late_id_takes_back_its_own_attempt_and_no_other():
    failed = Attempt("task-0", 1, Outcome.FAILED)
    unknown = Attempt("task-1", 2, Outcome.UNKNOWN)
    taken = replace(lost().record, attempts=3, log=(failed, unknown, *lost().record.log))
    adopted = after_late_id(taken, submit(Accepted("task-late"), RowRecord(attempts=2)).record, "1:w:1").record
    assert (adopted.log, adopted.attempts, adopted.possible_duplicate) == ((failed, unknown), 3, True)


def test_a_row_whose_late_id_was_adopted_may_be_resent_again():
    adopted = after_late_id(lost().record, submit(Accepted("task-late")).record, "1:w:1").record
    gone = query(Missing(WRONG), replace(adopted, missing=9, missing_since_ms=1))
    assert gone.event is Event.GONE_RESUBMIT


def test_a_late_id_is_adopted_as_it_is_by_a_ledger_that_forgot_the_attempt():
    late = submit(Accepted("task-late"), RowRecord(attempts=1, resubmits=1, possible_duplicate=True)).record
    adopted = after_late_id(RowRecord(attempts=1), late, "1:w:1")
    assert (adopted.event, adopted.state, adopted.wait_ms, adopted.record) == (Event.ADOPTED, State.PENDING, 0, late)


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("given_up", [None, "2:another:7"])
def test_a_late_id_is_not_adopted_once_the_row_went_on(attempts, given_up):
    late = submit(Accepted("task-late")).record
    assert after_late_id(RowRecord(attempts=attempts, given_up=given_up), late, "1:w:1") is None


def test_a_row_that_went_on_and_was_given_up_again_takes_only_the_newest_late_id():
    went_on = lost(RowRecord(attempts=1, given_up="1:w:1", resubmits=0), token="2:w:2").record
    late = submit(Accepted("task-late"))
    assert after_late_id(went_on, late.record, "1:w:1") is None
    assert after_late_id(went_on, late.record, "2:w:2").event is Event.ADOPTED


# After a poll


def test_a_completed_generation_is_done():
    completion = Completion(content="a dog", prompt_tokens=3)
    step = query(Completed(completion))
    assert (step.event, step.state) == (Event.COMPLETED, State.DONE)
    assert (step.ending.outcome, step.ending.completion, step.ending.at) == (Outcome.COMPLETED, completion, NOW * 1000)
    assert (step.record.polls, step.record.generation_id, step.trouble) == (2, "task-1", None)


def test_a_running_generation_is_polled_again_as_the_schedule_says():
    steps = [query(Running("processing"), replace(PENDING, polls=polls)) for polls in (0, 1, 5)]
    assert [(step.event, step.state) for step in steps] == [(Event.NOT_READY, State.PENDING)] * 3
    assert [(step.record.polls, step.wait_ms) for step in steps] == [(1, 5_000), (2, 10_000), (6, 10_000)]


def test_a_running_generation_is_not_missing_any_more():
    step = query(Running("processing"), replace(PENDING, missing=2, missing_since_ms=1))
    assert (step.record.missing, step.record.missing_since_ms) == (0, 0)


def test_only_a_poll_after_the_deadline_that_says_not_ready_expires_a_row():
    at = NOW + 1_000
    assert query(Running("processing"), now_ms=at).event is Event.NOT_READY
    step = query(Running("processing"), now_ms=at + 1)
    assert (step.event, step.ending.outcome, step.record.generation_id) == (Event.EXPIRED, Outcome.EXPIRED, "task-1")
    assert step.ending.problem.code == "deadline"
    for answer in (Trouble(WRONG), Throttled(WRONG), Missing(WRONG), AccountRefused(WRONG, polling_works=False)):
        assert query(answer, now_ms=at + 1).event is Event.NOT_READY
    assert query(Completed(Completion()), now_ms=at + 1).event is Event.COMPLETED


def test_a_night_without_polls_is_not_counted_as_watched():
    early = replace(PENDING, watched_ms=0)
    step = query(Running("processing"), early, now_ms=NOW + 8 * DEADLINE_MS)
    assert (step.event, step.record.watched_ms) == (Event.NOT_READY, 120_000)
    assert step.record.looked_at_ms == NOW + 8 * DEADLINE_MS


def test_a_schedule_that_polls_rarely_is_watching_all_the_time():
    rare = parse_schedule("fixed:300s")
    step = after_query(Running("x"), PENDING, POLICY, rare, now_ms=NOW + 300_000, troubles=0, chance=0.0)
    assert step.record.watched_ms == PENDING.watched_ms + 300_000


def test_a_failed_generation_is_asked_for_again_while_attempts_are_left():
    steps = [query(Failed(WRONG, retryable=True), replace(PENDING, attempts=attempts)) for attempts in (1, 2, 3)]
    assert [step.event for step in steps] == [Event.FAILED_RETRY, Event.FAILED_RETRY, Event.FAILED_LAST]
    assert [step.wait_ms for step in steps] == [1_000, 2_000, 0]
    assert (steps[2].ending.outcome, steps[2].ending.problem) == (Outcome.FAILED, WRONG)
    assert steps[2].record.generation_id == "task-1"


def test_a_generation_that_failed_goes_to_the_log_with_its_id():
    record = query(Failed(WRONG, retryable=True)).record
    assert record.log == (Attempt("task-1", 5, Outcome.FAILED),)
    assert (record.generation_id, record.submitted_at, record.possible_duplicate) == (None, None, False)


def test_a_failure_that_will_not_change_is_final():
    step = query(Failed(WRONG, retryable=False))
    assert (step.event, step.state) == (Event.FAILED_LAST, State.DONE)


def test_a_missing_generation_is_believed_after_three_polls_over_a_minute():
    record, at, polls = PENDING, NOW, 0
    while (step := query(Missing(WRONG), record, now_ms=at)).event is Event.NOT_READY:
        record, at, polls = step.record, at + step.wait_ms, polls + 1
        assert (step.state, step.trouble, record.missing) == (State.PENDING, WRONG, polls)
    assert (polls, at - NOW) == (3, 60_000)
    assert (step.event, step.state, step.wait_ms) == (Event.GONE_RESUBMIT, State.READY, 10_000)
    assert step.record.log == (Attempt("task-1", 5, Outcome.UNKNOWN),)
    assert (step.record.possible_duplicate, step.record.resubmits, step.record.generation_id) == (True, 1, None)
    assert (step.record.missing, step.record.missing_since_ms) == (0, 0)


def test_many_missing_polls_within_a_moment_are_not_believed():
    record = replace(PENDING, missing=50, missing_since_ms=NOW - 59_999)
    assert query(Missing(WRONG), record).event is Event.NOT_READY


def test_a_second_generation_that_is_gone_ends_the_row_as_unknown():
    record = replace(PENDING, missing=9, missing_since_ms=1, resubmits=1)
    step = query(Missing(WRONG), record)
    assert (step.event, step.ending.outcome) == (Event.GONE_HOLD, Outcome.UNKNOWN)
    assert step.record.generation_id == "task-1", "the API may find it again, for a collection"


def test_a_throttled_poll_does_not_count_and_holds_back_polls_no_longer_the_older_its_row_is():
    step = query(Throttled(WRONG, 9.0))
    assert (step.event, step.record, step.wait_ms, step.account_wait_ms) == (Event.NOT_READY, PENDING, 9_000, 0)
    assert query(Throttled(WRONG, 0.0)).wait_ms == query(Throttled(WRONG)).wait_ms == 1_000
    assert query(Throttled(WRONG), replace(PENDING, polls=50)).wait_ms == 1_000
    assert step.lane == "polls"


def test_a_key_refused_by_a_poll_blocks_the_account_and_leaves_the_row_pending():
    step = query(AccountRefused(WRONG, polling_works=False))
    assert (step.event, step.record) == (Event.NOT_READY, PENDING)
    assert (step.account_problem, step.polling_works) == (WRONG, False)


def test_answers_that_tell_nothing_end_a_row_one_deadline_after_its_deadline_with_its_id_kept():
    watched = replace(PENDING, watched_ms=2 * DEADLINE_MS - 1_000)
    assert query(Trouble(WRONG), watched, now_ms=NOW + 1_000).event is Event.NOT_READY
    step = query(Trouble(WRONG), watched, now_ms=NOW + 1_001)
    assert (step.event, step.state, step.ending.outcome) == (Event.EXPIRED, State.DONE, Outcome.EXPIRED)
    assert (step.record.generation_id, step.record.polls, step.ending.problem) == ("task-1", 2, WRONG)


def test_a_generation_that_is_gone_counts_for_the_guard_and_a_lost_worker_does_not():
    gone = replace(PENDING, missing=9, missing_since_ms=1)
    assert query(Missing(WRONG), gone).like == "gone some_code"
    assert query(Missing(WRONG)).like == "missing"
    assert lost().like == ""


def test_a_recovered_row_that_fails_and_is_asked_again_says_that_it_may_be_paid_twice():
    failed = query(Failed(WRONG, retryable=True), replace(PENDING, recovered=True)).record
    assert (failed.possible_duplicate, failed.recovered) == (True, False)
    last = query(Failed(WRONG, retryable=True), replace(PENDING, recovered=True, attempts=3)).record
    assert not last.possible_duplicate


def test_an_answer_that_tells_nothing_is_asked_for_again_more_and_more_slowly():
    waits = [query(Trouble(WRONG), replace(PENDING, polls=polls)).wait_ms for polls in (0, 3, 5, 50)]
    assert waits == [5_000, 10_000, 30_000, 30_000]
    assert query(Trouble(WRONG)).trouble == WRONG


@pytest.mark.parametrize(("troubles", "seconds"), [(0, 1), (1, 2), (5, 32), (6, 60), (99, 60), (100_000, 60)])
def test_back_off_doubles_up_to_a_bound_and_spreads_by_half(troubles, seconds):
    assert backoff(POLICY, troubles, 0.0) == seconds
    assert backoff(POLICY, troubles, 1.0) == seconds * 1.5


# What a generation that ended tells


YOUNG = replace(PENDING, submitted_at=(NOW - 9_000) * 1000, model="m", watched_ms=0, looked_at_ms=NOW - 4_000)


def test_the_age_at_which_it_was_last_seen_running_is_kept():
    assert query(Running("processing"), YOUNG).record.running_ms == 9_000
    assert submit(Accepted("task-2"), replace(YOUNG, running_ms=9_000)).record.running_ms == 0


@pytest.mark.parametrize("answer", [Trouble(WRONG), Throttled(WRONG), Missing(WRONG)])
def test_a_poll_that_tells_nothing_of_the_generation_does_not_move_it(answer):
    assert query(answer, replace(YOUNG, running_ms=5_000)).record.running_ms == 5_000


def test_its_duration_is_known_as_an_interval_with_its_tokens_and_its_cost():
    answer = Completed(Completion(prompt_tokens=30, completion_tokens=4, cost=0.25))
    assert query(answer, replace(YOUNG, running_ms=5_000)).observed == Observed("m", 5_000, 9_000, 30, 4, 250_000)
    assert query(answer, YOUNG).observed.low_ms == 0


def test_one_that_failed_tells_its_duration_too():
    step = query(Failed(WRONG, retryable=True), YOUNG)
    assert step.observed == Observed("m", 0, 9_000, completed=False)


def test_one_that_an_earlier_ledger_accepted_tells_what_it_cost_and_not_how_long_it_took():
    done = Completed(Completion(prompt_tokens=30, completion_tokens=3))
    seen = query(done, replace(YOUNG, recovered=True)).observed
    assert (seen.prompt_tokens, seen.completion_tokens, seen.high_ms) == (30, 3, 0)
    assert query(done, replace(YOUNG, submitted_at=None)).observed is None


def test_where_the_api_tells_no_cost_it_is_reckoned_by_the_configured_price():
    def cost(completion, **prices):
        answer = Completed(completion)
        step = after_query(
            answer, YOUNG, POLICY, SCHEDULE, now_ms=NOW, troubles=0, chance=0.0, prices={"m": Price(**prices)}
        )
        return step.cost_micro

    assert cost(Completion(prompt_tokens=1_000, completion_tokens=100), input=1.0, output=10.0) == 2_000
    assert cost(Completion(prompt_tokens=1_000, cost=0.5), input=1.0, output=10.0) == 500_000
    assert cost(Completion(), input=1.0, output=10.0) == 0
    assert query(Completed(Completion(prompt_tokens=1_000)), YOUNG).cost_micro == 0


@pytest.mark.parametrize("absurd", [float("nan"), float("inf"), -1.0, 1e6])
def test_a_cost_that_no_honest_answer_has_is_taken_as_not_told(absurd):
    done = Completed(Completion(cost=absurd, prompt_tokens=1_000, completion_tokens=0))
    prices = {"m": Price(1.0, 10.0)}
    step = after_query(done, YOUNG, POLICY, SCHEDULE, now_ms=NOW, troubles=0, chance=0.0, prices=prices)
    assert (query(done, YOUNG).cost_micro, step.cost_micro) == (0, 1_000)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (lambda: submit(Ambiguous(WRONG)), 1),
        (lambda: submit(Ambiguous(WRONG), policy=Policy(on_unknown="hold")), 1),
        (lambda: submit(Throttled(WRONG)), 0),
        (lambda: submit(Refused(WRONG)), 0),
        (lambda: query(Running("x"), replace(PENDING, looked_at_ms=NOW - 100_000)), 1),
        (lambda: query(Failed(WRONG, retryable=True)), 1),
        (lambda: query(Completed(Completion())), 1),
        (lambda: query(Completed(Completion(prompt_tokens=1))), 1),
        (lambda: query(Completed(Completion(completion_tokens=1))), 1),
        (lambda: query(Completed(Completion(cost=0.5))), 1),
        (lambda: query(Completed(Completion(prompt_tokens=1, completion_tokens=0))), 0),
    ],
)
def test_a_row_that_may_have_been_billed_and_never_told_keeps_its_reservation(step, kept):
    assert step().keeps == kept
