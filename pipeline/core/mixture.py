"""A mixture of intervals on the logarithm of the age, fitted to intervals: the arithmetic under `core.latency`.

Expectation and maximisation of the shares, which are what is fitted; where the components are is given. Pure numbers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, exp, inf, log, sqrt

SHORTEST_S = 0.05
LONGEST_S = 7200.0
"""Between these ages lies all that is thought possible: below polls are of no use, above rows have expired."""

DOUBT = 0.5
"""Observations that "any age is possible" weighs as much as: no age is ever ruled out."""

CYCLES = 10
GAIN = 0.03
"""Bounds of one fit: so many accelerated steps, or one that gains less than this in log-likelihood."""

LEAP = 64.0
"""The most ordinary steps that an accelerated one stands for."""

FIRST = log(SHORTEST_S)
SPAN = log(LONGEST_S) - FIRST
Pair = tuple[float, float]
_LITTLE = 1e-9
_NOTHING = 1e-300


@dataclass(frozen=True, slots=True)
class Seen:
    """Observations on the logarithm of the age: the places of their ends, and (from, to, weight) by number of place."""

    places: tuple[float, ...]
    spans: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Components that each spread evenly over `width` to both sides of a centre, on the logarithm of the age.

    The last of `shares` belongs to a component over every possible age.
    """

    width: float
    centres: tuple[float, ...]
    shares: tuple[float, ...]

    def ended_by(self, places: Sequence[float]) -> list[float]:
        """The share that ended, for each place."""
        return _Overlap(self.width, self.centres, places).ended_by(self.shares)

    @property
    def freedom(self) -> float:
        """How many components side by side hold its mass."""
        held: dict[int, float] = {}
        for centre, share in zip(self.centres, self.shares, strict=False):
            beside = int(centre // (2 * self.width))
            held[beside] = held.get(beside, 0.0) + share
        return exp(-sum(share * log(share) for share in held.values() if share > _NOTHING))


class _Overlap:
    """Which components reach which places: the sums of one fit, each in time linear in both."""

    def __init__(self, width: float, centres: Sequence[float], places: Sequence[float]) -> None:
        self._centres = centres
        self._places = places
        self._twice = 2 * width
        self._reached = [
            (x + width, bisect_left(centres, x - width), bisect_left(centres, x + width), (x - FIRST) / SPAN)
            for x in places
        ]
        self._reaching = [
            (m - width, bisect_right(places, m - width), bisect_right(places, m + width)) for m in centres
        ]

    def ended_by(self, shares: Sequence[float]) -> list[float]:
        """The share that ended, for each place."""
        doubt, twice = shares[-1], self._twice
        whole = [0.0, *accumulate(shares[:-1])]
        moment = [0.0, *accumulate(share * m for share, m in zip(shares, self._centres, strict=False))]
        return [
            whole[a] + (top * (whole[b] - whole[a]) - (moment[b] - moment[a])) / twice + doubt * any_age
            for top, a, b, any_age in self._reached
        ]

    def drawn_by(self, pulls: Sequence[float]) -> list[float]:
        """The transpose: for each component the sum of what the places that it ends before pull with."""
        twice = self._twice
        whole = [0.0, *accumulate(pulls)]
        moment = [0.0, *accumulate(pull * x for pull, x in zip(pulls, self._places, strict=True))]
        end = whole[-1]
        drawn = [
            end - whole[b] + (moment[b] - moment[a] - low * (whole[b] - whole[a])) / twice
            for low, a, b in self._reaching
        ]
        drawn.append(sum(pull * reach[3] for pull, reach in zip(pulls, self._reached, strict=True)))
        return drawn


def rounded(weights: Mapping[Pair, float], step: float) -> Seen:
    """The observations with their ends rounded to `step`, so that like ones are one."""
    merged: dict[tuple[int, int], float] = {}
    for (low, high), weight in weights.items():
        first = round(low / step)
        pair = first, max(first + 1, round(high / step))
        merged[pair] = merged.get(pair, 0.0) + weight
    ends = sorted({end for pair in merged for end in pair})
    number = {end: index for index, end in enumerate(ends)}
    spans = tuple((number[low], number[high], weight) for (low, high), weight in merged.items())
    return Seen(tuple(end * step for end in ends), spans)


def likelihood(seen: Seen, mixture: Mixture) -> float:
    """The logarithm of how likely the mixture makes what was seen."""
    by = mixture.ended_by(seen.places)
    return sum(weight * log(by[b] - by[a] + _LITTLE) for a, b, weight in seen.spans)


def fitted(seen: Seen, width: float, before: Mixture | None, least: float) -> Mixture:
    """The mixture of one width that explains the observations best, beginning with a wider one.

    A step of the expectation and maximisation is slow where few observations tell, so two and the bend between them
    make one that leaps (SQUAREM, Varadhan and Roland 2008).
    """
    centres, shares = _begun(seen, width, before, least)
    overlap = _Overlap(width, centres, seen.places)
    best, kept = -inf, shares
    for _ in range(CYCLES):
        once, likelihood = _stepped(seen, overlap, shares)
        if likelihood < best:  # a leap too far
            shares = kept
            once, likelihood = _stepped(seen, overlap, shares)
        if likelihood - best < GAIN:
            break
        best = likelihood
        kept, _ = _stepped(seen, overlap, once)
        shares = _leapt(shares, once, kept)
    return Mixture(width, centres, tuple(kept))


def _begun(seen: Seen, width: float, before: Mixture | None, least: float) -> tuple[tuple[float, ...], list[float]]:
    """Centres half a width apart, with the shares to begin with: where the wider mixture has mass, or everywhere."""
    step = width / 2
    if before is None:
        count = ceil((seen.places[-1] - FIRST) / step) + 1
        centres = tuple(FIRST + step * number for number in range(count))
        masses = [1.0] * count
    else:
        centres = _where_mass_is(before, step, least)
        by = before.ended_by([edge for centre in centres for edge in (centre - step / 2, centre + step / 2)])
        masses = [max(_LITTLE, high - low) for low, high in zip(by[::2], by[1::2], strict=True)]
    doubt = DOUBT / (DOUBT + sum(weight for *_, weight in seen.spans))
    total = sum(masses) / (1 - doubt)
    return centres, [*(mass / total for mass in masses), doubt]


def _where_mass_is(mixture: Mixture, step: float, least: float) -> tuple[float, ...]:
    numbers: set[int] = set()
    for centre, share in zip(mixture.centres, mixture.shares, strict=False):
        if share > least:
            first, last = (centre - mixture.width) // step, (centre + mixture.width) // step
            numbers.update(range(int(first), int(last) + 2))
    return tuple(step * number for number in sorted(numbers))


def _stepped(seen: Seen, overlap: _Overlap, shares: Sequence[float]) -> tuple[list[float], float]:
    """One step towards the shares that explain the observations, and how well the given ones do."""
    by = overlap.ended_by(shares)
    pulls = [0.0] * len(by)
    likelihood = DOUBT * log(max(shares[-1], _NOTHING))
    for a, b, weight in seen.spans:
        chance = by[b] - by[a] + _LITTLE
        likelihood += weight * log(chance)
        pull = weight / chance
        pulls[a] -= pull
        pulls[b] += pull
    drawn = overlap.drawn_by(pulls)
    moved = [max(_NOTHING, share * pull) for share, pull in zip(shares, drawn, strict=True)]
    moved[-1] += DOUBT
    total = sum(moved)
    return [share / total for share in moved], likelihood


def _leapt(start: Sequence[float], once: Sequence[float], twice: Sequence[float]) -> list[float]:
    """Where many steps like the last two would lead, on the logarithm of the shares."""
    first = [log(b / a) for a, b in zip(start, once, strict=True)]
    bend = [log(c / b) - r for b, c, r in zip(once, twice, first, strict=True)]
    length = sum(w * r * r for w, r in zip(twice, first, strict=True))
    bent = sum(w * v * v for w, v in zip(twice, bend, strict=True))
    leap = min(LEAP, max(1.0, sqrt(length / max(bent, _NOTHING))))
    moved = [
        max(_NOTHING, a * exp(min(50.0, 2 * leap * r + leap * leap * v)))
        for a, r, v in zip(start, first, bend, strict=True)
    ]
    total = sum(moved)
    return [share / total for share in moved]
