"""Schedules fire: what the acting heartbeat does for them.

Whoever changes a book does so by compare-and-set on what it read; who comes late looks again a second later.
"""

from collections.abc import Callable

from pipeline.core import launches
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.firings import fired, moved
from pipeline.core.holds import KEYLESS, KEYLESS_S, Hold, hold_of, is_keyless
from pipeline.core.notices import over
from pipeline.core.schedules import Book, Firing, Schedule
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.tickets import Role
from pipeline.ports import Clock, Ledger, Schedules

LOOK_S = 1.0

Tell = Callable[[Schedule, Firing], None]
"""Is told of each firing that came about or moved on, once it is kept."""


def nobody(_schedule: Schedule, _firing: Firing) -> None:
    """Nobody is told."""


async def put(schedules: Schedules, before: Book, after: Book, tell: Tell = nobody) -> bool:
    """Keep a book in the place of the one that was read, and what is over in the history; whether nobody was faster."""
    kept, ended = over(after)
    is_kept = await schedules.put(before.schedule.name, before.revision, kept, ended)
    for firing in moved(before, after) if is_kept else ():
        tell(after.schedule, firing)
    return is_kept


class FiringSchedules:
    """What the acting heartbeat does: fires what is due, and sees how the runs stand that are with the fleet."""

    def __init__(self, schedules: Schedules, ledger: Ledger, clock: Clock, tell: Tell = nobody) -> None:
        self._schedules = schedules
        self._tell = tell
        self._ledger = ledger
        self._clock = clock
        self._looked = float("-inf")
        self._keyless_since: dict[str, float] = {}

    async def __call__(self) -> None:
        """Look, once a second. What one schedule raises is raised when all have been looked at."""
        if self._clock.monotonic() - self._looked < LOOK_S:
            return
        self._looked = self._clock.monotonic()
        now_ms = await self._schedules.now_ms()
        failures: list[Exception] = []
        for book in await self._schedules.books():
            try:
                after = await self._seen(fired(book, now_ms), now_ms)
                if after is not book:
                    await put(self._schedules, book, after, self._tell)
            except LedgerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one that is broken must not stop the others
                failures.append(error)
        if failures:
            raise failures[0]

    async def _seen(self, book: Book, now_ms: int) -> Book:
        firing = launches.running(book)
        if firing is None:
            return book
        try:
            run = await self._ledger.snapshot(firing.run_id)
        except LedgerMismatch:  # another version's workers look after it
            return book
        if run is None or run.state is RunState.FINISHED:
            return book
        return launches.seen(book, firing.firing_id, hold_of(run) or await self._keyless(run), now_ms)

    async def _keyless(self, run: RunSnapshot) -> Hold | None:
        workers = await self._ledger.workers()
        held = {role: {key for one in workers if role in one.roles for key in one.key_fingerprints} for role in Role}
        if not is_keyless(run, held[Role.SUBMIT] & held[Role.POLL]):
            self._keyless_since.pop(run.run_id, None)
            return None
        now = self._clock.monotonic()
        return KEYLESS if now - self._keyless_since.setdefault(run.run_id, now) >= KEYLESS_S else None
