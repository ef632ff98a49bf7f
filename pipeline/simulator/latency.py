"""How long a simulated generation takes: a distribution with a name.

Pure: randomness is an argument, and nothing here waits.
"""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import SettingsError

_NUMBER = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<unit>ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _uniform(rng: random.Random, low: float, high: float) -> float:
    return rng.uniform(low, high)


def _lognormal(rng: random.Random, median: float, sigma: float) -> float:
    return median * math.exp(rng.gauss(0.0, sigma))


def _exponential(rng: random.Random, mean: float) -> float:
    return rng.expovariate(1.0 / mean) if mean else 0.0


def _constant(_rng: random.Random, seconds: float) -> float:
    return seconds


def _bimodal(rng: random.Random, one: float, other: float, share: float = 0.5) -> float:
    return one if rng.random() < share else other


def _pareto(rng: random.Random, least: float, index: float) -> float:
    return least * rng.paretovariate(index)


_SHAPES: dict[str, tuple[tuple[int, ...], Callable[..., float]]] = {
    "constant": ((1,), _constant),
    "uniform": ((2,), _uniform),
    "lognormal": ((2,), _lognormal),
    "exponential": ((1,), _exponential),
    "bimodal": ((2, 3), _bimodal),
    "pareto": ((2,), _pareto),
}
# What is wrong with numbers of the right count, by shape.
_WRONG: dict[str, tuple[Callable[[tuple[float, ...]], bool], str]] = {
    "uniform": (lambda numbers: numbers[0] > numbers[1], "the lower bound comes first"),
    "bimodal": (lambda numbers: numbers[2:] > (1.0,), "the share is between 0 and 1"),
    "pareto": (lambda numbers: numbers[1] == 0, "the tail index is above 0"),
}


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of seconds: `shape` and its numbers; `text` is how a person wrote it."""

    shape: str
    numbers: tuple[float, ...]
    text: str

    def draw(self, rng: random.Random) -> float:
        """Return one duration in seconds, never negative."""
        return _SHAPES[self.shape][1](rng, *self.numbers)

    @property
    def is_zero(self) -> bool:
        """Whether every draw is 0 s, so that nobody has to wait at all."""
        return self.shape == "constant" and self.numbers[0] == 0


def seconds(text: str) -> float:
    """Read `250ms`, `2s`, `1.5m`, `1h` or a bare number of seconds."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no duration; write it like 250ms, 2s or 1.5m.")
    return float(match["number"]) * _UNITS[match["unit"] or "s"]


def parse_latency(text: str) -> Latency:
    """Read how long something takes.

    `2s`, `constant:2s`, `uniform:1s,5s`, `lognormal:8s,0.6` (median, sigma), `exponential:8s` (mean),
    `bimodal:5s,60s` or `bimodal:5s,60s,0.9` (one or the other; the share of the first) or `pareto:5s,1.5` (the least,
    and the tail index: the lower, the heavier the tail).
    """
    shape, colon, rest = text.strip().partition(":")
    if not colon:
        shape, rest = "constant", shape
    if shape not in _SHAPES:
        raise SettingsError(f"{text!r} is no latency; the shapes are {', '.join(_SHAPES)}.")
    numbers = tuple(seconds(part) for part in rest.split(","))
    wanted = _SHAPES[shape][0]
    if len(numbers) not in wanted:
        counts = " or ".join(map(str, wanted))
        raise SettingsError(f"{text!r} is no latency; {shape} takes {counts} number(s), not {len(numbers)}.")
    is_wrong, rule = _WRONG.get(shape, (lambda _numbers: False, ""))
    if is_wrong(numbers):
        raise SettingsError(f"{text!r} is no latency; {rule}.")
    return Latency(shape, numbers, text.strip())
