"""What becomes of a row after a poll, or after a look at its stream; arguments and waits are as in `submitting`."""

from dataclasses import replace
from functools import partial

from pipeline.core.answering import CarefulJudge
from pipeline.core.answers import (
    UNREACHABLE,
    AccountRefused,
    Completed,
    Failed,
    Missing,
    Problem,
    QueryAnswer,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.closing import NO_PRICES, backoff, by_best, closed, completed_step, failed_step, ms, resubmit_or_hold
from pipeline.core.costs import PriceList
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.observations import ended_observed, unending_observed
from pipeline.core.policy import Policy
from pipeline.core.polling import Schedule
from pipeline.core.records import Ending, RowRecord, changed
from pipeline.core.steps import MISSING, Step


def after_query(
    answer: QueryAnswer,
    record: RowRecord,
    policy: Policy,
    schedule: Schedule,
    *,
    now_ms: int,
    troubles: int,
    chance: float,
    prices: PriceList = NO_PRICES,
    judge: CarefulJudge | None = None,
) -> Step:
    """The step after a poll; `prices` are used where the API does not tell what an answer cost.

    `judge` is asked only where answers may be asked for again, or were.
    """
    age_ms = _age_ms(record, now_ms)
    usual_s = schedule.delay(record.polls, age_ms / 1000, record.model, chance)
    gap = min(now_ms - record.looked_at_ms, ms(max(policy.longest_gap_s, 2 * usual_s)))
    watched = record.watched_ms + max(0, gap)
    asked = changed(record, polls=record.polls + 1, watched_ms=watched, looked_at_ms=now_ms)
    here = State.PENDING
    next_s = partial(schedule.delay, asked.polls, age_ms / 1000, record.model, chance)
    match answer:
        case Completed(completion=completion):
            return completed_step(here, asked, policy, completion, age_ms, now_ms, prices, judge)
        case Failed(problem=problem, retryable=retryable):
            step = failed_step(here, asked, policy, problem, retryable=retryable, now_ms=now_ms, chance=chance)
            return by_best(replace(step, observed=ended_observed(asked, age_ms)))
        case Missing(problem=problem):
            return by_best(_after_missing(asked, policy, next_s(), problem, now_ms))
        case Running():
            if watched > policy.generation_deadline_s * 1000:
                late = Problem("deadline", f"not ready after it was watched for {policy.generation_deadline_s:g} s")
                ending = Ending(Outcome.EXPIRED, now_ms * 1000, problem=late)
                return by_best(
                    Step(here, Event.EXPIRED, asked, ending=ending, observed=unending_observed(asked, age_ms))
                )
            calm = changed(asked, missing=0, missing_since_ms=0, running_ms=age_ms)
            return Step(here, Event.NOT_READY, calm, ms(next_s()))
        case Throttled(problem=problem, retry_after=retry_after):
            # it holds back everybody's polls: how often this row was asked for says nothing of that
            wait = retry_after or backoff(policy, troubles, chance)
            return Step(here, Event.NOT_READY, record, ms(wait), trouble=problem, lane="polls")
        case AccountRefused(problem=problem):
            # Polls that the key can't make say nothing of the generation; the row waits where it is.
            return Step(
                here,
                Event.NOT_READY,
                record,
                ms(policy.first_wait_s),
                account_problem=problem,
                polling_works=False,
                trouble=problem,
            )
        case Trouble(problem=problem):
            if watched > 2 * policy.generation_deadline_s * 1000:
                ending = Ending(Outcome.EXPIRED, now_ms * 1000, problem=problem)
                return by_best(Step(here, Event.EXPIRED, asked, ending=ending))
            troubled = 0.0 if problem.code == UNREACHABLE else backoff(policy, min(asked.polls, 6), chance) / 2
            wait = max(next_s(), troubled)  # a worker that does not reach the API leaves the row to others
            return Step(here, Event.NOT_READY, asked, ms(wait), trouble=problem)


def _age_ms(record: RowRecord, now_ms: int) -> int:
    """How long ago the generation was accepted."""
    return 0 if record.submitted_at is None else max(0, now_ms - record.submitted_at // 1000)


def _after_missing(record: RowRecord, policy: Policy, next_s: float, problem: Problem, now_ms: int) -> Step:
    since = record.missing_since_ms or now_ms
    missed = replace(record, missing=record.missing + 1, missing_since_ms=since)
    if missed.missing < policy.missing_polls or now_ms - since < policy.missing_for_s * 1000:
        wait = max(next_s, policy.missing_for_s / policy.missing_polls)
        return Step(State.PENDING, Event.NOT_READY, missed, ms(wait), trouble=problem, like=MISSING)
    gone = closed(missed, Outcome.UNKNOWN)
    step = resubmit_or_hold(State.PENDING, (Event.GONE_RESUBMIT, Event.GONE_HOLD), gone, policy, problem, now_ms)
    if step.event is Event.GONE_HOLD:
        step = replace(step, record=missed)  # its id stays with the row: the API may find it again, for `collect`
    return replace(step, like=f"gone {problem.code}")
