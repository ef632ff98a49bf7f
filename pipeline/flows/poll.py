"""Ask for generations whose poll is due; those that ended leave the ledger for the writer."""

from collections.abc import Callable

from pipeline.core.answering import Judge, Verdict
from pipeline.core.answers import Completion, Problem, Trouble
from pipeline.core.costs import PriceList
from pipeline.core.lifecycle import State
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.retries import NO_PRICES, after_query
from pipeline.core.steps import Step
from pipeline.flows.shift import Bench, Hour, Shift
from pipeline.flows.timing import told_when
from pipeline.ports import Api, Claim, Claimed, Clock, Commit, Ledger


async def poll_shift(
    bench: Bench,
    ledger: Ledger,
    api: Api,
    clock: Clock,
    policy: Policy,
    chance: Callable[[], float],
    prices: PriceList = NO_PRICES,
    judge: Judge | None = None,
) -> int:
    """Hold one poll shift; the number of polls that it made. `judge` says which answers are fit."""
    schedule = parse_schedule(policy.poll)

    def judged(completion: Completion) -> Verdict | None:
        try:
            return judge(completion) if judge else None
        except Exception:  # noqa: BLE001 - an answer that can't be judged is not paid for again
            return None

    async def claim(limit: int) -> Claim:
        return await ledger.claim_polls(bench.run_id, bench.holder, limit)

    async def act(row: Claimed, hour: Hour, troubles: int) -> Step:
        try:
            answer = await api.query(row.record.generation_id or "")
        except Exception as error:  # noqa: BLE001 - one row's answer must not end the shift
            answer = Trouble(Problem("internal_error", f"{type(error).__name__} while polling"))
        return after_query(
            answer,
            row.record,
            policy,
            schedule,
            now_ms=hour.now_ms(),
            troubles=troubles,
            chance=chance(),
            prices=prices,
            judge=judged,
        )

    async def stale(_: Commit) -> None:
        """Another worker polls this row now; what we saw, it will see."""

    async with told_when(schedule, bench.run_id, ledger, clock):
        return await Shift(bench, ledger, clock, State.PENDING).work(claim, act, stale)
