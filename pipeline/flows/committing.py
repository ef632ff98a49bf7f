"""Steps go to the ledger in groups: what a crash can lose is at most one group of a process.

While one group is under way the next one gathers, so groups grow by themselves when Redis is slow. While Redis is away
a group is kept and offered again; its tokens make a second arrival harmless.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.core.errors import LedgerUnavailable
from pipeline.ports import Clock, Commit, Ledger

GROUP_S = 0.005
"""How long the first step of a group waits for others."""

GROUP_ROWS = 64
"""The most steps in one group."""

AWAY_WAIT_S = 0.25


class Committer:
    """Commits what is added, in order; `released` hears of every row that is recorded, `stale` of refused steps."""

    def __init__(
        self,
        run_id: str,
        ledger: Ledger,
        clock: Clock,
        released: Callable[[int], None],
        stale: Callable[[Commit], Awaitable[None]],
    ) -> None:
        self._run_id = run_id
        self._ledger = ledger
        self._clock = clock
        self._released = released
        self._stale = stale
        self._waiting: list[Commit] = []
        self._added = asyncio.Event()
        self._closed = False

    def add(self, commit: Commit) -> None:
        """Queue one step."""
        self._waiting.append(commit)
        self._added.set()

    def close(self) -> None:
        """No more steps will come: `run` returns once all are recorded."""
        self._closed = True
        self._added.set()

    async def run(self) -> None:
        """Commit groups until closed and empty."""
        while self._waiting or not self._closed:
            if not self._waiting:
                self._added.clear()
                await self._added.wait()
                continue
            if not self._closed and len(self._waiting) < GROUP_ROWS:
                await self._clock.sleep(GROUP_S)
            group, self._waiting = self._waiting[:GROUP_ROWS], self._waiting[GROUP_ROWS:]
            await self._commit(group)

    async def _commit(self, group: list[Commit]) -> None:
        applied = await self._offer(group)
        for commit, was_applied in zip(group, applied, strict=True):
            self._released(commit.row_index)
            if not was_applied:
                await self._tell_stale(commit)

    async def _tell_stale(self, commit: Commit) -> None:
        while True:
            try:
                return await self._stale(commit)
            except LedgerUnavailable:
                await self._clock.sleep(AWAY_WAIT_S)

    async def _offer(self, group: list[Commit]) -> list[bool]:
        while True:
            try:
                return await self._ledger.commit(self._run_id, group)
            except LedgerUnavailable:
                await self._clock.sleep(AWAY_WAIT_S)
