"""The arithmetic of permits: how many requests may go now, and whose turn it is. `lua/claim_submit.lua` does the same.

A lane (POSTs or polls of an account) is paced by the generic cell rate algorithm (ITU-T I.371): one request every
`gap`, with some lateness forgiven, so that nothing is bunched at a minute's start and a claimer that wakes late loses
nothing. Times are whole microseconds of the Redis server's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

LATE_US = 150_000
"""How late a permit may be used at most: a busy worker wakes some ms late. Beyond it permits are not saved up."""

LATE_PERMITS = 5
"""As long as so many permits take is late enough: what is made up for goes at once, and a limit's bucket is small."""

LEAST_LATE_US = 80_000
"""But at no rate is less forgiven: fast lanes are asked as seldom as others."""

PAUSE_US = 1_000_000
"""Who is later than this was not late: there was a back-off, or nobody had anything to send."""

WAKE_US = 500_000
"""Who waits looks again at least this often: a changed limit, a pause or a resume takes effect within a second."""

AHEAD = 4
"""Permits by which a run may be ahead of others that wait: fewer would leave permits unused while others sleep."""

AHEAD_US = 250_000
"""The same for fast lanes, as time."""

AHEAD_PART = 8
"""And where the limit in flight is the bound, as a part of that: places come free in handfuls, too."""

SHARE = 1_000_000
"""What one permit costs a run of priority 1, on the clock by which runs take turns."""

ASKING_MS = 1_000
"""A run that was refused so long ago does not wait any more."""

QUIET_MS = 1_000
"""A tester of the in-flight limit goes after so long without a POST: a rate limit can't be what refuses it then."""


TESTER_MS = 30_000
"""A tester that nobody heard of for so long is not waited for."""


@dataclass(frozen=True, slots=True)
class Lane:
    """`tat` is when the next request is due; `turn` when the last waiter was told to come."""

    tat: int = 0
    turn: int = 0


def gap_us(rate: float | None) -> int:
    """µs between two requests at `rate` a second; 0 for no bound."""
    return 0 if rate is None else max(1, round(1_000_000 / rate))


def late_us(gap: int) -> int:
    """How late a permit may be used under this gap."""
    return min(LATE_US, max(LEAST_LATE_US, LATE_PERMITS * gap))


def current(lane: Lane, gap: int, now: int) -> Lane:
    """The lane as it is under this gap: after a raised rate, or a clock put back, nobody waits as long as before.

    Under the gap that it was filled with no lane is as far ahead as this.
    """
    return Lane(min(lane.tat, now + gap), min(lane.turn, now + WAKE_US + gap))


def room(lane: Lane, gap: int, now: int) -> int:
    """How many requests may go now."""
    due = _due(lane, gap, now)
    return 0 if due > now else (now - due) // gap + 1


def taken(lane: Lane, gap: int, now: int, count: int) -> Lane:
    """The lane after `count` requests went."""
    return replace(lane, tat=_due(lane, gap, now) + count * gap)


def waiter(lane: Lane, gap: int, now: int) -> tuple[Lane, int]:
    """The lane, and the µs after which one more claimer should come again: each waiter has a turn of its own."""
    comes = max(lane.tat, lane.turn, now)
    if comes - now >= WAKE_US:
        return lane, WAKE_US
    return replace(lane, turn=comes + gap), comes - now


def until_due(lane: Lane, now: int) -> int:
    """The µs until the next permit, for a run whose turn it is among others that wait: it takes nobody's place."""
    return min(max(0, lane.tat - now), WAKE_US)


def wait_ms(wait_us: int) -> int:
    """A waiter's time in whole ms, never a moment too early: its turn would be lost."""
    return wait_us // 1000 + (wait_us < WAKE_US)


def ahead_of(gap: int, limit: int | None = None) -> int:
    """How many permits a run may be ahead: under `limit` generations in flight where that bounds, else by the rate."""
    if limit is not None:
        return max(AHEAD, limit // AHEAD_PART)
    return max(AHEAD, AHEAD_US // gap if gap else 0)


def share(own: int, others: Iterable[int], priority: int, ahead: int) -> int:
    """How many permits a run may take before the runs that wait must catch up; all are clocks of turns."""
    cost = SHARE // priority
    return max(0, (min(others) + ahead * cost - own) // cost)


def unwanted(lane: Lane, gap: int, now: int) -> int:
    """How many permits whoever asks may have, whosever turn it is: not taken for long, they would soon be lost."""
    due, since = _due(lane, gap, now), now - late_us(gap) * 2 // 3
    return 0 if due > since else (since - due) // gap + 1


def _due(lane: Lane, gap: int, now: int) -> int:
    """When the next request is due: what a lateness missed is made up for, up to a bound, and a pause is not."""
    late = late_us(gap)
    if lane.tat >= now - late:
        return lane.tat
    return now - late if lane.tat >= now - PAUSE_US else now
