"""Steps go to the ledger in groups: what a crash can lose is at most one group of a process.

While one group is under way the next one gathers, so groups grow by themselves when Redis is slow. While Redis is away
a group is offered again; its tokens make a second arrival harmless. When that takes longer than a shift may wait, or
the worker has to leave, its steps are kept elsewhere (`keep`): what was paid for must not end with a process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from pipeline.core.errors import LedgerUnavailable
from pipeline.ports import Clock, Commit, Ledger

GATHER_S = 0.02
"""How long the first step of a group waits for others: each group costs as much as several rows, here and in Redis."""

GROUP_ROWS = 64
"""The most steps in one group."""

ENOUGH_ROWS = 32
"""A group of so many waits for no more: what waits here is known to nobody else."""

AWAY_WAIT_S = 0.25

AWAY_S = 120.0
"""Redis may be away for so long; a shift that waits for longer would be ended from outside, with all that it knows."""

HURRY_S = 3.0
"""The same when the worker was told to stop: enough for Redis to start again, little of the 30 s to leave in."""

_T = TypeVar("_T")


def forget(_: Sequence[Commit]) -> None:
    """Keep nothing: what a poll saw, the next one will see."""


def untold(_: Sequence[Commit]) -> None:
    """Tell nobody which steps were recorded."""


class Committer:
    """Commits what is added, in order; `released` hears of every row that is out of hand, `stale` of refused steps.

    `keep` takes the steps that the ledger could not be told in time, `recorded` hears of the others.
    """

    def __init__(
        self,
        run_id: str,
        ledger: Ledger,
        clock: Clock,
        released: Callable[[Commit], None],
        stale: Callable[[Commit], Awaitable[None]],
        keep: Callable[[Sequence[Commit]], None] = forget,
        gather_s: float = GATHER_S,
        recorded: Callable[[Sequence[Commit]], None] = untold,
    ) -> None:
        self._run_id = run_id
        self._ledger = ledger
        self._clock = clock
        self._released = released
        self._stale = stale
        self._keep = keep
        self._gather_s = gather_s
        self._recorded = recorded
        self._waiting: list[Commit] = []
        self._added = asyncio.Event()
        self._enough = asyncio.Event()
        self._closed = False
        self._hurried_at: float | None = None
        self._away_since: float | None = None
        self._left = False
        self._asking: asyncio.Timeout | None = None

    def add(self, commit: Commit) -> None:
        """Queue one step."""
        self._waiting.append(commit)
        self._added.set()
        if len(self._waiting) >= ENOUGH_ROWS:
            self._enough.set()

    def close(self) -> None:
        """No more steps will come: `run` returns once all are recorded or kept."""
        self._closed = True
        self._added.set()
        self._enough.set()

    def hurry(self) -> None:
        """The worker was told to stop: from now on there are seconds, and not minutes, for Redis to come back."""
        self._hurried_at = self._clock.monotonic()
        if self._asking is not None:
            # a frozen server answers nothing for as long as a socket's timeout
            self._asking.reschedule(asyncio.get_running_loop().time() + HURRY_S)

    async def run(self) -> None:
        """Commit groups until closed and empty."""
        while self._waiting or not self._closed:
            if not self._waiting:
                self._added.clear()
                await self._added.wait()
                continue
            if not self._closed and len(self._waiting) < ENOUGH_ROWS:
                await self._gather()
            group, self._waiting = self._waiting[:GROUP_ROWS], self._waiting[GROUP_ROWS:]
            await self._commit(group)

    async def _gather(self) -> None:
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gather_s):
                await self._enough.wait()

    async def _commit(self, group: list[Commit]) -> None:
        try:
            applied = await self._insist(partial(self._ledger.commit, self._run_id, group))
        except LedgerUnavailable:
            self._keep(group)
            applied = [True] * len(group)
        else:
            self._recorded([commit for commit, was_applied in zip(group, applied, strict=True) if was_applied])
        for commit, was_applied in zip(group, applied, strict=True):
            self._released(commit)
            if not was_applied:
                await self._tell_stale(commit)

    async def _tell_stale(self, commit: Commit) -> None:
        try:
            await self._insist(partial(self._stale, commit))
        except LedgerUnavailable:
            self._keep([commit])

    async def _insist(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask until the ledger answers. LedgerUnavailable once it was away for longer than there is time."""
        while not self._left:
            begun = self._clock.monotonic()
            try:
                async with asyncio.timeout(None if self._hurried_at is None else HURRY_S) as self._asking:
                    answer = await ask()
            except (LedgerUnavailable, TimeoutError):
                self._left = self._waited_enough(begun)
                if not self._left:
                    await self._clock.sleep(AWAY_WAIT_S)
            else:
                self._away_since = None
                return answer
            finally:
                self._asking = None
        raise LedgerUnavailable("Redis was away for longer than a shift may wait")

    def _waited_enough(self, begun: float) -> bool:
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = begun
        if self._hurried_at is None:
            return now - self._away_since >= AWAY_S
        return now - max(self._away_since, self._hurried_at) >= HURRY_S
