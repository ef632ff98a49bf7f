"""What several answers come to: a back-off, a closed attempt, an answer that ends its row or is asked for again.

For `submitting` and `retries`, which decide by the answer. Each `source` is the state in which the answer came: pending
after a poll, submitting where the POST itself brought it.
"""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

from pipeline.core.answering import CarefulJudge
from pipeline.core.answers import Completion, Problem
from pipeline.core.costs import PriceList, in_micro, price_of
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.observations import ended_observed
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, Ending, RowRecord, changed, with_attempt
from pipeline.core.recovery import is_held
from pipeline.core.repairs import is_repaired, to_repair, with_best
from pipeline.core.steps import Step

NO_PRICES: PriceList = MappingProxyType({})


def completed_step(
    source: State,
    record: RowRecord,
    policy: Policy,
    completion: Completion,
    age_ms: int,
    now_ms: int,
    prices: PriceList,
    judge: CarefulJudge | None,
) -> Step:
    """The step of a row whose generation completed `age_ms` after its acceptance."""
    cost = price_of(completion, prices, record.model)
    used = (completion.prompt_tokens or 0, completion.completion_tokens or 0, in_micro(cost))
    step = partial(Step, source, observed=ended_observed(record, age_ms, used), cost_micro=used[2])
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


def failed_step(
    source: State, record: RowRecord, policy: Policy, problem: Problem, *, retryable: bool, now_ms: int, chance: float
) -> Step:
    """The step of a row whose generation failed."""
    tries = record.attempts - record.repairs
    again = retryable and tries < policy.max_attempts
    if not again or is_held(record, policy):
        ending = Ending(Outcome.FAILED, now_ms * 1000, problem=problem)
        ended = replace(record, possible_duplicate=record.possible_duplicate or again)
        return Step(source, Event.FAILED_LAST, ended, ending=ending)
    freed = closed(record, Outcome.FAILED)
    if record.recovered:
        # the attempt that would come now may have been under way when the ledger was lost
        freed = replace(freed, possible_duplicate=True, recovered=False)
    return Step(source, Event.FAILED_RETRY, freed, ms(backoff(policy, tries - 1, chance)))


def by_best(step: Step) -> Step:
    """A row with an answer that was asked for again ends with that, however the repair ended."""
    if step.ending is None or step.record.unfit is None:
        return step
    record, ending = with_best(step.record, step.ending)
    return replace(step, record=record, ending=ending)


def closed(record: RowRecord, outcome: Outcome) -> RowRecord:
    """The record with its generation moved to the attempt log, free for another attempt."""
    attempt = Attempt(record.generation_id, record.submitted_at or 0, outcome)
    return replace(with_attempt(record, attempt), generation_id=None, submitted_at=None, missing=0, missing_since_ms=0)


def resubmit_or_hold(
    source: State,
    events: tuple[Event, Event],
    record: RowRecord,
    policy: Policy,
    problem: Problem,
    now_ms: int,
) -> Step:
    """The step of a row of which nobody knows whether it was billed."""
    if policy.on_unknown == "resubmit" and record.resubmits == 0:
        again = replace(record, resubmits=1, possible_duplicate=True)
        return Step(source, events[0], again, wait_ms=ms(policy.lease_s), trouble=problem)
    ending = Ending(Outcome.UNKNOWN, now_ms * 1000, problem=problem)
    return Step(source, events[1], record, ending=ending, trouble=problem)


def backoff(policy: Policy, troubles: int, chance: float) -> float:
    """Seconds: exponential from the first wait, bounded, with up to half as much again of jitter."""
    return min(policy.longest_wait_s, policy.first_wait_s * 2.0 ** min(troubles, 16)) * (1 + chance / 2)


def ms(seconds: float) -> int:
    """Whole milliseconds, not below 0."""
    return max(0, round(seconds * 1000))
