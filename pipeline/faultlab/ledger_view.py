"""The ledger as the lab sees it: looked at from outside, never written but where a fault is to break it."""

from typing import Any

from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import RunKeys
from pipeline.edges.redis_ledger import RedisLedger


class LedgerView:
    """One run's ledger. While Redis is away there is nothing to see: no snapshot, no rows."""

    def __init__(self, url: str) -> None:
        self._ledger = RedisLedger(url)
        self._door = RedisDoor(url)

    async def look(self, run_id: str) -> RunSnapshot | None:
        """How the run stands; nothing while there is none or Redis is away."""
        try:
            return await self._ledger.snapshot(run_id)
        except (LedgerUnavailable, LedgerMismatch):
            return None

    async def rows(self, run_id: str, state: str) -> frozenset[int]:
        """Indexes of the rows in this state: ready, submitting or pending."""
        return frozenset(int(row) for row in await self._members(run_id, state))

    async def held_back(self, run_id: str) -> frozenset[int]:
        """Indexes of the rows that may be sent only later, since they came back."""
        try:
            seconds, _ = await self._door.call("TIME")
            members = await self._door.call("ZRANGEBYSCORE", RunKeys(run_id)("ready"), int(seconds) * 1000, "+inf")
        except LedgerUnavailable:
            return frozenset()
        return frozenset(int(row) for row in members)

    async def holders(self, run_id: str, role: str) -> frozenset[int]:
        """Process ids of the children that hold a shift of this role; a holder is named host-pid-number."""
        return frozenset(int(name.decode().rsplit("-", 2)[1]) for name in await self._members(run_id, f"shifts:{role}"))

    async def command(self, *words: object) -> Any:  # noqa: ANN401 - what Redis returns
        """Tell the server something, to break it or to mend it. LedgerUnavailable when it is away."""
        return await self._door.call(*words)

    async def close(self) -> None:
        """Close the connections."""
        await self._ledger.close()
        await self._door.close()

    async def _members(self, run_id: str, name: str) -> list[bytes]:
        try:
            return list(await self._door.call("ZRANGE", RunKeys(run_id)(name), 0, -1))
        except LedgerUnavailable:
            return []
