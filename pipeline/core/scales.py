"""Scales of plots, and shares of a distribution that was counted in bins: nothing here needs the values themselves."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

RATIO = 1.01
"""A bin's upper bound by its lower one: a percentile that is told by bins is wrong by half a percent at most."""

LEAST = 0.001
"""Seconds: what is shorter counts as that long."""

_STEPS = (1, 2, 5, 10)
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAY_S = 86_400


def bin_of(value: float) -> int:
    """The bin that counts a value; bins are as wide as they are far from 0."""
    return math.floor(math.log(max(value, LEAST)) / math.log(RATIO))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The value that this share of the counted ones does not exceed, as the middle of its bin; nothing of nothing."""
    wanted, seen = share * sum(counts.values()), 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= wanted and seen:
            return float(RATIO ** (number + 0.5))
    return None


def nice_step(span: float, most: int) -> float:
    """The least of 1, 2, 5, 10, 20 … and their tenths of which `most` cover the span."""
    least = max(span, LEAST) / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def nice_seconds(span: float, most: int) -> int:
    """The least usual length of time (5 s, 15 min, 6 h, 2 days …) of which `most` cover the span."""
    least = max(span, 0.0) / most
    whole_days = _DAY_S * math.ceil(least / _DAY_S)
    return next((step for step in _SECONDS if step >= least), whole_days)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in equal steps, of which the first begins at a whole one."""

    start: datetime
    step_s: int
    steps: int

    @property
    def start_us(self) -> int:
        """Its beginning in µs since 1970."""
        return round(self.start.timestamp()) * 1_000_000

    def at(self, place: int) -> datetime:
        """When a step begins."""
        return self.start + timedelta(seconds=place * self.step_s)

    def labels(self) -> Iterator[str]:
        """When each step begins, as short as it is clear: with the day where there are several, or with seconds."""
        last = self.at(self.steps)
        several = last - self.start > timedelta(days=1)
        form = "%d %b %H:%M" if several else "%H:%M:%S" if self.step_s % 60 else "%H:%M"
        return (f"{self.at(place):{form}}" for place in range(self.steps))


def span_of(first: datetime, last: datetime, most: int) -> Span:
    """The stretch from a moment to another, in at most `most` steps of a usual length and one for the cut edges."""
    step = nice_seconds((last - first).total_seconds(), most)
    begins = math.floor(first.timestamp() / step) * step
    steps = math.floor((last.timestamp() - begins) / step) + 1
    return Span(datetime.fromtimestamp(begins, first.tzinfo), step, steps)


def in_flight(began: Mapping[int, int], ended: Mapping[int, int], steps: int) -> list[int]:
    """How many were under way at the end of each step, by how many began and ended in it."""
    now, found = 0, []
    for place in range(steps):
        now += began.get(place, 0) - ended.get(place, 0)
        found.append(now)
    return found
