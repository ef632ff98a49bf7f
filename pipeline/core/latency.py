"""How long generations take, learned from polls: each tells only "not yet" or "by now".

An observation is an interval, so the estimate is a self-consistent one (Turnbull 1976): a mixture of components, fitted
by expectation and maximisation, whose width is as fine as the observations bear out (Akaike 1974). A service that
always takes 10 s is known to hundredths of a second; one that takes 2 to 20 s is drawn as the smooth curve that it is.
Pure: no clock, no dice, no memory of its own.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log

from pipeline.core.mixture import FIRST, LONGEST_S, SHORTEST_S, SPAN, Mixture, Pair, fitted, likelihood, rounded

FEWEST = 8
"""Observations that make an estimate: with fewer a schedule would follow single generations."""

WINDOW = 1000
"""The newest observations that count at all: enough for a smooth curve, few enough to fit in hundredths of a second."""

HALF_LIFE = 450.0
"""After so many newer observations one counts half: what the service was is forgotten."""

NEWEST = 30
"""The newest observations, which are held against the estimate: a service that jumps is followed once they are in."""

SURPRISE = 8.0
"""By so much in log-likelihood the newest must be better explained alone before the older are dropped: several times
what a few more components gain by chance."""

BESIDE = 0.03
"""The share of each component that is thought four times as wide: what was missed is most likely just beside."""

WIDTHS = (0.3, 0.15, 0.07, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""Half-widths of components, in parts of the age, tried from the widest on."""

FREE = 12.0
"""No finer width is tried once two brought nothing with so many components at work: the curve is a smooth one."""

_EXACT = 1e-6
_MATTERS = 1e-4
_SAME_S = 1e-4


@dataclass(frozen=True, slots=True)
class Distribution:
    """How likely a generation has ended by an age: `by[i]` at `ages[i]` seconds, straight lines between.

    `ages` begins at 0 and ends at the longest possible one, where all have ended.
    """

    ages: tuple[float, ...]
    by: tuple[float, ...]

    def ended_by(self, age_s: float) -> float:
        """The share of generations that take at most `age_s` seconds."""
        right = bisect_right(self.ages, age_s)
        if right >= len(self.ages):
            return 1.0
        left = right - 1
        share = (age_s - self.ages[left]) / (self.ages[right] - self.ages[left])
        return self.by[left] + share * (self.by[right] - self.by[left])


def learned(intervals: Sequence[Pair]) -> Distribution | None:
    """The distribution of durations behind intervals (more than, at most) in seconds, oldest first.

    Newer ones weigh more, and those before a jump are dropped. None when there are too few.
    """
    recent = [_bounded(low, high) for low, high in intervals[-WINDOW:]]
    if len(recent) < FEWEST:
        return None
    estimate = _estimated(_weighed(recent, HALF_LIFE))
    if len(recent) > 2 * NEWEST and _jumped(recent[-NEWEST:], estimate):
        estimate = _estimated(_weighed(recent[-2 * NEWEST :], NEWEST / 2))
    return _drawn(estimate)


def _bounded(low_s: float, high_s: float) -> Pair:
    high = min(max(high_s, 2 * SHORTEST_S), LONGEST_S)
    return log(min(max(low_s, SHORTEST_S), 0.999 * high)), log(high)


def _weighed(recent: Sequence[Pair], half_life: float) -> dict[Pair, float]:
    weights: dict[Pair, float] = {}
    for newer, pair in enumerate(reversed(recent)):
        weights[pair] = weights.get(pair, 0.0) + 0.5 ** (newer / half_life)
    return weights


def _estimated(weights: Mapping[Pair, float]) -> Mixture:
    """The mixture of the width that explains the observations best, for the freedom that it takes."""
    exact = rounded(weights, _EXACT)
    least = 0.1 / sum(weights.values())
    best = tried = fitted(rounded(weights, WIDTHS[0] / 2), WIDTHS[0], None, least)
    score = likelihood(exact, best) - best.freedom
    failed = 0
    for width in WIDTHS[1:]:
        tried = fitted(rounded(weights, width / 2), width, tried, least)
        merit = likelihood(exact, tried) - tried.freedom
        if merit > score:
            best, score, failed = tried, merit, 0
            continue
        failed += 1
        if failed >= 2 and tried.freedom > FREE:  # noqa: PLR2004 - the first may be chance
            break
    return best


def _jumped(newest: Sequence[Pair], estimate: Mixture) -> bool:
    seen = rounded(_weighed(newest, inf), _EXACT)
    alone = fitted(seen, WIDTHS[0], None, 0.0)
    return likelihood(seen, alone) - likelihood(seen, estimate) > SURPRISE


def _drawn(mixture: Mixture) -> Distribution:
    """The mixture as straight lines, fine where its components are."""
    wider = Mixture(4 * mixture.width, mixture.centres, mixture.shares)
    places = _corners(mixture)
    ages, by = [0.0], [0.0]
    for place, near, beside in zip(places, mixture.ended_by(places), wider.ended_by(places), strict=True):
        age = exp(place)
        if age - ages[-1] > _SAME_S:
            ages.append(age)
            by.append(min(1.0, max(by[-1], (1 - BESIDE) * near + BESIDE * beside)))
    return Distribution((*ages, LONGEST_S), (*by, 1.0))


def _corners(mixture: Mixture) -> list[float]:
    """Places 2% apart, and those where a component that matters begins or ends."""
    places = {FIRST + 0.02 * number for number in range(int(SPAN / 0.02) + 1)}
    for centre, share in zip(mixture.centres, mixture.shares, strict=False):
        if share > _MATTERS:
            places.update(centre + sign * reach for reach in (mixture.width, 4 * mixture.width) for sign in (-1, 1))
    return sorted(place for place in places if FIRST <= place < FIRST + SPAN)
