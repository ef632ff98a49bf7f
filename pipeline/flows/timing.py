"""Hand what was learned of latency to a shift's schedule, again and again while the shift lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.polling import Adaptive, Schedule
from pipeline.core.timetable import read_timetables
from pipeline.ports import Clock, Ledger

TOLD_EVERY_S = 1.0
"""The heartbeat learns every 2 s; a service that changed is followed a second later."""


@asynccontextmanager
async def told_when(schedule: Schedule, run_id: str, ledger: Ledger, clock: Clock) -> AsyncIterator[None]:
    """Keep an adaptive schedule up to date while the block runs; another needs nothing."""
    if not isinstance(schedule, Adaptive):
        yield
        return
    await _tell(schedule, run_id, ledger)
    telling = asyncio.create_task(_keep_told(schedule, run_id, ledger, clock))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _keep_told(schedule: Adaptive, run_id: str, ledger: Ledger, clock: Clock) -> None:
    while True:
        await clock.sleep(TOLD_EVERY_S)
        await _tell(schedule, run_id, ledger)


async def _tell(schedule: Adaptive, run_id: str, ledger: Ledger) -> None:
    """What was known stays while Redis is away, and where another version wrote what can't be read."""
    with suppress(LedgerUnavailable, ValueError, TypeError):
        schedule.timetables = read_timetables(await ledger.timetables(run_id))
