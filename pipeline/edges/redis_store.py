"""The Redis server as it looks from outside: its speed, its clock, and what it says of itself."""

import time
from contextlib import suppress
from typing import Any

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.measures import StoreMeasured
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_facts import read_info
from pipeline.edges.redis_keys import QUEUES


class RedisStore:
    """Implements `ports.Store`."""

    def __init__(self, url: str) -> None:
        self._door = RedisDoor(url)

    async def measured(self) -> StoreMeasured:
        """How fast it answers, its clock beside ours, and what it says of itself."""
        await self._door.call("PING")  # the first command opens the connection, which is not to be measured
        began, began_ns = time.perf_counter(), time.time_ns()
        seconds, micro = await self._door.call("TIME")
        took_s = time.perf_counter() - began
        host_ms = began_ns // 1_000_000 + round(took_s * 500)
        info: dict[str, Any] = {}
        with suppress(LedgerUnavailable):  # a user of Redis who may do little may not be allowed this
            info = read_info(await self._door.call("INFO"))
        return StoreMeasured(int(seconds) * 1000 + int(micro) // 1000, host_ms, took_s, info)

    async def queued(self, role: str) -> int:
        """Tickets that wait in a role's queue."""
        return int(await self._door.call("LLEN", f"{QUEUES}{role}"))

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()
