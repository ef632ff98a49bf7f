"""Ask for generations whose row went on without them: they were paid for, so their tokens are counted."""

import asyncio

from pipeline.core.answers import Problem, Throttled, Trouble
from pipeline.core.costs import PriceList
from pipeline.core.late import LateId, asked_again, used_late
from pipeline.core.policy import Policy
from pipeline.core.retries import NO_PRICES
from pipeline.ports import Api, Ledger

MOST = 64
"""Late ids that one poll shift asks for at a time."""


async def poll_late(run_id: str, ledger: Ledger, api: Api, policy: Policy, prices: PriceList = NO_PRICES) -> int:
    """Ask once for each late id that is due; how many there were."""
    claim = await ledger.claim_late(run_id, MOST)

    async def ask(late: LateId) -> None:
        try:
            answer = await api.query(late.generation_id)
        except Exception as error:  # noqa: BLE001 - one answer must not end the others
            answer = Trouble(Problem("internal_error", f"{type(error).__name__} while polling"))
        settled, wait_ms = asked_again(late, answer, policy, claim.now_ms)
        throttled = isinstance(answer, Throttled)
        await ledger.settle_late(run_id, late, settled, wait_ms, used_late(settled, prices), throttled=throttled)

    await asyncio.gather(*(ask(late) for late in claim.ids))
    return len(claim.ids)
