"""The cheapest schedule for who knows the distribution: plain dynamic programming, every age against every later one.

It shares nothing with the product's own.
"""

from bisect import bisect_right

LATEST_S = 4000.0


class Optimum:
    """The age of the next poll, for a generation that still runs at an age."""

    def __init__(self, latency, poll_cost_s):
        self._ages = _grid(latency.ended_by)
        self._next = _cheapest(self._ages, [latency.ended_by(age) for age in self._ages], poll_cost_s)

    def delay(self, age_s):
        at = bisect_right(self._ages, age_s + 1e-9) - 1
        return max(0.001, self._ages[self._next[at]] - age_s) if at + 1 < len(self._ages) else 60.0


def _grid(ended_by):
    """Ages 0.5% apart where generations end, 5% apart elsewhere; a jump has an age just before and one at it."""
    ages = [0.0, 0.25]
    while ages[-1] < LATEST_S:
        near, far = ages[-1] * 1.005, ages[-1] * 1.05
        dense = ended_by(far * 1.05) - ended_by(ages[-1]) > 1e-3
        ages.append(near if dense else far)
    return sorted({*ages, 10.0 - 1e-9, 10.0})


def _cheapest(ages, by, poll_cost_s):
    count = len(ages)
    summed = [0.0]
    for at in range(1, count):
        summed.append(summed[-1] + (by[at] - by[at - 1]) * (ages[at] + ages[at - 1]) / 2)
    line = [0.0] * count
    line[-1] = ages[-1] * by[-1] - summed[-1]
    then = [count - 1] * count
    for at in range(count - 2, -1, -1):
        ended = by[at]
        least, then[at] = min((line[next_] - ages[next_] * ended, next_) for next_ in range(at + 1, count))
        line[at] = ages[at] * ended + poll_cost_s * (1 - ended) + least
    return then
