"""What becomes of a row after an answer, or after none came: the one place that decides on retries.

Each function returns a `Step`; flows carry it to the ledger and decide nothing. `chance` is a random number in [0, 1)
given by the caller, `now_ms` the Redis server's clock in ms since 1970. A `Retry-After` of 0 says nothing of when to
come back, so the own back-off holds: otherwise every refusal would be answered by a request at once.
"""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

from pipeline.core.answering import CarefulJudge
from pipeline.core.answers import (
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
    QueryAnswer,
    Refused,
    Running,
    SubmitAnswer,
    Throttled,
    Trouble,
)
from pipeline.core.costs import PriceList, in_micro, price_of
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.observations import ended_observed, unending_observed
from pipeline.core.policy import Policy
from pipeline.core.polling import Schedule
from pipeline.core.records import Attempt, Ending, RowRecord, changed, with_attempt
from pipeline.core.recovery import is_held
from pipeline.core.repairs import is_repaired, to_repair, with_best
from pipeline.core.steps import MISSING, Step

NO_PRICES: PriceList = MappingProxyType({})


def after_submit(
    answer: SubmitAnswer,
    record: RowRecord,
    policy: Policy,
    schedule: Schedule,
    *,
    now_ms: int,
    troubles: int,
    chance: float,
    asked: tuple[str, int] = ("", 0),
) -> Step:
    """The step after a POST that asked a model with a `max_tokens`, 0 where it told none.

    `troubles` counts the account's back-offs since anything was accepted.
    """
    model, cap = asked
    here = State.SUBMITTING
    match answer:
        case Accepted(generation_id=generation_id):
            accepted = changed(
                record,
                attempts=record.attempts + 1,
                polls=0,
                generation_id=generation_id,
                submitted_at=now_ms * 1000,
                watched_ms=0,
                looked_at_ms=now_ms,
                missing=0,
                missing_since_ms=0,
                given_up=None,
                model=model,
                running_ms=0,
                cap=cap if policy.repairs else 0,
            )
            return Step(here, Event.ACCEPTED, accepted, _ms(schedule.delay(0, 0.0, model, chance)))
        case Throttled(problem=problem, retry_after=retry_after):
            wait = retry_after or backoff(policy, troubles, chance)
            return Step(
                here, Event.THROTTLED, record, _ms(wait), account_wait_ms=_ms(wait), trouble=problem, lane="posts"
            )
        case NotNow(problem=problem, retry_after=retry_after):
            wait = retry_after or policy.slow_wait_s * (1 + chance)
            return Step(here, Event.THROTTLED, record, _ms(wait), trouble=problem)
        case NothingSent(problem=problem):
            wait = backoff(policy, troubles, chance)
            return Step(here, Event.NOTHING_SENT, record, _ms(wait), account_wait_ms=_ms(wait), trouble=problem)
        case AccountRefused(problem=problem, polling_works=polling_works):
            return Step(
                here,
                Event.ACCOUNT_REFUSED,
                record,
                account_problem=problem,
                polling_works=polling_works,
                trouble=problem,
            )
        case Refused(problem=problem):
            refused = Ending(Outcome.REFUSED, now_ms * 1000, problem=problem)
            return _by_best(Step(here, Event.REFUSED, record, ending=refused))
        case Ambiguous(problem=problem):
            lost = after_lost_post(record, policy, problem, now_ms=now_ms, sent_at_ms=now_ms, token=None)
            # each answer like this may cost a generation: the account slows down as for one that can't be reached
            return replace(lost, account_wait_ms=_ms(backoff(policy, troubles, chance)), doubt=True)


def after_lost_post(
    record: RowRecord, policy: Policy, problem: Problem, *, now_ms: int, sent_at_ms: int, token: str | None
) -> Step:
    """The step of a row whose POST may have been billed: recorded as such before anything else happens to it.

    `token` is the claim of the lost attempt when its worker may still be alive, so that a late answer can be adopted.
    It is resent no sooner than one more lease: a living worker's answer comes first.
    """
    lost = Attempt(None, sent_at_ms * 1000, Outcome.UNKNOWN)
    noted = replace(with_attempt(record, lost), attempts=record.attempts + 1, given_up=token)
    events = (Event.LOST_RESUBMIT, Event.LOST_HOLD)
    return _by_best(_resubmit_or_hold(State.SUBMITTING, events, noted, policy, problem, now_ms))


def after_late_id(taken: RowRecord, late: RowRecord, token: str) -> Step | None:
    """The step of a ready row when an id of it comes late; nothing when the row went on to another attempt.

    `late` is the record as the worker that got the id would have left it, `token` that worker's claim. An attempt that
    was given up is known again, so its entry leaves the log. A ledger that was rolled back has forgotten the attempt.
    """
    if taken.given_up == token:
        log = taken.log[:-1]
        known = replace(late, attempts=taken.attempts, log=log, resubmits=max(0, taken.resubmits - 1), given_up=None)
        again = any(attempt.outcome == Outcome.UNKNOWN for attempt in log)
        return Step(State.READY, Event.ADOPTED, replace(known, possible_duplicate=again), returned=True)
    if taken.attempts < late.attempts:
        return Step(State.READY, Event.ADOPTED, late)
    if taken.recovered and taken.generation_id is None and taken.given_up is None:
        # an earlier ledger was lost with what it knew of the row: this id was paid for, others may have been
        kept = replace(late, attempts=taken.attempts, log=taken.log[:-1], resubmits=1, possible_duplicate=True)
        return Step(State.READY, Event.ADOPTED, replace(kept, recovered=True, given_up=None), returned=True)
    return None


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
    gap = min(now_ms - record.looked_at_ms, _ms(max(policy.longest_gap_s, 2 * usual_s)))
    watched = record.watched_ms + max(0, gap)
    asked = changed(record, polls=record.polls + 1, watched_ms=watched, looked_at_ms=now_ms)
    here = State.PENDING
    next_s = partial(schedule.delay, asked.polls, age_ms / 1000, record.model, chance)
    match answer:
        case Completed(completion=completion):
            return _after_completed(asked, policy, completion, age_ms, now_ms, prices, judge)
        case Failed(problem=problem, retryable=retryable):
            step = _after_failed(asked, policy, problem, retryable=retryable, now_ms=now_ms, chance=chance)
            return _by_best(replace(step, observed=ended_observed(asked, age_ms)))
        case Missing(problem=problem):
            return _by_best(_after_missing(asked, policy, next_s(), problem, now_ms))
        case Running():
            if watched > policy.generation_deadline_s * 1000:
                late = Problem("deadline", f"not ready after it was watched for {policy.generation_deadline_s:g} s")
                ending = Ending(Outcome.EXPIRED, now_ms * 1000, problem=late)
                return _by_best(
                    Step(here, Event.EXPIRED, asked, ending=ending, observed=unending_observed(asked, age_ms))
                )
            calm = changed(asked, missing=0, missing_since_ms=0, running_ms=age_ms)
            return Step(here, Event.NOT_READY, calm, _ms(next_s()))
        case Throttled(problem=problem, retry_after=retry_after):
            # it holds back everybody's polls: how often this row was asked for says nothing of that
            wait = retry_after or backoff(policy, troubles, chance)
            return Step(here, Event.NOT_READY, record, _ms(wait), trouble=problem, lane="polls")
        case AccountRefused(problem=problem):
            # Polls that the key can't make say nothing of the generation; the row waits where it is.
            return Step(
                here,
                Event.NOT_READY,
                record,
                _ms(policy.first_wait_s),
                account_problem=problem,
                polling_works=False,
                trouble=problem,
            )
        case Trouble(problem=problem):
            if watched > 2 * policy.generation_deadline_s * 1000:
                ending = Ending(Outcome.EXPIRED, now_ms * 1000, problem=problem)
                return _by_best(Step(here, Event.EXPIRED, asked, ending=ending))
            wait = max(next_s(), backoff(policy, min(asked.polls, 6), chance) / 2)
            return Step(here, Event.NOT_READY, asked, _ms(wait), trouble=problem)


def _age_ms(record: RowRecord, now_ms: int) -> int:
    """How long ago the generation was accepted."""
    return 0 if record.submitted_at is None else max(0, now_ms - record.submitted_at // 1000)


def _after_completed(
    record: RowRecord,
    policy: Policy,
    completion: Completion,
    age_ms: int,
    now_ms: int,
    prices: PriceList,
    judge: CarefulJudge | None,
) -> Step:
    cost = price_of(completion, prices, record.model)
    used = (completion.prompt_tokens or 0, completion.completion_tokens or 0, in_micro(cost))
    step = partial(Step, State.PENDING, observed=ended_observed(record, age_ms, used), cost_micro=used[2])
    asks = record.repairs < policy.repairs or record.unfit is not None
    verdict = judge(completion) if judge is not None and asks else None
    repaired = verdict is not None and is_repaired(record, verdict, policy)
    if repaired and is_held(record, policy):
        record = changed(record, possible_duplicate=True)
    elif repaired and verdict is not None:
        again = to_repair(record, completion, verdict, now_ms * 1000, cost)
        return step(Event.UNFIT, again, answer=completion)
    ending = Ending(Outcome.COMPLETED, now_ms * 1000, completion=completion)
    kept, best = with_best(record, ending, verdict.status if verdict else None, cost)
    return step(Event.COMPLETED, kept, ending=best, answer=None if best is ending else completion)


def _by_best(step: Step) -> Step:
    """A row with an answer that was asked for again ends with that, however the repair ended."""
    if step.ending is None or step.record.unfit is None:
        return step
    record, ending = with_best(step.record, step.ending)
    return replace(step, record=record, ending=ending)


def _after_failed(
    record: RowRecord, policy: Policy, problem: Problem, *, retryable: bool, now_ms: int, chance: float
) -> Step:
    tries = record.attempts - record.repairs
    again = retryable and tries < policy.max_attempts
    if not again or is_held(record, policy):
        ending = Ending(Outcome.FAILED, now_ms * 1000, problem=problem)
        ended = replace(record, possible_duplicate=record.possible_duplicate or again)
        return Step(State.PENDING, Event.FAILED_LAST, ended, ending=ending)
    closed = _closed(record, Outcome.FAILED)
    if record.recovered:
        # the attempt that would come now may have been under way when the ledger was lost
        closed = replace(closed, possible_duplicate=True, recovered=False)
    return Step(State.PENDING, Event.FAILED_RETRY, closed, _ms(backoff(policy, tries - 1, chance)))


def _after_missing(record: RowRecord, policy: Policy, next_s: float, problem: Problem, now_ms: int) -> Step:
    since = record.missing_since_ms or now_ms
    missed = replace(record, missing=record.missing + 1, missing_since_ms=since)
    if missed.missing < policy.missing_polls or now_ms - since < policy.missing_for_s * 1000:
        wait = max(next_s, policy.missing_for_s / policy.missing_polls)
        return Step(State.PENDING, Event.NOT_READY, missed, _ms(wait), trouble=problem, like=MISSING)
    gone = _closed(missed, Outcome.UNKNOWN)
    step = _resubmit_or_hold(State.PENDING, (Event.GONE_RESUBMIT, Event.GONE_HOLD), gone, policy, problem, now_ms)
    if step.event is Event.GONE_HOLD:
        step = replace(step, record=missed)  # its id stays with the row: the API may find it again, for `collect`
    return replace(step, like=f"gone {problem.code}")


def _resubmit_or_hold(
    source: State,
    events: tuple[Event, Event],
    record: RowRecord,
    policy: Policy,
    problem: Problem,
    now_ms: int,
) -> Step:
    if policy.on_unknown == "resubmit" and record.resubmits == 0:
        again = replace(record, resubmits=1, possible_duplicate=True)
        return Step(source, events[0], again, wait_ms=_ms(policy.lease_s), trouble=problem)
    ending = Ending(Outcome.UNKNOWN, now_ms * 1000, problem=problem)
    return Step(source, events[1], record, ending=ending, trouble=problem)


def _closed(record: RowRecord, outcome: Outcome) -> RowRecord:
    """The record with its generation moved to the attempt log, free for another attempt."""
    attempt = Attempt(record.generation_id, record.submitted_at or 0, outcome)
    return replace(with_attempt(record, attempt), generation_id=None, submitted_at=None, missing=0, missing_since_ms=0)


def backoff(policy: Policy, troubles: int, chance: float) -> float:
    """Seconds: exponential from the first wait, bounded, with up to half as much again of jitter."""
    return min(policy.longest_wait_s, policy.first_wait_s * 2.0 ** min(troubles, 16)) * (1 + chance / 2)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
