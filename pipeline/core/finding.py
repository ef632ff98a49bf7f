"""The rate that an account allows, found from what it accepted and what it refused.

While nothing was refused the rate doubles as fast as answers come. What came through between two refusals bounds the
limit (`core.spells`), and the bounds are narrowed from refusal to refusal. The rate is held a little below, the longer
the surer it is, and probed above as TCP CUBIC does (RFC 9438, section 4): slowly about the rate that was refused, then
fast, so that an unchanged limit costs one refusal a probe and a raised one is found soon. Nothing here knows of
generations in flight or of limits that were given (`core.pacing`).
"""

import math
from dataclasses import dataclass, replace

from pipeline.core.spells import NOTHING_SEEN, LaneSeen, Mark, Since, Spell, lately, marked, rate_over, spell_of

DOUBLES_S = 0.5
"""Seconds of demand in which the rate doubles while nothing was ever refused: an unlimited API is busy within 5 s."""

AHEAD = 2.0
"""The rate is at most so many times what was accepted lately: answers may be slow, and what is on the wire is sent."""

UNDER = 0.98
"""Held so far below the rate that was accepted: the jitter of requests on their way needs some room."""

SHORTEST_HOLD_S = 3.0
LONGEST_HOLD_S = 600.0
"""A hold is twice the time that the rate before it went well, within these: what is sure is disturbed rarely."""

HELD_ANSWERS = 100
"""A sure rate is held for so many requests, or longer: a refusal costs a slow account as many of them as a fast one."""

HELD_WAITS = 20
"""And for so many times the back-off that the refusal began, in which nothing went: it costs that much each time."""

LONGEST_RAMP_S = 10.0
SHORTEST_RAMP_S = 3.0
"""From the end of a hold until the rate is where it was refused; twice that rate comes 2.2 times as long after it."""

ABOUT = 1.1
"""A refusal within so much of the anchor is the same limit again, and bounds so close are sure."""

DEAR = 0.005
"""The share of requests that may be refused while bounds are narrowed: at a fast rate the upper one is tried, since
too low a rate costs more than a refusal; at a slow one the middle."""

BUSY_MS = 2_000
"""Requests so far apart follow each other; a longer silence lets a bucket overflow and tells nothing."""

IDLE_MS = 600_000
"""After so long without any request nothing is known of the limit's present, and it is probed."""

FLOOR = 1 / 60
"""The lowest rate, a second: less would not tell when the limit is back."""

CEILING = 100_000.0
"""The highest: no API is asked faster, and powers stay finite."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is known of one lane. Rates a second; times in seconds of demand, but for those in ms.

    `free` is the rate while nothing was refused, `anchor` (0: none) that about which refusals came, set `demand_s` ago
    and held for `hold_s`; the limit lies between `low` and `high`, close to each other where that is `sure`. Requests
    followed each other for `asked_s` since the last refusal. `steady` is the last sure anchor, with its hold; `climbed`
    tells that the last refusal came far above it. What the next refusal ends began at `since_ms`, with
    `since_answered`. `bound_at_ms` and `busy_at_ms` are when demand, and anything, was seen last; `marks` are of late.
    """

    free: float
    anchor: float = 0.0
    hold_s: float = 0.0
    demand_s: float = 0.0
    asked_s: float = 0.0
    steady: float = 0.0
    steady_hold_s: float = 0.0
    low: float = 0.0
    high: float = 0.0
    sure: bool = False
    climbed: bool = False
    since_ms: int = 0
    since_answered: int = 0
    bound_at_ms: int = 0
    busy_at_ms: int = 0
    seen: LaneSeen = NOTHING_SEEN
    marks: tuple[Mark, ...] = ()


def begun(free: float, seen: LaneSeen, now_ms: int) -> Search:
    """A search that knows nothing but what the counters are now."""
    return Search(free, bound_at_ms=now_ms, busy_at_ms=now_ms, seen=seen, marks=((now_ms, seen.answered),))


def goes_on(search: Search, seen: LaneSeen) -> bool:
    """Whether these counters continue the ones that the search saw."""
    was = search.seen
    return seen.answered >= was.answered and seen.bound >= was.bound and seen.events >= was.events


def put_back(search: Search, by_ms: int) -> Search:
    """The search with all that it remembers put back with the clock: what happened is as long ago as before."""
    return replace(
        search,
        since_ms=max(0, search.since_ms - by_ms),
        bound_at_ms=search.bound_at_ms - by_ms,
        busy_at_ms=search.busy_at_ms - by_ms,
        seen=replace(search.seen, event_at_ms=max(0, search.seen.event_at_ms - by_ms)),
        marks=tuple((at_ms - by_ms, answered) for at_ms, answered in search.marks),
    )


def rate_of(search: Search) -> float:
    """The rate that the search would have now, a second."""
    if not search.anchor:
        return min(CEILING, search.free)
    ramp_s = min(LONGEST_RAMP_S, max(SHORTEST_RAMP_S, search.hold_s / 3))
    over = min(1e3, max(0.0, search.demand_s - search.hold_s) / ramp_s)
    return min(CEILING, max(FLOOR, search.anchor * (UNDER + (1 - UNDER) * over**3)))


def probes(search: Search) -> bool:
    """Whether the rate is on its way above what is known to be accepted."""
    return search.demand_s >= search.hold_s


def searched(
    search: Search, seen: LaneSeen, now_ms: int, most: float, *, excused: bool = False, full: bool = False
) -> Search:
    """One step: what the counters tell since the last one. `most` bounds the rate from outside.

    An `excused` refusal was not about the rate; while the account is `full`, demand says nothing of the rate.
    """
    was = search.seen
    if seen.events > was.events and not excused:
        search = _refused(search, seen, min(most, rate_of(search)))
        if seen.event_answered > search.since_answered or not search.since_ms:
            search = replace(search, since_ms=seen.event_at_ms, since_answered=seen.event_answered)
    passed_s = max(0, min(1000, now_ms - search.bound_at_ms)) / 1000
    busy = seen.answered > was.answered or seen.bound > was.bound or seen.events > was.events
    if not busy and now_ms - search.busy_at_ms >= IDLE_MS:
        search = replace(search, demand_s=max(search.demand_s, search.hold_s))
    if busy:
        search = replace(search, asked_s=search.asked_s + max(0, min(BUSY_MS, now_ms - search.busy_at_ms)) / 1000)
    if seen.bound > was.bound and not full:
        search = _wanted(search, seen, now_ms, passed_s, most)
        search = replace(search, bound_at_ms=now_ms)
    marks = marked(search.marks, now_ms, seen.answered)
    return replace(search, seen=seen, marks=marks, busy_at_ms=now_ms if busy else search.busy_at_ms)


def _wanted(search: Search, seen: LaneSeen, now_ms: int, passed_s: float, most: float) -> Search:
    """There was demand for more: the rate goes on as time does, unless something else bounds it."""
    if search.anchor:
        return search if rate_of(search) >= ABOUT * most else replace(search, demand_s=search.demand_s + passed_s)
    accepted = rate_over(search.marks, now_ms, seen.answered, DOUBLES_S, 1)
    grown = min(search.free * 2 ** (passed_s / DOUBLES_S), AHEAD * accepted, CEILING)
    return replace(search, free=max(search.free, grown))


def _refused(search: Search, seen: LaneSeen, before: float) -> Search:
    """A refusal while the rate was `before`: the new anchor, and how long it is held."""
    if not search.anchor:
        accepted = lately(search.marks, seen)
        return _anchored(replace(search, high=before), min(before, max(accepted, before / 2)), 0.0)
    if seen.event_answered == search.since_answered:
        # nothing came through, so nothing more is known: the spell goes on
        known = replace(search, low=0.0, high=before, sure=False)
        return replace(known, anchor=max(FLOOR, before / 2), hold_s=SHORTEST_HOLD_S, demand_s=0.0)
    since = Since(search.since_ms, search.since_answered, search.seen, search.asked_s, search.demand_s)
    spell = spell_of(since, seen, search.marks, before)
    climbed = probes(search) and before > ABOUT * search.anchor
    if search.climbed and spell.fits(search.steady):
        # far above it only the bucket was emptied: the limit is where it was
        hold_s = min(LONGEST_HOLD_S, 2 * search.steady_hold_s)
        known = replace(search, low=min(search.steady, spell.low), high=ABOUT * search.steady)
        return replace(_anchored(known, search.steady, hold_s), sure=True, climbed=False, steady_hold_s=hold_s)
    if climbed and search.sure:
        known = replace(search, low=max(spell.low, UNDER * search.anchor), high=before)
        found = _anchored(known, min(before, max(spell.high, before / 2)), 0.0)
        return replace(found, sure=False, climbed=True, steady=search.anchor, steady_hold_s=search.hold_s)
    low, high = max(search.low, spell.low), min(search.high, spell.high)
    if low > high or climbed:
        # the limit is not what it was
        low, high = spell.low, spell.high
    return _narrowed(replace(search, low=low, high=high), seen, before, spell)


def _narrowed(search: Search, seen: LaneSeen, before: float, spell: Spell) -> Search:
    """The anchor between the bounds, held for long where they are close."""
    low, high, wait_s = search.low, search.high, seen.event_wait_ms / 1000
    anchor = math.sqrt(low * high)
    if spell.measured:
        # a bucket that allows `low` refuses one in high * wait_s / (anchor / low - 1) requests
        anchor = max(anchor, min(high, low * (1 + DEAR * high * wait_s)))
    anchor = min(before, anchor)
    if not spell.few and high <= ABOUT * low:
        least_s = max(HELD_ANSWERS / anchor, HELD_WAITS * wait_s)
        found = _anchored(search, anchor, max(2 * search.demand_s, least_s))
        return replace(found, sure=True, climbed=False, steady=anchor, steady_hold_s=found.hold_s)
    near = ABOUT**-2 <= anchor / search.anchor <= ABOUT**2
    found = _anchored(search, anchor, min(2 * search.hold_s, 2 * search.demand_s) if near else 0.0)
    return replace(found, sure=False, climbed=False)


def _anchored(search: Search, anchor: float, hold_s: float) -> Search:
    held = min(LONGEST_HOLD_S, max(SHORTEST_HOLD_S, hold_s))
    return replace(search, anchor=min(CEILING, max(FLOOR, anchor)), hold_s=held, demand_s=0.0, asked_s=0.0)
