"""One run in simulated time: rows arrive, are polled by a schedule, and end."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from benchmarks.polling.optimum import Optimum
from pipeline.core.observations import Observed
from pipeline.core.polling import Adaptive, Steps, together
from pipeline.core.timetable import timetables_of
from pipeline.flows.pacing import LEARN_S
from pipeline.flows.timing import TOLD_EVERY_S

ROWS_A_SECOND = 6
SKIPPED = 500
"""Rows that are not counted: what a schedule does before it knows anything is another question."""

KEPT = 1000
"""Observations that an account keeps."""


class Fixed:
    """Delays that depend on nothing that is learned."""

    def __init__(self, *steps):
        self._steps = Steps(steps)

    def wait_ms(self, now_ms, row, polls, age_s, dice):
        del row, dice
        return _on_grid(now_ms, self._steps.delay(polls, age_s, "m", 0.0))

    def ended(self, now_ms, low_ms, high_ms):
        """Nothing is learned."""


class Learning:
    """The product's adaptive schedule: learns every two seconds, and workers hear of it within another."""

    def __init__(self, poll_cost_s):
        self._schedule = Adaptive()
        self._poll_cost_s = poll_cost_s
        self._observed = []
        self._heard = []
        self._next_ms = 0

    def wait_ms(self, now_ms, row, polls, age_s, dice):
        del row
        while self._heard and self._heard[0][0] <= now_ms:
            self._schedule.timetables = self._heard.pop(0)[1]
        return _on_grid(now_ms, self._schedule.delay(polls, age_s, "m", dice.random()))

    def ended(self, now_ms, low_ms, high_ms):
        self._observed.append(Observed("m", low_ms, high_ms))
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + LEARN_S * 1000
        tables = timetables_of(
            self._observed[-KEPT:], self._poll_cost_s, self._schedule.floor_s, self._schedule.ceiling_s
        )
        self._heard.append((now_ms + TOLD_EVERY_S * 1000, tables))


def _on_grid(now_ms, wait_s):
    """The wait in ms, as the ledger makes it: polls are due on a grid, so that they go out together."""
    return together(now_ms + round(wait_s * 1000)) - now_ms


class Knowing:
    """The optimum of whichever phase a row belongs to."""

    def __init__(self, service, poll_cost_s):
        self._service = service
        self._optima = {latency: Optimum(latency, poll_cost_s) for latency in set(service.phases)}

    def wait_ms(self, now_ms, row, polls, age_s, dice):
        del now_ms, polls, dice
        return self._optima[self._service.latency(row)].delay(age_s) * 1000

    def ended(self, now_ms, low_ms, high_ms):
        """All is known."""


@dataclass(frozen=True)
class Found:
    """Polls a row, lag in seconds, and what they cost together."""

    polls: float
    lag: float
    lag_95: float
    cost: float


def simulated(service, schedule, poll_cost_s, seed):
    """Run all rows of a service under a schedule."""
    dice = Random(f"{seed} polls")
    rows = service.rows * len(service.phases)
    takes = [service.latency(row).draw(Random(f"{seed} {row}")) * 1000 for row in range(rows)]
    born = [1e12 + row * 1000 / ROWS_A_SECOND for row in range(rows)]
    due = [(born[row], row, 0, 0.0) for row in range(rows)]
    heapify(due)
    polls, lags = [0] * rows, [0.0] * rows
    while due:
        now, row, asked, low = heappop(due)
        age = now - born[row]
        if asked and age >= takes[row] - 1e-6:
            polls[row], lags[row] = asked, (age - takes[row]) / 1000
            schedule.ended(now, round(low), round(age))
            continue
        low = age if asked else 0.0
        wait = schedule.wait_ms(round(now), row, asked, age / 1000, dice)
        heappush(due, (round(now) + wait if isinstance(wait, int) else now + wait, row, asked + 1, low))
    return _counted(polls[SKIPPED:], lags[SKIPPED:], poll_cost_s)


def _counted(polls, lags, poll_cost_s):
    mean_polls, mean_lag = sum(polls) / len(polls), sum(lags) / len(lags)
    return Found(mean_polls, mean_lag, sorted(lags)[int(0.95 * len(lags))], mean_lag + poll_cost_s * mean_polls)
