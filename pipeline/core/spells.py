"""What came through between two refusals, and what that tells of a limit: bounds, and nothing decided.

A token bucket that could take all that a back-off refilled accepted exactly its rate from one refusal to the next; one
that overflowed meanwhile allows more, at most the rate at which it was emptied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ROOM = 1.02
"""Rates so close are the same: requests come in handfuls."""

FEW = 10
"""Fewer accepted requests than this between two refusals tell little of a rate."""

STEP_S = 0.2
"""Between two steps, about."""

WINDOW_S = 5.0
WINDOW_ANSWERS = 20
"""The rate of late is that of so many seconds, or longer until so many answers came."""

_MARK_MS = 1_000
_MARKS_KEPT_MS = 30_000


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """One lane of an account, POSTs or polls: counters that only grow; times in ms since 1970 by the Redis clock.

    `answered` POSTs were accepted, or polls answered as they should be; `bound` claims were cut short by the rate; of
    `events`, congestion events however many requests met them, the last was at `event_at_ms`, when `event_answered`
    had been answered, and began a back-off of `event_wait_ms`.
    """

    answered: int = 0
    bound: int = 0
    events: int = 0
    event_at_ms: int = 0
    event_answered: int = 0
    event_wait_ms: int = 0


NOTHING_SEEN = LaneSeen()

Mark = tuple[int, int]
"""A moment, in ms, and what was answered by then."""


@dataclass(frozen=True, slots=True)
class Spell:
    """Between two refusals: `accepted` requests in `seconds`; the limit is somewhere from `low` to `high` a second.

    `high` was really accepted where it was `measured`, else it is the rate before the refusal.
    """

    accepted: int
    seconds: float
    low: float
    high: float
    measured: bool

    @property
    def few(self) -> bool:
        """Whether too little came through to be sure of anything."""
        return self.accepted < FEW

    def fits(self, rate: float) -> bool:
        """Whether a limit at this rate, with a bucket that took all that the back-off refilled, explains it."""
        least, most = 0.9 * rate * self.seconds - 1.5, ROOM * rate * self.seconds + 1.5
        return least <= self.accepted <= most and rate <= ROOM * self.high


@dataclass(frozen=True, slots=True)
class Since:
    """What a spell began with: the moment in ms, what was answered by then, and the lane at the last refusal.

    Since then requests followed each other for `asked_s` seconds, and for `bound_s` the rate was what bounded them.
    """

    at_ms: int
    answered: int
    was: LaneSeen
    asked_s: float
    bound_s: float


def spell_of(since: Since, seen: LaneSeen, marks: Sequence[Mark], before: float) -> Spell:
    """The spell that ended with the refusal that was just `seen`, while the rate was `before`."""
    over_ms = since.was.event_at_ms + since.was.event_wait_ms
    passed_s = max(0.05, (seen.event_at_ms - since.at_ms) / 1000)
    # the step in which requests were last counted may be the one before the refusal
    asked_s = max(0.05, min(passed_s, since.asked_s + STEP_S))
    seconds = math.sqrt(passed_s * asked_s)
    accepted = seen.event_answered - since.answered
    low = min(before, (accepted + 0.5) / seconds)
    sent_s = (seen.event_at_ms - over_ms) / 1000
    # what came is what was allowed only where the rate was what bounded it
    measured = accepted >= FEW and sent_s >= WINDOW_S and 2 * since.bound_s >= sent_s
    high = lately([mark for mark in marks if mark[0] >= over_ms], seen) if measured else before
    return Spell(accepted, seconds, low, min(before, max(low, high)), measured)


def lately(marks: Sequence[Mark], seen: LaneSeen) -> float:
    """Answers a second just before the last refusal."""
    return rate_over(marks, seen.event_at_ms, seen.event_answered, WINDOW_S, WINDOW_ANSWERS)


def rate_over(marks: Sequence[Mark], at_ms: int, answered: int, seconds: float, answers: int) -> float:
    """Answers a second over the last `seconds`, or longer until there were `answers`; 0 where nothing is known."""
    rate = 0.0
    for marked_ms, marked in reversed(marks):
        passed_s = (at_ms - marked_ms) / 1000
        if passed_s > 0:
            rate = max(0, answered - marked) / max(passed_s, 0.2)
        if passed_s >= seconds and answered - marked >= answers:
            break
    return rate


def marked(marks: tuple[Mark, ...], now_ms: int, answered: int) -> tuple[Mark, ...]:
    """Marks of the last second one by one, older ones a second apart; none that lies ahead, by a clock put back."""
    kept: list[Mark] = []
    for mark in (*marks, (now_ms, answered)):
        young = now_ms - mark[0] < _MARK_MS
        if 0 <= now_ms - mark[0] <= _MARKS_KEPT_MS and (young or not kept or mark[0] - kept[-1][0] >= _MARK_MS):
            kept.append(mark)
    return tuple(kept)
