"""Schedules at work: any control worker gives the commands that are due, and closes firings whose run has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from pipeline.core import launches
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.filling import filled
from pipeline.core.holds import EXIT_CODES
from pipeline.core.schedules import Book, Firing, Schedule
from pipeline.core.snapshot import RunState
from pipeline.flows.firing import LOOK_S, Tell, nobody, put
from pipeline.ports import Clock, Launched, Launcher, Ledger, RunEnd, Schedules

MOST_AT_ONCE = 2
"""So many commands one worker gives at a time: each plans a manifest, which keeps a core busy."""

RENEW_S = launches.LEASE_MS / 3000
Change = Callable[[Book, int], Book | None]
"""What a book becomes at a time; nothing where that is not so any more."""

Fail = Callable[[str, Exception], None]
"""Is told which schedule met what."""

_Tasks = dict[str, asyncio.Task[None]]

_HELD = frozenset(EXIT_CODES.values()) - {launches.SYSTEM}

DOUBT_S = 15.0
"""OUT that did not tell what became of a run is asked again after so long: each time takes a process."""

GRACE_S = 5.0
"""A worker with which a command met trouble gives it again so much later than others may: they may see its folder."""

UNKNOWN_S = 600.0
"""A run that neither the ledger nor OUT knows of for so long is given up."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A run of which OUT, as it is seen from here, does not tell what became: since when, and when it is asked next."""

    run_id: str
    since: float
    again: float


class CommandingSchedules:
    """What a control worker does: gives commands that are due, and closes firings whose run has ended."""

    def __init__(
        self,
        schedules: Schedules,
        ledger: Ledger,
        launcher: Launcher,
        clock: Clock,
        holder: str,
        fail: Fail,
        tell: Tell = nobody,
    ) -> None:
        self._tell = tell
        self._schedules = schedules
        self._ledger = ledger
        self._launcher = launcher
        self._clock = clock
        self._holder = holder
        self._fail = fail
        self._launches: _Tasks = {}
        self._looks: _Tasks = {}
        self._giving: dict[str, str] = {}
        self._doubts: dict[str, _Doubt] = {}
        self._steps_back: dict[str, float] = {}

    async def look(self) -> None:
        """Begin what is to be done; it goes on beside. LedgerUnavailable when Redis is away."""
        books = await self._schedules.books()
        now_ms = await self._schedules.now_ms()
        for book in books:
            try:
                await self._claim(book, now_ms)
                await self._look_after_run(book)
            except LedgerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one that is broken must not stop the others
                self._fail(book.schedule.name, error)

    async def leave(self) -> None:
        """End the commands that are being given; the next worker gives them at once."""
        giving, tasks = dict(self._giving), [*self._launches.values(), *self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name, firing_id in giving.items():
            # not in the task itself: one that was cancelled is let do nothing more by whatever waits
            with suppress(LedgerUnavailable):
                await self._change(name, partial(self._released, firing_id))

    async def idle(self) -> None:
        """Wait until nothing that was begun goes on."""
        await asyncio.gather(*self._launches.values(), *self._looks.values())

    def _begin(self, tasks: _Tasks, name: str, work: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever went wrong is looked at again a second later
                self._fail(name, error)
            finally:
                tasks.pop(name, None)

        tasks[name] = asyncio.create_task(guarded())

    # Giving a command.

    async def _claim(self, book: Book, now_ms: int) -> None:
        firing = launches.claimable(book, now_ms)
        if firing is None or len(self._launches) >= MOST_AT_ONCE or book.schedule.name in self._launches:
            return
        if self._steps_back.get(book.schedule.name, 0.0) > self._clock.monotonic():
            return
        mine = launches.claimed(book, firing.firing_id, self._holder, now_ms)
        if mine is None or not await put(self._schedules, book, mine, self._tell):
            return
        if launches.held(mine, firing.firing_id, self._holder) is not None:
            self._begin(self._launches, book.schedule.name, partial(self._give, book.schedule, firing))

    async def _give(self, schedule: Schedule, firing: Firing) -> None:
        name, firing_id = schedule.name, firing.firing_id
        self._giving[name] = firing_id
        command = asyncio.create_task(self._launched(schedule, firing))
        try:
            while not command.done():
                await asyncio.wait({command}, timeout=RENEW_S)
                if not command.done() and not await self._renewed(name, firing_id):
                    return
            launched, ended = command.result()
            if launched.exit_code == launches.SYSTEM:
                self._steps_back[name] = self._clock.monotonic() + launches.AGAIN_MS / 1000 + GRACE_S
            await self._until_kept(name, lambda book, now: self._after(book, firing_id, launched, ended, now))
        finally:
            await self._ended(command)
            del self._giving[name]

    def _released(self, firing_id: str, book: Book, now_ms: int) -> Book | None:
        return launches.released(book, firing_id, self._holder, now_ms)

    async def _launched(self, schedule: Schedule, firing: Firing) -> tuple[Launched, RunEnd]:
        """What the command came to; of a run that is over already, what OUT says of it, under the same lease."""
        arguments = filled(schedule, firing.at_ms)
        launched = await self._launcher.launch(schedule, firing.firing_id, arguments)
        if launched.exit_code is None or not launched.run_id:
            return launched, RunEnd(known=False)
        return launched, await self._launcher.ended(schedule.folder, launched.run_id, launched.out)

    def _after(self, book: Book, firing_id: str, launched: Launched, ended: RunEnd, now_ms: int) -> Book | None:
        holder, code = self._holder, launched.exit_code
        if code is None or (code in _HELD and launched.run_id):
            return launches.handed_over(book, firing_id, holder, launched.run_id, launched.out, now_ms)
        if code == launches.SYSTEM:
            return launches.failed(book, firing_id, holder, launched.said, now_ms)
        return launches.ended(
            book,
            firing_id,
            code,
            ended.said or launched.said,
            now_ms,
            summary=ended.summary,
            holder=holder,
            run_id=launched.run_id,
            out=launched.out,
        )

    async def _renewed(self, name: str, firing_id: str) -> bool:
        """Whether the firing is still ours, as far as is known: while Redis is away, nobody else takes it over."""
        with suppress(LedgerUnavailable):
            return await self._change(name, lambda book, now: launches.renewed(book, firing_id, self._holder, now))
        return True

    async def _ended(self, command: asyncio.Task[tuple[Launched, RunEnd]]) -> None:
        if not command.done():
            command.cancel()
            await asyncio.wait({command})

    # Closing a firing.

    async def _look_after_run(self, book: Book) -> None:
        firing = launches.running(book)
        if firing is None or len(self._looks) >= MOST_AT_ONCE or book.schedule.name in self._looks:
            return
        doubt = self._doubts.get(book.schedule.name)
        if doubt is not None and doubt.run_id == firing.run_id and self._clock.monotonic() < doubt.again:
            return
        with suppress(LedgerMismatch):  # another version's workers look after it
            run = await self._ledger.snapshot(firing.run_id)
            if run is None or run.state is RunState.FINISHED:
                close = partial(self._close, book.schedule, firing, is_lost=run is None)
                self._begin(self._looks, book.schedule.name, close)

    async def _close(self, schedule: Schedule, firing: Firing, *, is_lost: bool) -> None:
        name, firing_id = schedule.name, firing.firing_id
        ended = await self._launcher.ended(schedule.folder, firing.run_id, firing.out)
        if ended.exit_code is not None:
            code, said, summary = ended.exit_code, ended.said, ended.summary
            await self._change(
                name, lambda book, now: launches.ended(book, firing_id, code, said, now, summary=summary)
            )
        elif ended.known and is_lost:
            # nobody forgets a run before its done marker is there: the ledger has lost it
            await self._change(name, lambda book, now: launches.lost(book, firing_id, now))
        elif self._doubted_long(name, firing) and not ended.known:
            said = f"nobody knows run {firing.run_id} any more: {ended.said}"
            await self._change(name, lambda book, now: launches.ended(book, firing_id, launches.SYSTEM, said, now))

    def _doubted_long(self, name: str, firing: Firing) -> bool:
        """Whether this has been so for long: perhaps another worker sees more."""
        now, before = self._clock.monotonic(), self._doubts.get(name)
        since = before.since if before is not None and before.run_id == firing.run_id else now
        self._doubts[name] = _Doubt(firing.run_id, since, now + DOUBT_S)
        return now - since >= UNKNOWN_S

    # Keeping what happened.

    async def _until_kept(self, name: str, change: Change) -> None:
        """As often as Redis is away meanwhile."""
        while True:
            with suppress(LedgerUnavailable):
                await self._change(name, change)
                return
            await self._clock.sleep(LOOK_S)

    async def _change(self, name: str, change: Change) -> bool:
        """Change a book, as often as others change it meanwhile; False where there is nothing to change any more."""
        while (book := await self._schedules.book(name)) is not None:
            after = change(book, await self._schedules.now_ms())
            if after is None:
                return False
            if await put(self._schedules, book, after, self._tell):
                return True
        return False
