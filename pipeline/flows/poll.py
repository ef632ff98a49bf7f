"""Ask for generations whose poll is due; those that ended leave the ledger for the writer."""

from collections.abc import Callable

from pipeline.core.answering import Judge, careful
from pipeline.core.answers import Problem, Trouble
from pipeline.core.closing import NO_PRICES
from pipeline.core.costs import PriceList
from pipeline.core.following import is_followed, left_open
from pipeline.core.lifecycle import State
from pipeline.core.policy import FOLLOWS, Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.retries import after_query
from pipeline.core.steps import Step
from pipeline.flows.following import followed
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
    """Hold one poll shift; the number of rows that it handled. `judge` says which answers are fit.

    Streams are followed until the shift ends: those that go on are left to the next one.
    """
    schedule = parse_schedule(policy.poll)
    follows = policy.mode in FOLLOWS

    async def claim(limit: int) -> Claim:
        return await ledger.claim_polls(bench.run_id, bench.holder, limit)

    async def act(row: Claimed, hour: Hour, troubles: int) -> Step:
        record = row.record
        try:
            if is_followed(record, policy, hour.now_ms()):
                answer, record = await followed(api, clock, record, hour.now_ms)
            else:
                answer = await api.query(record.generation_id or "")
        except Exception as error:  # noqa: BLE001 - one row's answer must not end the shift
            answer = Trouble(Problem("internal_error", f"{type(error).__name__} while polling"))
        bench.reach.heard(answer, clock.monotonic(), chance())
        return after_query(
            answer,
            record,
            policy,
            schedule,
            now_ms=hour.now_ms(),
            troubles=troubles,
            chance=chance(),
            prices=prices,
            judge=careful(judge),
        )

    async def stale(_: Commit) -> None:
        """Another worker polls this row now; what we saw, it will see."""

    def left(row: Claimed, _hour: Hour) -> Step | None:
        return left_open(row.record) if follows else None

    async with told_when(schedule, bench.run_id, ledger, clock):
        return await Shift(bench, ledger, clock, State.PENDING, patient=not follows).work(claim, act, stale, left)
