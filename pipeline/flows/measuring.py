"""Look at all that a ledger tells of a fleet, for whoever watches: at most once at a time, and in bounded time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.measures import AccountMeasured, Measured, ScheduleMeasured
from pipeline.core.schedules import FiringState
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.tickets import Role
from pipeline.ports import Clock, Ledger, Schedules, Store

READ_S = 8.0
"""Less than the ten seconds that Prometheus waits for an answer."""

FRESH_S = 1.0
"""Who asks again so soon is told the same: several who watch cost Redis no more than one."""

LAST_FIRINGS = 20
"""Among so many firings that are over one should have ended, and not been skipped."""


async def measure(ledger: Ledger, store: Store, schedules: Schedules | None, clock: Clock) -> Measured:
    """All that is to be seen now. LedgerUnavailable when Redis is away."""
    began = clock.monotonic()
    server = await store.measured()
    runs = [run for run_id in await ledger.active_runs() if (run := await _run(ledger, run_id)) is not None]
    accounts = {
        name: AccountMeasured(await ledger.account_seen(name), await ledger.account_counts(name))
        for name in sorted({*await ledger.accounts(), *(run.account for run in runs)})
    }
    workers, capacity, others = Counter[str](), Counter[str](), 0
    for worker in await ledger.workers():
        others += not worker.roles
        workers.update(worker.roles)
        capacity.update({role: worker.shifts_of(role) for role in worker.roles})
    beat = await ledger.last_beat()
    return Measured(
        store=server,
        runs=runs,
        accounts=accounts,
        workers=workers,
        capacity=capacity,
        others=others,
        queued={role: await store.queued(role) for role in Role},
        beat=None if beat is None else (beat.holder, beat.at_ms),
        schedules=await _schedules(schedules),
        read_s=clock.monotonic() - began,
    )


async def _run(ledger: Ledger, run_id: str) -> RunSnapshot | None:
    """How a run stands; nothing for one of another version of vidbatch, or that was forgotten just now."""
    try:
        return await ledger.snapshot(run_id)
    except LedgerMismatch:
        return None


async def _schedules(schedules: Schedules | None) -> list[ScheduleMeasured]:
    if schedules is None:
        return []
    found: list[ScheduleMeasured] = []
    for book in await schedules.books():
        over = await schedules.history(book.schedule.name, LAST_FIRINGS)
        ended = next((firing for firing in over if firing.state is FiringState.ENDED), None)
        found.append(ScheduleMeasured(book, over[0] if over else None, ended))
    return found


class Watcher:
    """Answers with what was seen a moment ago, or looks; nothing while Redis is away or too slow.

    `told` hears of each look what went wrong, or nothing: an error must not take the answer away from who watches.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Measured]], clock: Clock, told: Callable[[Exception | None], None]
    ) -> None:
        self._look = look
        self._clock = clock
        self._told = told
        self._one_at_a_time = asyncio.Lock()
        self._seen: Measured | None = None
        self._seen_at = float("-inf")

    async def __call__(self) -> Measured | None:
        """What is to be seen."""
        async with self._one_at_a_time:
            if self._clock.monotonic() - self._seen_at >= FRESH_S:
                self._seen = await self._looked()
                self._seen_at = self._clock.monotonic()
            return self._seen

    async def _looked(self) -> Measured | None:
        try:
            async with asyncio.timeout(READ_S):
                seen = await self._look()
        except TimeoutError:
            self._told(LedgerUnavailable(f"Redis did not tell all within {READ_S:g} s"))
        except Exception as error:  # noqa: BLE001 - an answer that says "down" is better than none
            self._told(error)
        else:
            self._told(None)
            return seen
        return None
