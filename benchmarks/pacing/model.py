"""An account in small: claimers, permits, an API with limits, and the finder, event by event in simulated time.

What stands between the finder and the API here is as simple as it can be, so that thousands of seconds take one:
permits are those of `core.permits`, back-off and counters those of the ledger's scripts. Time is in µs.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from pipeline.core.limits import Limits
from pipeline.core.pacing import AccountSeen, LaneSeen, Pace, found_now
from pipeline.core.permits import Lane, gap_us, room, taken, waiter
from pipeline.simulator.faults import Bucket

SECOND = 1_000_000
TICK = SECOND // 5
BEGAN_MS = 1_800_000_000_000
FIRST_ROWS = 4
QUIET = SECOND


class Limiter(Protocol):
    """What the API allows at a moment, in seconds, while so many generations are open."""

    def admits(self, now_s: float, open_now: int, /) -> bool: ...


class TokenBucket:
    """The simulator's own bucket."""

    def __init__(self, per_minute: float, burst: int) -> None:
        self.per_minute, self.burst = per_minute, burst
        self._bucket = Bucket(0.0)

    def admits(self, now_s: float, _open_now: int, /) -> bool:
        return self._bucket.admits(self.per_minute, self.burst, now_s)


class FixedWindow:
    """So many in each minute of the clock."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._minute, self._used = -1, 0

    def admits(self, now_s: float, _open_now: int, /) -> bool:
        if int(now_s // 60) != self._minute:
            self._minute, self._used = int(now_s // 60), 0
        self._used += self._used < self.per_minute
        return self._used < self.per_minute


class MostOpen:
    """So many generations at a time."""

    def __init__(self, most: int) -> None:
        self.most = most

    def admits(self, _now_s: float, open_now: int, /) -> bool:
        return open_now < self.most


Draw = Callable[[random.Random], float]


def always(seconds: float) -> Draw:
    return lambda _rng: seconds


def between(low: float, high: float) -> Draw:
    return lambda rng: rng.uniform(low, high)


@dataclass(slots=True)
class World:
    """What is asked of whom, in seconds: `late` is how late claimers wake, `unnoticed` how late ends are seen."""

    limiter: Limiter
    seed: int = 1
    claimers: int = 8
    window: int = 96
    limits: Limits = field(default_factory=Limits)
    post: Draw = field(default_factory=lambda: always(0.05))
    generation: Draw = field(default_factory=lambda: always(8.0))
    late: Draw = field(default_factory=lambda: between(0.0, 0.01))
    unnoticed: Draw = field(default_factory=lambda: between(0.0, 0.5))
    demand: Callable[[float], bool] = lambda _now: True
    retry_after: float | None = None
    spurious: float = 0.0


class Account:
    """The ledger's part: the pace, clocks, counters and back-off of one account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(world.seed)
        self.now = 0
        self._events: list[tuple[int, int, Callable[..., None], Any]] = []
        self._order = count()
        self.pace = Pace()
        self.found = b""
        self.clock = Lane()
        self.posts = LaneSeen()
        self.wait_until = self.troubles = self.submitting = self.pending = self.open = self.completed = 0
        self.sent_at = -SECOND
        self.testing = False
        self.tests, self.tested, self.tested_in_flight, self.event_in_flight = 0, "", 0, 0
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.events: list[float] = []
        self.paces: list[tuple[float, Pace]] = []

    def at(self, when: int, act: Callable[..., None], what: Any = None) -> None:
        heapq.heappush(self._events, (when, next(self._order), act, what))

    def run(self, seconds: float) -> "Account":
        if not self._events:
            self.at(0, self.tick)
            for _ in range(self.world.claimers):
                self.at(round(self.rng.random() * SECOND / 10), self.claim, [0])
        until = self.now + round(seconds * SECOND)
        while self._events and self._events[0][0] <= until:
            self.now, _, act, what = heapq.heappop(self._events)
            act(what)
        self.now = until
        return self

    # The heartbeat.

    def tick(self, _: None) -> None:
        seen = AccountSeen(
            now_ms=BEGAN_MS + self.now // 1000,
            posts=self.posts,
            in_flight=self.submitting + self.pending,
            event_in_flight=self.event_in_flight,
            tests=self.tests,
            tested=self.tested,
            tested_in_flight=self.tested_in_flight,
            found=self.found,
        )
        self.found, self.pace = found_now(seen, self.world.limits, None)
        self.paces.append((self.now / SECOND, self.pace))
        self.at(self.now + TICK, self.tick)

    # Claims.

    def claim(self, held: list[int]) -> None:
        wait = self._claimed(held)
        late = round(self.world.late(self.rng) * SECOND)
        self.at(self.now + max(10_000, min(wait, 100_000)) + late, self.claim, held)

    def _claimed(self, held: list[int]) -> int:
        if self.wait_until > self.now:
            return self.wait_until - self.now
        wanted = self.world.window - held[0]
        if not self.completed:
            wanted = min(wanted, FIRST_ROWS - self.submitting - self.pending)
        if self.troubles:
            wanted = min(wanted, FIRST_ROWS - self.submitting)
        wanted, tester = self._in_flight(wanted)
        if wanted <= 0 or not self.world.demand(self.now / SECOND):
            return 100_000
        gap = gap_us(self.pace.rate)
        free = room(self.clock, gap, self.now) if gap else wanted
        if free < wanted:
            self.posts = replace(self.posts, bound=self.posts.bound + 1)
        go = min(free, wanted)
        if go:
            self.sent_at = self.now
            self.clock = taken(self.clock, gap, self.now, go) if gap else self.clock
            self.testing = self.testing or tester
            for _ in range(go):
                self._post(held, tester)
            return 0
        self.clock, wait = waiter(self.clock, gap, self.now)
        return wait

    def _in_flight(self, wanted: int) -> tuple[int, bool]:
        pace, now = self.pace, self.submitting + self.pending
        most = (20_000 if pace.most is None else pace.most) - now
        free = most if pace.cap is None else min(most, pace.cap - now)
        if free <= 0 < most and pace.tests and self.now - self.sent_at >= QUIET and not self.testing:
            return min(wanted, 1), True
        return min(wanted, free), False

    def _post(self, held: list[int], tester: bool) -> None:
        held[0] += 1
        self.submitting += 1
        half = round(self.world.post(self.rng) * SECOND / 2)
        self.at(self.now + half, self.arrive, (held, tester, half, self.troubles))

    # The API.

    def arrive(self, what: tuple[list[int], bool, int, int]) -> None:
        held, tester, half, troubles = what
        now_s = self.now / SECOND
        fine = self.rng.random() >= self.world.spurious and self.world.limiter.admits(now_s, self.open)
        (self.accepted if fine else self.refused).append(now_s)
        if fine:
            self.open += 1
            self.at(self.now + round(self.world.generation(self.rng) * SECOND), self.end)
        self.at(self.now + half + round(self.rng.random() * 10_000), self.answered, (held, tester, fine, troubles))

    def end(self, _: None) -> None:
        self.open -= 1
        self.at(self.now + round(self.world.unnoticed(self.rng) * SECOND), self.noticed)

    def noticed(self, _: None) -> None:
        self.pending -= 1
        self.completed += 1

    # Commits.

    def answered(self, what: tuple[list[int], bool, bool, int]) -> None:
        held, tester, fine, troubles = what
        held[0] -= 1
        self.submitting -= 1
        if fine:
            self.pending += 1
            self.posts = replace(self.posts, answered=self.posts.answered + 1)
            self.troubles = self.troubles if self.wait_until > self.now else 0
        else:
            self._congested(troubles)
        if tester:
            self.testing = False
            self.tests, self.tested = self.tests + 1, "accepted" if fine else "refused"
            self.tested_in_flight = self.pending

    def _congested(self, troubles: int) -> None:
        wait = self.world.retry_after or min(60.0, 2.0**troubles) * (1 + self.rng.random() / 2)
        until = self.now + round(wait * SECOND)
        if self.wait_until <= self.now:
            self.events.append(self.now / SECOND)
            self.event_in_flight = self.pending
            self.troubles += 1
            self.posts = replace(
                self.posts,
                events=self.posts.events + 1,
                event_at_ms=BEGAN_MS + self.now // 1000,
                event_answered=self.posts.answered,
                event_wait_ms=round(wait * 1000),
            )
        self.wait_until = max(self.wait_until, until)
