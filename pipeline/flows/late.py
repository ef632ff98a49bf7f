"""Ask for generations whose row went on without them: they were paid for, so their tokens are counted."""

import asyncio

from pipeline.core.answers import Problem, Throttled, Trouble
from pipeline.core.closing import NO_PRICES
from pipeline.core.costs import PriceList
from pipeline.core.late import LateId, asked_again, used_late
from pipeline.core.policy import Policy
from pipeline.flows.shift import LOOK_S, PACED_WAIT_S, Bench
from pipeline.ports import Api, Clock, LateClaim, Ledger

MOST = 64
"""Late ids that one poll shift asks for at a time."""


async def late_shift(
    bench: Bench, ledger: Ledger, api: Api, clock: Clock, policy: Policy, prices: PriceList = NO_PRICES
) -> int:
    """Ask for late ids as long as some are due and polls are allowed in the time of a shift; how many there were."""
    ends = clock.monotonic() + bench.seconds
    asking: set[asyncio.Task[None]] = set()
    asked = 0
    try:
        while not bench.stop() and (left_s := ends - clock.monotonic()) > 0:
            wait_s = LOOK_S
            for task in [task for task in asking if task.done()]:
                asking.discard(task)
                task.result()
            if room := MOST - len(asking):
                claim = await ledger.claim_late(bench.run_id, room)
                asked += len(claim.ids)
                asking |= _asked(claim, bench.run_id, ledger, api, policy, prices)
                wait_s = claim.wait_ms / 1000
                if not wait_s or wait_s > left_s:
                    break
            # who waits for long looks now and then: a stop is not slept through
            await clock.sleep(min(max(PACED_WAIT_S, wait_s), LOOK_S))
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return asked


def _asked(
    claim: LateClaim, run_id: str, ledger: Ledger, api: Api, policy: Policy, prices: PriceList
) -> set[asyncio.Task[None]]:
    async def ask(late: LateId) -> None:
        try:
            answer = await api.query(late.generation_id)
        except Exception as error:  # noqa: BLE001 - one answer must not end the others
            answer = Trouble(Problem("internal_error", f"{type(error).__name__} while polling"))
        settled, wait_ms = asked_again(late, answer, policy, claim.now_ms)
        throttled = isinstance(answer, Throttled)
        await ledger.settle_late(run_id, late, settled, wait_ms, used_late(settled, prices), throttled=throttled)

    return {asyncio.create_task(ask(late)) for late in claim.ids}
