"""When to ask again whether a generation is ready.

A schedule maps the number of polls already made to the seconds until the next. Pure: no clock, no history of its own.
"""

import re
from dataclasses import dataclass

from pipeline.core.errors import SettingsError

VENDOR_INTERVAL_S = 5.0
"""What the vendor's own client does (docs/foxapi.md §2); the default while nothing is known of the latency."""

FLOOR_S = 0.05
"""No schedule polls one generation more often than this."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Delays in seconds; the last one repeats for ever."""

    steps: tuple[float, ...]

    def delay(self, polls: int) -> float:
        """Seconds until the next poll, after `polls` polls were made."""
        return self.steps[min(polls, len(self.steps) - 1)]


DEFAULT = Schedule((VENDOR_INTERVAL_S,))
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


def parse_schedule(text: str) -> Schedule:
    """`fixed:5s` or `steps:2s,5s,10s`; units ms, s (also when left out) and m. SettingsError otherwise."""
    kind, _, rest = text.partition(":")
    if kind not in {"fixed", "steps"}:
        raise SettingsError(f"--poll: found {text!r}; allowed are fixed:5s or steps:2s,5s,10s")
    delays = tuple(_seconds(part.strip(), text) for part in rest.split(","))
    if kind == "fixed" and len(delays) != 1:
        raise SettingsError(f"--poll: found {text!r}; fixed takes exactly one delay, such as fixed:5s")
    return Schedule(delays)


def parse_duration(option: str, text: str) -> float:
    """`90s`, `10m` or `1h` in seconds, more than 0; s may be left out. SettingsError names the option otherwise."""
    number, hours = (text[:-1], True) if text.endswith("h") else (text, False)
    match = _SECONDS.fullmatch(number)
    seconds = 0.0 if match is None or (hours and match[2]) else float(match[1]) * (3600 if hours else _UNITS[match[2]])
    if seconds <= 0:
        raise SettingsError(f"{option}: found {text!r}; allowed is a time such as 90s, 10m or 1h")
    return seconds


def _seconds(part: str, whole: str) -> float:
    match = _SECONDS.fullmatch(part)
    if match is None:
        raise SettingsError(f"--poll: found {part!r} in {whole!r}; a delay is a number with ms, s or m, such as 5s")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds < FLOOR_S:
        raise SettingsError(f"--poll: {part!r} is below the floor of {FLOOR_S:g} s")
    return seconds
