"""Leave in time: who was told to stop waits for what is on the wire, but no longer than a deployment waits.

Nothing here is lost by being cut: a POST becomes an outcome that is known to be unknown, anything else is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from pipeline.ports import Clock

LOOK_S = 0.1
"""Between two looks at whether the worker was told to stop."""

ON_THE_WIRE_S = 20.0
"""For so long are answers waited for: most come in time, and of the 30 s to leave in, 10 remain to record the rest."""


async def told(stop: Callable[[], bool], clock: Clock) -> None:
    """Return once the worker was told to stop."""
    while not stop():
        await clock.sleep(LOOK_S)


async def unless_cut(work: Awaitable[object], stop: Callable[[], bool], clock: Clock) -> None:
    """Wait for work that anybody may do again; it is cut where the worker has to leave."""
    working = asyncio.ensure_future(work)
    cutting = asyncio.create_task(_cut([working], stop, clock))
    try:
        await asyncio.wait([working])
        if not working.cancelled():
            working.result()
    finally:
        working.cancel()
        cutting.cancel()
        await asyncio.gather(working, cutting, return_exceptions=True)


async def _cut(tasks: Collection["asyncio.Future[Any]"], stop: Callable[[], bool], clock: Clock) -> None:
    await told(stop, clock)
    await clock.sleep(ON_THE_WIRE_S)
    for task in tasks:
        task.cancel()
