"""What a list of arrivals tells of a pace: the arithmetic of the bench, and nothing that runs.

Times are unix seconds by the simulator's clock; a window holds its beginning and not its end.
"""

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

THROTTLED = 429
ON_THE_WIRE_S = 0.1
"""What left before the 429 was read: a turn of a busy event loop, a lease of rows in hand, the way back."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as the simulator saw it; `wait_s` is the Retry-After that it was answered with, if any."""

    at: float
    status: int
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Inside:
    """Requests that came within somebody's Retry-After: those that were on the wire when it was told, and the rest."""

    sent: int
    on_the_wire: int


def arrivals_of(rows: Iterable[Sequence[float | None]]) -> list[Arrival]:
    """Read the admin's rows, in the order of time."""
    read = [Arrival(at or 0.0, int(status or 0), wait_s) for at, status, wait_s in rows]
    return sorted(read, key=lambda one: one.at)


def accepted(one: Arrival) -> bool:
    """Whether it was let in, whatever became of it: all but the refusals of the limit."""
    return one.status != THROTTLED


def within(arrivals: Sequence[Arrival], begin: float, end: float) -> Sequence[Arrival]:
    """Those of the window from `begin` to just before `end`."""
    times = [one.at for one in arrivals]
    return arrivals[bisect_left(times, begin) : bisect_left(times, end)]


def utilisation(arrivals: Sequence[Arrival], a_second: float, begin: float, end: float) -> float:
    """The share of a limit that was used between two moments, by what was let in."""
    return sum(map(accepted, within(arrivals, begin, end))) / (a_second * (end - begin))


def busiest(arrivals: Sequence[Arrival], width_s: float) -> int:
    """The most requests in any window of this width; the fullest windows begin with a request."""
    times = [one.at for one in arrivals]
    return max((bisect_left(times, at + width_s) - place for place, at in enumerate(times)), default=0)


def overshoot(arrivals: Sequence[Arrival], a_second: float, width_s: float) -> int:
    """How many requests the busiest window of this width held above the limit; below 0 when none held so many."""
    return busiest(arrivals, width_s) - math.floor(a_second * width_s)


def inside_retry_after(arrivals: Sequence[Arrival], on_the_wire_s: float = ON_THE_WIRE_S) -> Inside:
    """Count the requests that came before a Retry-After was over, by the earliest one that they ignored."""
    sent = on_the_wire = 0
    waits: list[Arrival] = []
    for one in arrivals:
        waits = [wait for wait in waits if one.at < wait.at + (wait.wait_s or 0.0)]
        if waits and one.at - waits[0].at > on_the_wire_s:
            sent += 1
        elif waits:
            on_the_wire += 1
        if one.wait_s:
            waits.append(one)
    return Inside(sent, on_the_wire)


def throttled(arrivals: Sequence[Arrival]) -> int:
    """How many were refused by the limit."""
    return sum(one.status == THROTTLED for one in arrivals)


def longest_gap(arrivals: Sequence[Arrival], begin: float, end: float) -> float:
    """The longest time without a request between two moments, in seconds."""
    times = [begin, *(one.at for one in within(arrivals, begin, end)), end]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def seconds_until(
    arrivals: Sequence[Arrival], a_second: float, begin: float, *, window_s: float = 5.0, calm: bool = False
) -> float | None:
    """After how many seconds a window has held so many accepted requests a second for the first time; None if never.

    The window lies wholly after `begin`, so the earliest answer is its width. Where it must be `calm`, nothing in it
    was refused: a limit is found, and not just run into.
    """
    seen = [one for one in arrivals if one.at >= begin and (calm or accepted(one))]
    needed = math.ceil(a_second * window_s)
    for last in range(needed - 1, len(seen)):
        window = seen[last - needed + 1 : last + 1]
        if window[-1].at - window[0].at < window_s and all(map(accepted, window)):
            return max(window_s, window[-1].at - begin)
    return None
