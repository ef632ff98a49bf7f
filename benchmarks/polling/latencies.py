"""The distributions of durations: how each is drawn, and the share that took at most an age."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, log, sqrt
from random import Random


@dataclass(frozen=True)
class Latency:
    """One distribution, in seconds."""

    draw: Callable[[Random], float]
    ended_by: Callable[[float], float]


def _normal(mean, deviation):
    return lambda age: (1 + erf((age - mean) / (deviation * sqrt(2)))) / 2


def lognormal(median, sigma):
    of_log = _normal(log(median), sigma)
    return Latency(lambda dice: dice.lognormvariate(log(median), sigma), lambda age: of_log(log(age)) if age else 0.0)


def _bimodal(dice):
    return dice.gauss(5, 0.5) if dice.random() < 0.5 else dice.gauss(60, 3)


@dataclass(frozen=True)
class Service:
    """What a service does, phase after phase; each has so many rows."""

    name: str
    phases: tuple[Latency, ...]
    rows: int

    def latency(self, row):
        return self.phases[row // self.rows]


_SHORT, _LONG = _normal(5, 0.5), _normal(60, 3)

SERVICES = (
    Service("constant 10 s", (Latency(lambda _: 10.0, lambda age: float(age >= 10)),), 2000),
    Service(
        "uniform 2-20 s", (Latency(lambda dice: dice.uniform(2, 20), lambda age: min(1, max(0, age - 2) / 18)),), 2000
    ),
    Service("lognormal 8 s/0.6", (lognormal(8, 0.6),), 2000),
    Service("bimodal 5 s, 60 s", (Latency(_bimodal, lambda age: (_SHORT(age) + _LONG(age)) / 2),), 2000),
    Service("lognormal 8 s/1.5", (lognormal(8, 1.5),), 2000),
    Service("8 s, 20 s, 8 s/0.6", (lognormal(8, 0.6), lognormal(20, 0.6), lognormal(8, 0.6)), 2400),
)
