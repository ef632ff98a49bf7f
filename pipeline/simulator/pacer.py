"""One timer for everything that is due at a time: thousands of streams cost one wake-up every few milliseconds."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

# What falls due within one step of this grid is done in one wake-up.
_GRID_S = 0.01


class Pacer:
    """Calls back at times of the simulator's clock, a little late and never early; it can't be told to forget."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = 0.0

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Call at this time, or as soon as the loop turns where it has passed."""
        heapq.heappush(self._due, (due, next(self._numbers), call))
        if self._timer is None or due < self._set_for:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._due:
            self._set_for = self._due[0][0]
            wait_s = self._set_for - self._clock()
            delay_s = max(0.0, wait_s) if wait_s <= 0 else max(wait_s, _GRID_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock()
        calls = []
        while self._due and self._due[0][0] <= now:
            calls.append(heapq.heappop(self._due)[2])
        for call in calls:
            call()
        if self._timer is None:
            self._set()

    def close(self) -> None:
        """Call nobody any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
