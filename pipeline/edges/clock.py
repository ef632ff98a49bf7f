"""The machine's clocks: the one place that reads them for the flows."""

import asyncio
import time
from datetime import datetime


class MachineClock:
    """Implements `ports.Clock`."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


def time_of_day_us() -> int:
    """µs since 1970, by this machine's clock."""
    return time.time_ns() // 1_000


def unix_seconds() -> float:
    """Seconds since 1970, by this machine's clock."""
    return time.time()


def local_now() -> datetime:
    """The time of day by this machine's clock, with its time zone."""
    return datetime.now().astimezone()


def local_time(wall: datetime) -> datetime:
    """The instant that a time on the wall means here: of two, where clocks are put back, the first one."""
    return wall.astimezone()
