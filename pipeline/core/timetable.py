"""When to ask for a generation: the optimal inspection schedule on what is known of its duration.

Each poll costs `poll_cost_s` seconds of lag. Barlow, Hunter and Proschan (1963) ask for the ages that make lag and
polls cheapest together; dynamic programming finds them on a grid, for any shape. Pure: dice are an argument.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import orjson

from pipeline.core.latency import Distribution, learned
from pipeline.core.observations import Observed

SCOUTS = 0.03
"""The share of polls that go at another time than the best, since nothing is learned from polls that are always right.
It costs about that part of a poll, and notices a service that became faster."""

MOST_SCOUTS = 0.25
SCOUTS_AT_FIRST = 8.0
"""The first scouts are more: so many by the number of observations."""

TOLERANCE = 0.02
"""Times that cost at most this part more than the best are as good, and are taken in turn: where the curve is flat its
shape is learned for nothing."""

FINEST = 0.01
"""How near to the best time scouts go, in parts of what a poll is worth: nearer is worth nothing."""

LONGEST_S = 4000.0
"""A timetable ends here, and the ceiling holds: by then a generation has expired, unless nobody watched it."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """For a generation that still ran at `ages[i]` seconds or later: the next poll is at `first[i]` to `last[i]`.

    `scouts` is the share of polls that go at other times, no nearer than `finest_s` to the planned one. Polls of one
    generation are `floor_s` apart at least and `ceiling_s` at most.
    """

    ages: tuple[float, ...]
    first: tuple[float, ...]
    last: tuple[float, ...]
    scouts: float
    finest_s: float
    floor_s: float
    ceiling_s: float

    def delay(self, age_s: float, chance: float) -> float:
        """Seconds until the next poll of a generation that runs at this age; `chance` in [0, 1) spreads the polls."""
        if age_s >= LONGEST_S:
            return self.ceiling_s
        at = max(0, bisect_right(self.ages, age_s) - 1)
        first, last = self.first[at] - age_s, self.last[at] - age_s
        if chance < self.scouts:
            wait = self._scouted(first, age_s, chance / self.scouts)
        else:
            wait = first + (last - first) * (chance - self.scouts) / (1 - self.scouts)
        return float(min(max(wait, self.floor_s), self.ceiling_s))

    def _scouted(self, planned: float, age_s: float, chance: float) -> float:
        """Before the planned time, on every scale alike: just before it, or just after the poll before.

        The first finds out whether a little earlier would do, the second whether the poll before was a little early.
        A service that became much faster is met by both.
        """
        room = planned - self.floor_s
        if room <= self.finest_s:
            return planned
        after, share = divmod(2 * chance, 1.0)
        if after and age_s > 0:
            return float(self.floor_s * max(1.0, planned / self.floor_s) ** share)
        return float(planned - self.finest_s * (room / self.finest_s) ** share)


def timetables_of(
    observed: Sequence[Observed], poll_cost_s: float, floor_s: float, ceiling_s: float
) -> Mapping[str, Timetable]:
    """The timetable of each model, from generations that ended, oldest first; models with too few are left out."""
    by_model: dict[str, list[tuple[float, float]]] = {}
    for one in observed:
        if one.high_ms:
            by_model.setdefault(one.model, []).append((one.low_ms / 1000, one.high_ms / 1000))
    tables = {}
    for model, intervals in by_model.items():
        distribution = learned(intervals)
        if distribution is not None:
            scouts = min(MOST_SCOUTS, max(SCOUTS, SCOUTS_AT_FIRST / len(intervals)))
            tables[model] = timetable(distribution, poll_cost_s, floor_s, ceiling_s, scouts)
    return tables


def timetable(
    distribution: Distribution, poll_cost_s: float, floor_s: float, ceiling_s: float, scouts: float = SCOUTS
) -> Timetable:
    """The cheapest times to ask on this distribution, with all that are as good as the cheapest."""
    plan = _Plan(distribution, poll_cost_s, floor_s, ceiling_s)
    ages: list[float] = []
    ranges: list[tuple[float, float]] = []
    for at, age in enumerate(distribution.ages[:-1]):
        if age > LONGEST_S:
            break
        times = plan.as_good(at)
        if not ranges or ranges[-1] != times:
            ages.append(age)
            ranges.append(times)
    first, last = zip(*ranges, strict=True)
    return Timetable(tuple(ages), first, last, scouts, FINEST * poll_cost_s, floor_s, ceiling_s)


class _Plan:
    """Dynamic programming from the oldest age down to 0.

    With F the share that ended and M their summed durations, to ask next at t after s costs, but for what is the same
    for every t, `t F(t) - M(t) + cost(t) - t F(s)`: a line in F(s) for each t. As s falls, F(s) falls and lines of
    smaller t join, so the lowest line is found on a hull, in linear time.
    """

    def __init__(self, distribution: Distribution, poll_cost_s: float, floor_s: float, ceiling_s: float) -> None:
        self._ages = distribution.ages
        self._by = distribution.by
        self._poll_cost_s = poll_cost_s
        self._floor_s = floor_s
        self._ceiling_s = ceiling_s
        self._summed = _summed(distribution)
        count = len(self._ages)
        self._cost = [0.0] * count
        self._next = [count - 1] * count
        self._line = [0.0] * count
        self._line[-1] = self._ages[-1] * self._by[-1] - self._summed[-1]
        self._run()

    def _run(self) -> None:
        hull: list[int] = []
        lowest = joins = len(self._ages) - 1
        for at in range(len(self._ages) - 2, -1, -1):
            while joins > at and (not hull or self._ages[joins] >= self._ages[at] + self._floor_s):
                self._join(hull, joins)
                joins -= 1
            lowest = self._lowest(hull, min(lowest, len(hull) - 1), at)
            self._settle(at, self._within_ceiling(at, hull[lowest]))

    def _join(self, hull: list[int], new: int) -> None:
        line, ages = self._line, self._ages
        while len(hull) > 1:
            before, last = hull[-2], hull[-1]
            rise = (line[new] - line[before]) * (ages[before] - ages[last])
            if rise > (line[last] - line[before]) * (ages[before] - ages[new]):
                break
            hull.pop()
        hull.append(new)

    def _lowest(self, hull: list[int], start: int, at: int) -> int:
        while start + 1 < len(hull) and self._to(at, hull[start + 1]) <= self._to(at, hull[start]):
            start += 1
        return start

    def _to(self, at: int, then: int) -> float:
        return self._line[then] - self._ages[then] * self._by[at]

    def _within_ceiling(self, at: int, then: int) -> int:
        latest = self._ages[at] + self._ceiling_s
        if self._ages[then] <= latest:
            return then
        return max(at + 1, bisect_right(self._ages, latest) - 1)

    def _settle(self, at: int, then: int) -> None:
        self._next[at] = then
        running = 1 - self._by[at]
        self._cost[at] = self._poll_cost_s * running + self._to(at, then) + self._summed[at]
        self._line[at] = self._ages[at] * self._by[at] - self._summed[at] + self._cost[at]

    def as_good(self, at: int) -> tuple[float, float]:
        """The first and last time around the cheapest that cost hardly more, in seconds of age."""
        ages = self._ages
        first = last = self._next[at]
        enough = self._to(at, first) + TOLERANCE * self._cost[at]
        least, most = ages[at] + self._floor_s, ages[at] + self._ceiling_s
        while first - 1 > at and ages[first - 1] >= least and self._to(at, first - 1) <= enough:
            first -= 1
        while last + 1 < len(ages) and ages[last + 1] <= most and self._to(at, last + 1) <= enough:
            last += 1
        return ages[first], ages[last]


def _summed(distribution: Distribution) -> list[float]:
    """For each age, the durations of those that ended by then, summed, as a share of all."""
    ages, by = distribution.ages, distribution.by
    sums = [0.0]
    for at in range(1, len(ages)):
        sums.append(sums[-1] + (by[at] - by[at - 1]) * (ages[at] + ages[at - 1]) / 2)
    return sums


def pack_timetables(tables: Mapping[str, Timetable]) -> bytes:
    """Compact JSON by model, times to a tenth of a millisecond."""
    return orjson.dumps({model: _rounded(table) for model, table in tables.items()})


def _rounded(table: Timetable) -> list[object]:
    return [
        [round(age, 4) for age in value] if isinstance(value, tuple) else round(value, 6) for value in astuple(table)
    ]


def read_timetables(packed: bytes) -> dict[str, Timetable]:
    """The reverse of `pack_timetables`; nothing at all is no timetable."""
    if not packed:
        return {}
    return {
        model: Timetable(tuple(ages), tuple(first), tuple(last), *rest)
        for model, (ages, first, last, *rest) in orjson.loads(packed).items()
    }
