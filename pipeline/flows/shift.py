"""What a Celery task does with a ticket: claim rows, act on them concurrently, record, for a few seconds.

A shift never holds more rows than it can act on at once, renews the leases of those that it holds, and commits their
steps in groups. It decides nothing: what to do with a row is `act`'s, where a row goes is the step's. Told to stop, it
claims nothing more, waits for answers as long as a deployment allows, and cuts the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.lifecycle import State
from pipeline.core.reach import Reach
from pipeline.core.steps import Step
from pipeline.flows.committing import GATHER_S, Committer, forget, untold
from pipeline.flows.leaving import ON_THE_WIRE_S, told
from pipeline.ports import Claim, Claimed, Clock, Commit, Ledger

CLAIM_PART = 3
"""A full window claims again when a third of it is free: rows that come one by one cost several times as much."""

AWAY_WAIT_S = 0.25
"""Between two tries while Redis is away."""

FULL_S = 0.5
"""A shift whose window is full looks at the time and at a stop this often."""

LINGER_S = 0.6
"""An idle shift waits this long for work before it leaves: the feed may be just bringing some."""


PACED = frozenset(("rate", "turn", "in flight"))
"""What a claimer waits out in its shift: it is told when to come, and nobody sooner."""

TIMED = frozenset(("not before", "back-off", "unreachable"))
"""What a claimer waits out where it ends within its shift: who leaves may find its place taken for another shift."""

PACED_WAIT_S = 0.04
"""Between two claims under a fast rate: its permits come in handfuls, and not one by one."""

LOOK_S = 0.1
"""Who has nothing to do looks again this often: work may come sooner than it was told."""


def _until_next_claim(got: Claim, gather_s: float) -> float:
    """Seconds to wait after a claim, so that rows that come one by one are claimed together."""
    if got.bound in PACED and got.wait_ms:
        return max(PACED_WAIT_S, got.wait_ms / 1000)
    return max(gather_s, min(got.wait_ms / 1000, LOOK_S))


def nobody_waits() -> bool:
    """The usual: a shift's time is short."""
    return False


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a shift works: its run, its name, how many rows at a time and for how long (seconds).

    `gather_s` is how long rows wait for others, to be claimed together and to be committed together; `yields` whether
    others wait for the place, so that no more is taken though the time is not up; `recorded` hears of steps.
    """

    run_id: str
    role: str
    holder: str
    window: int
    seconds: float
    lease_s: float
    stop: Callable[[], bool]
    gather_s: float = GATHER_S
    yields: Callable[[], bool] = nobody_waits
    recorded: Callable[[Sequence[Commit]], None] = untold
    reach: Reach = field(default_factory=Reach)
    """Whether this process reaches the API; the same for all its shifts there."""


Claims = Callable[[int], Awaitable[Claim]]
Act = Callable[[Claimed, "Hour", int], Awaitable[Step]]
Stale = Callable[[Commit], Awaitable[None]]
Cut = Callable[[Claimed, "Hour"], Step | None]
Keep = Callable[[Sequence[Commit]], None]


def dropped(_row: Claimed, _hour: "Hour") -> None:
    """What becomes of a row whose act may be repeated by anybody: nothing, its lease runs out."""


class Hour:
    """The Redis server's clock between two looks at it, carried forward by our own monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = 0.0

    def set(self, now_ms: int) -> None:
        """What the server just said, in ms since 1970."""
        self._offset_ms = now_ms - self._clock.monotonic() * 1000

    def now_ms(self) -> int:
        """The server's time now, in ms since 1970."""
        return int(self._offset_ms + self._clock.monotonic() * 1000)


class Shift:
    """One shift over one state of rows."""

    def __init__(self, bench: Bench, ledger: Ledger, clock: Clock, source: State, *, patient: bool = True) -> None:
        """`patient` waits for what is under way when the time is up; else it is cut, for anybody to go on with."""
        self._patient = patient
        self._bench = bench
        self._ledger = ledger
        self._clock = clock
        self._source = source
        self._hour = Hour(clock)
        self._held: dict[int, tuple[str, float]] = {}
        self._acting: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._waited_for = 1
        self._cutting = False
        self._unheard = False
        self._kept = False

    async def work(self, claim: Claims, act: Act, stale: Stale, cut: Cut = dropped, keep: Keep = forget) -> int:
        """Work until the time is up, there is nothing left to do or a stop is asked for; the rows that were handled.

        `cut` gives the step of a row whose act is not waited for any longer, `keep` takes steps that the ledger could
        not be told in time.
        """

        def kept(commits: Sequence[Commit]) -> None:
            self._kept = True
            keep(commits)

        bench = self._bench
        committer = Committer(
            bench.run_id, self._ledger, self._clock, self._release, stale, kept, bench.gather_s, bench.recorded
        )
        committing = asyncio.create_task(committer.run())
        beside = [asyncio.create_task(self._renew()), asyncio.create_task(self._leave_in_time(committer))]
        try:
            handled = await self._claim_and_act(claim, act, cut, committer, committing)
            if not self._patient:
                self._cut()
            if self._acting:
                await asyncio.wait(self._acting)
            committer.close()
            await committing
            with suppress(LedgerUnavailable):
                await self._give_back_unheard()
            return handled
        finally:
            self._cutting = False
            for task in (*beside, committing, *self._acting):
                task.cancel()
            await asyncio.gather(*beside, committing, *self._acting, return_exceptions=True)

    async def _leave_in_time(self, committer: Committer) -> None:
        """Once told to stop: little patience with Redis, and some with answers; then what is on the wire is cut."""
        await told(self._bench.stop, self._clock)
        committer.hurry()
        await self._clock.sleep(ON_THE_WIRE_S)
        self._cut()

    def _cut(self) -> None:
        self._cutting = True
        for task in self._acting:
            task.cancel()

    async def _claim_and_act(
        self, claim: Claims, act: Act, cut: Cut, committer: Committer, committing: asyncio.Task[None]
    ) -> int:
        """Nothing is claimed once steps can't be recorded: what nobody records must not be sent."""
        ends = self._clock.monotonic() + self._bench.seconds
        idle_since: float | None = None
        handled = 0
        while not committing.done() and (left := ends - self._clock.monotonic()) > 0:
            if self._bench.stop() or self._bench.yields():
                break
            free = self._free
            if free <= 0:
                await self._until_free(1, min(left, FULL_S))
                await self._until_free(self._bench.window // CLAIM_PART, min(left, self._bench.gather_s))
                continue
            got = await self._claim(claim, free)
            for row in got.rows:
                self._take(row, act, cut, got.troubles, committer)
            handled += len(got.rows)
            if got.rows or self._held:
                idle_since = None
            elif idle_since is None:
                idle_since = self._clock.monotonic()
            elif self._nothing_soon(got, left, idle_since):
                break
            if len(got.rows) < free:
                await self._clock.sleep(min(_until_next_claim(got, self._bench.gather_s), left))
        return handled

    def _nothing_soon(self, got: Claim, left: float, idle_since: float) -> bool:
        lingered = self._clock.monotonic() - idle_since >= LINGER_S
        comes = got.bound in TIMED and got.wait_ms / 1000 <= left
        return lingered and got.bound not in PACED and not comes

    async def _claim(self, claim: Claims, places: int) -> Claim:
        now = self._clock.monotonic()
        if (wait_s := self._bench.reach.wait_s(now)) > 0:
            return Claim((), self._hour.now_ms(), wait_ms=round(wait_s * 1000), bound="unreachable")
        try:
            await self._give_back_unheard()
            got = await claim(self._bench.reach.take(places, now))
            late = self._source is State.SUBMITTING and self._clock.monotonic() - now >= self._bench.lease_s
        except LedgerUnavailable:
            late = True
        if late or not got.rows:
            self._bench.reach.nothing_came(self._clock.monotonic())
        if late:  # or lost: the lease may have run out, so nothing of it is sent
            self._unheard = True
            return Claim((), self._hour.now_ms(), wait_ms=round(AWAY_WAIT_S * 1000), bound="redis")
        self._hour.set(got.now_ms)
        return got

    async def _give_back_unheard(self) -> None:
        """Rows of a claim whose reply was lost were never sent: nobody has to be in doubt about them.

        Not once steps were kept elsewhere: their rows look alike from here, and were sent.
        """
        if self._unheard and self._source is State.SUBMITTING and not self._kept:
            await self._ledger.unclaim(self._bench.run_id, self._bench.holder, list(self._held))
        self._unheard = False

    def _take(self, row: Claimed, act: Act, cut: Cut, troubles: int, committer: Committer) -> None:
        self._held[row.row_index] = (row.token, self._clock.monotonic())
        task = asyncio.create_task(self._act(row, act, cut, troubles, committer))
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def _act(self, row: Claimed, act: Act, cut: Cut, troubles: int, committer: Committer) -> None:
        try:
            step: Step | None = await act(row, self._hour, troubles)
        except asyncio.CancelledError:
            if not self._cutting:
                raise
            step = cut(row, self._hour)
        if step is None:
            self._let_go(row.row_index, row.token)
        else:
            committer.add(Commit(row.row_index, row.token, step))

    def _release(self, commit: Commit) -> None:
        """The row may be in hand anew: a step's first reply was lost, and the row came back meanwhile."""
        self._let_go(commit.row_index, commit.token)

    def _let_go(self, row_index: int, token: str) -> None:
        if self._held.get(row_index, ("",))[0] == token:
            del self._held[row_index]
        if self._free >= self._waited_for:
            self._freed.set()

    @property
    def _free(self) -> int:
        """Places for rows."""
        return self._bench.window - len(self._held)

    async def _until_free(self, places: int, seconds: float) -> None:
        """Return when so many rows can be taken, or the time is over."""
        self._waited_for = places
        self._freed.clear()
        if self._free < places:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._freed.wait()

    async def _renew(self) -> None:
        """Extend leases at a third of their length: two renewals may fail before one runs out."""
        every = self._bench.lease_s / 3
        while True:
            await self._clock.sleep(min(every, 1.0))
            before = self._clock.monotonic() - every
            due = {index: token for index, (token, since) in self._held.items() if since <= before}
            if not due:
                continue
            with suppress(LedgerUnavailable):
                await self._ledger.renew(self._bench.run_id, self._source, due)
                now = self._clock.monotonic()
                still = {index for index, token in due.items() if self._held.get(index, ("",))[0] == token}
                self._held.update({index: (due[index], now) for index in still})
