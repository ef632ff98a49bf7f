"""What becomes of a row after its POST was answered, or was not: the rules of sending.

Each function returns a `Step`; flows carry it to the ledger and decide nothing. `chance` is a random number in [0, 1)
given by the caller, `now_ms` the Redis server's clock in ms since 1970. A `Retry-After` of 0 says nothing of when to
come back, so the own back-off holds: otherwise every refusal would be answered by a request at once.
"""

from dataclasses import dataclass, replace

from pipeline.core.answering import CarefulJudge
from pipeline.core.answers import (
    UNREACHABLE,
    Accepted,
    AccountRefused,
    Ambiguous,
    Answered,
    Failed,
    NothingSent,
    NotNow,
    Problem,
    Refused,
    SubmitAnswer,
    Throttled,
)
from pipeline.core.budget import tells_usage
from pipeline.core.closing import NO_PRICES, backoff, by_best, completed_step, failed_step, ms, resubmit_or_hold
from pipeline.core.costs import PriceList
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.observations import ended_observed
from pipeline.core.policy import FOLLOWS, Policy
from pipeline.core.polling import Schedule
from pipeline.core.records import Attempt, Ending, RowRecord, changed, with_attempt
from pipeline.core.steps import Step


@dataclass(frozen=True, slots=True)
class Sent:
    """One POST: of which row, when it was begun (ms since 1970), and what model it asked with what `max_tokens`."""

    row_index: int = 0
    at_ms: int = 0
    model: str = ""
    cap: int = 0


def after_submit(
    answer: SubmitAnswer,
    record: RowRecord,
    policy: Policy,
    schedule: Schedule,
    *,
    now_ms: int,
    troubles: int,
    chance: float,
    sent: Sent = Sent(),
    prices: PriceList = NO_PRICES,
    judge: CarefulJudge | None = None,
) -> Step:
    """The step after a POST. `troubles` counts the account's back-offs since anything was accepted.

    `prices` and `judge` are used as after a poll, where the POST itself brought the answer.
    """
    here = State.SUBMITTING
    match answer:
        case Accepted(generation_id=generation_id, stream=stream):
            accepted = changed(_accepted(record, policy, sent, generation_id, now_ms), stream=stream)
            follows = policy.mode in FOLLOWS
            return Step(
                here, Event.ACCEPTED, accepted, 0 if follows else ms(schedule.delay(0, 0.0, sent.model, chance))
            )
        case Answered(completion=completion, answer_id=answer_id):
            known = _answered(record, policy, sent, answer_id)
            return completed_step(here, known, policy, completion, now_ms - sent.at_ms, now_ms, prices, judge)
        case Failed(problem=problem, retryable=retryable):
            known = _answered(record, policy, sent, None)
            step = failed_step(here, known, policy, problem, retryable=retryable, now_ms=now_ms, chance=chance)
            return by_best(replace(step, observed=ended_observed(known, now_ms - sent.at_ms)))
        case Throttled(problem=problem, retry_after=retry_after):
            wait = retry_after or backoff(policy, troubles, chance)
            return Step(
                here, Event.THROTTLED, record, ms(wait), account_wait_ms=ms(wait), trouble=problem, lane="posts"
            )
        case NotNow(problem=problem, retry_after=retry_after):
            wait = retry_after or policy.slow_wait_s * (1 + chance)
            return Step(here, Event.THROTTLED, record, ms(wait), trouble=problem)
        case NothingSent(problem=problem):
            # others may reach what this host does not: the process that does not holds itself back
            alone = problem.code == UNREACHABLE
            wait = ms(backoff(policy, 0 if alone else troubles, chance))
            held = 0 if alone else wait
            return Step(here, Event.NOTHING_SENT, record, wait, account_wait_ms=held, trouble=problem)
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
            return by_best(Step(here, Event.REFUSED, record, ending=refused))
        case Ambiguous(problem=problem):
            lost = after_lost_post(record, policy, problem, now_ms=now_ms, sent_at_ms=now_ms, token=None)
            # each answer like this may cost a generation: the account slows down as for one that can't be reached
            return replace(lost, account_wait_ms=ms(backoff(policy, troubles, chance)), doubt=True)


def _accepted(record: RowRecord, policy: Policy, sent: Sent, generation_id: str, at_ms: int) -> RowRecord:
    """The record of a row whose generation exists since `at_ms`."""
    return changed(
        record,
        attempts=record.attempts + 1,
        polls=0,
        generation_id=generation_id,
        submitted_at=at_ms * 1000,
        watched_ms=0,
        looked_at_ms=at_ms,
        missing=0,
        missing_since_ms=0,
        given_up=None,
        model=sent.model,
        running_ms=0,
        cap=sent.cap if policy.repairs else 0,
        stream="",
    )


def _answered(record: RowRecord, policy: Policy, sent: Sent, answer_id: str | None) -> RowRecord:
    """The record of a row whose POST brought the end of its generation.

    The API's own id of an answer may be any word, the same for all: with the row and the attempt it is one for this
    POST alone, which came over its own connection and can't be another's.
    """
    generation_id = f"{answer_id or 'answer'}#{sent.row_index}.{record.attempts + 1}"
    return _accepted(record, policy, sent, generation_id, sent.at_ms)


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
    return by_best(resubmit_or_hold(State.SUBMITTING, events, noted, policy, problem, now_ms))


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


def after_late_answer(taken: RowRecord, late: Step, token: str) -> Step | None:
    """The step of a ready row when the answer on its POST comes late; nothing when the row went on without it.

    `late` is the step of the worker that got it, `token` that worker's claim. The attempt that was given up is known
    again, so the row ends as if it had never been in doubt.
    """
    if taken.given_up != token or late.ending is None:
        return None
    record = changed(late.record, given_up=None)
    told = late.told is not None and tells_usage(late.told)
    return replace(late, source=State.READY, event=Event.ANSWERED_LATE, record=record, returned=told)
