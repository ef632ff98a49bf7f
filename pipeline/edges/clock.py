"""The machine's clocks: the one place that reads them for the flows."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import available_timezones


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


def local_zone(environment: Mapping[str, str], localtime: Path = Path("/etc/localtime")) -> str | None:
    """The IANA name of this machine's time zone, where one can be told."""
    named = environment.get("TZ", "").lstrip(":")
    if not named:
        _, _, named = str(localtime.resolve()).partition("/zoneinfo/")
    return named if named in available_timezones() else None
