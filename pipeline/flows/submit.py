"""Send ready rows: each is claimed with its permit, posted once, and its generation id is recorded."""

from collections.abc import Callable, Sequence

from pipeline.core.answering import Judge, careful
from pipeline.core.answers import Ambiguous, Problem
from pipeline.core.closing import NO_PRICES
from pipeline.core.costs import PriceList
from pipeline.core.late import ADOPTER, late_of
from pipeline.core.lifecycle import Event, State
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.repairs import after_fewer_repairs, repair_body
from pipeline.core.requests import asked_in
from pipeline.core.steps import WORKER_LOST, Step
from pipeline.core.submitting import Sent, after_late_answer, after_late_id, after_lost_post, after_submit
from pipeline.flows.committing import forget
from pipeline.flows.shift import Bench, Hour, Shift
from pipeline.flows.timing import told_when
from pipeline.ports import Api, Claim, Claimed, Clock, Commit, Ledger

CUT = Problem(WORKER_LOST.code, "the worker was told to stop before the API answered; this POST may be billed")
"""Counted by no guard, like the end of a worker: it says nothing of the API."""


async def submit_shift(
    bench: Bench,
    ledger: Ledger,
    api: Api,
    clock: Clock,
    policy: Policy,
    chance: Callable[[], float],
    keep: Callable[[Sequence[Commit]], None] = forget,
    prices: PriceList = NO_PRICES,
    judge: Judge | None = None,
) -> int:
    """Hold one submit shift; the number of rows that it handled. `keep` takes steps that Redis could not be told.

    `prices` and `judge` are for answers that come on the POST itself.
    """
    schedule = parse_schedule(policy.poll)

    async def claim(limit: int) -> Claim:
        return await ledger.claim_submit(bench.run_id, bench.holder, limit)

    async def act(row: Claimed, hour: Hour, troubles: int) -> Step:
        if (ended := after_fewer_repairs(row.record, policy, hour.now_ms())) is not None:
            return ended
        body = repair_body(row.body, row.record.unfit)
        sent = Sent(row.row_index, hour.now_ms(), *asked_in(body))
        try:
            answer = await api.submit(body)
        except Exception as error:  # noqa: BLE001 - whatever failed, the request may be on the wire
            answer = Ambiguous(Problem("internal_error", f"{type(error).__name__} while sending"))
        bench.reach.heard(answer, clock.monotonic(), chance())
        return after_submit(
            answer,
            row.record,
            policy,
            schedule,
            now_ms=hour.now_ms(),
            troubles=troubles,
            chance=chance(),
            sent=sent,
            prices=prices,
            judge=careful(judge),
        )

    def cut(row: Claimed, hour: Hour) -> Step:
        return after_lost_post(
            row.record, policy, CUT, now_ms=hour.now_ms(), sent_at_ms=row.claimed_at_ms or hour.now_ms(), token=None
        )

    in_hand: dict[int, Claimed] = {}

    async def stale(commit: Commit) -> None:
        if commit.step.event is Event.COMPLETED:
            await end_late(bench, ledger, commit, in_hand)
        elif commit.step.event is Event.ACCEPTED and not await adopt(bench, ledger, commit, in_hand):
            keep([commit])  # the run ended without this worker, and its ledger can't note the id any more

    async with told_when(schedule, bench.run_id, ledger, clock):
        return await Shift(bench, ledger, clock, State.SUBMITTING).work(claim, act, stale, cut, keep)


async def end_late(bench: Bench, ledger: Ledger, late: Commit, in_hand: dict[int, Claimed]) -> None:
    """End a row that was given up but not yet resent with the answer that its POST brought after all.

    A row that went on has owned up to that POST. `in_hand` is as for `adopt`.
    """
    taken = await _taken(bench, ledger, late.row_index, in_hand)
    if taken is None:
        return
    step = after_late_answer(taken.record, late.step, late.token)
    if step is None:
        await ledger.put_back(bench.run_id, taken)
    else:
        await ledger.commit(bench.run_id, [Commit(late.row_index, taken.token, step)])
    in_hand.pop(late.row_index, None)


async def _taken(bench: Bench, ledger: Ledger, row_index: int, in_hand: dict[int, Claimed]) -> Claimed | None:
    """A ready row, taken in hand: by this, or by an earlier try."""
    taken = in_hand.get(row_index) or await ledger.take_ready(bench.run_id, f"{bench.holder}{ADOPTER}", row_index)
    if taken is not None:
        in_hand[row_index] = taken
    return taken


async def adopt(bench: Bench, ledger: Ledger, late: Commit, in_hand: dict[int, Claimed]) -> bool:
    """Take up an id whose row was given up but not yet resent; else note the id, since it was paid for.

    False when the ledger can't note it: the run is finished or forgotten. May be tried again after LedgerUnavailable:
    `in_hand` keeps the row that an earlier try had already taken.
    """
    taken = await _taken(bench, ledger, late.row_index, in_hand)
    known = await _take_up_or_note(bench.run_id, ledger, late, taken)
    in_hand.pop(late.row_index, None)
    return known


async def _take_up_or_note(run_id: str, ledger: Ledger, late: Commit, taken: Claimed | None) -> bool:
    step = after_late_id(taken.record, late.step.record, late.token) if taken else None
    if taken is not None and step is not None:
        if all(await ledger.commit(run_id, [Commit(late.row_index, taken.token, step)])):
            return True
    elif taken is not None:
        await ledger.put_back(run_id, taken)
    return await ledger.note_late(run_id, late_of(late.row_index, late.step.record))
