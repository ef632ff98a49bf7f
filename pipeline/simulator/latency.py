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


_SHAPES: dict[str, tuple[int, Callable[..., float]]] = {
    "constant": (1, _constant),
    "uniform": (2, _uniform),
    "lognormal": (2, _lognormal),
    "exponential": (1, _exponential),
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
    """Read `2s`, `constant:2s`, `uniform:1s,5s`, `lognormal:8s,0.6` (median, sigma) or `exponential:8s` (mean)."""
    shape, colon, rest = text.strip().partition(":")
    if not colon:
        shape, rest = "constant", shape
    if shape not in _SHAPES:
        raise SettingsError(f"{text!r} is no latency; the shapes are {', '.join(_SHAPES)}.")
    numbers = tuple(seconds(part) for part in rest.split(","))
    wanted = _SHAPES[shape][0]
    if len(numbers) != wanted:
        raise SettingsError(f"{text!r} is no latency; {shape} takes {wanted} number(s), not {len(numbers)}.")
    if shape == "uniform" and numbers[0] > numbers[1]:
        raise SettingsError(f"{text!r} is no latency; the lower bound comes first.")
    return Latency(shape, numbers, text.strip())
