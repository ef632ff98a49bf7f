"""When to ask again whether a generation is ready.

A schedule maps the polls already made, the generation's age and its model to the seconds until the next poll. Pure: no
clock and no dice; what was learned comes in as timetables (`core.timetable`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.errors import SettingsError
from pipeline.core.timetable import Timetable

VENDOR_INTERVAL_S = 5.0
"""What the vendor's own client does (docs/foxapi.md §2): the interval while nothing is known of the latency."""

FLOOR_S = 0.05
"""No schedule polls one generation more often than this."""

ADAPTIVE_FLOOR_S = 0.25
"""The adaptive schedule's own floor: nearer polls would save less lag than an answer takes to come."""

CEILING_S = 60.0
"""And its ceiling: however rare an end has become, who waits for the last row waits no longer than this for a poll."""

TOGETHER_MS = 10
"""Due times lie on this grid, so that polls that are due together go out together: about as long as two claims are
apart, and a mean lag of 5 ms."""


class Schedule(Protocol):
    """When to poll next."""

    def delay(self, polls: int, age_s: float, model: str, chance: float) -> float:
        """Seconds until the next poll of a generation of this model that runs at this age, after `polls` polls.

        `chance` is a random number in [0, 1).
        """
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """Delays in seconds; the last one repeats for ever, whatever the age."""

    steps: tuple[float, ...]

    def delay(self, polls: int, age_s: float, model: str, chance: float) -> float:
        """Seconds until the next poll, after `polls` polls were made."""
        del age_s, model, chance
        return self.steps[min(polls, len(self.steps) - 1)]


@dataclass(slots=True)
class Adaptive:
    """Polls at the times that the model's timetable gives; as the vendor's client while there is none.

    `timetables` are those that the worker heard of last: they are exchanged while a shift goes on.
    """

    floor_s: float = ADAPTIVE_FLOOR_S
    ceiling_s: float = CEILING_S
    timetables: Mapping[str, Timetable] = field(default_factory=dict)

    def delay(self, polls: int, age_s: float, model: str, chance: float) -> float:
        """Seconds until the next poll, however many were made."""
        del polls
        table = self.timetables.get(model)
        wait = VENDOR_INTERVAL_S if table is None else table.delay(age_s, chance)
        return min(max(wait, self.floor_s), self.ceiling_s)


def together(due_ms: int) -> int:
    """A due time that others share: never early, hardly late. `lua/commit.lua` does the same."""
    return due_ms + -due_ms % TOGETHER_MS


LONGEST_RETRY_AFTER_S = 300.0
"""The most that a `Retry-After` is obeyed: beyond it a mistake is likelier than a wish."""


LONGEST_HOLD_S = 2 * LONGEST_RETRY_AFTER_S
"""No account is held back for longer than this: twice what any rule asks."""


def longest_wait_s(poll: str) -> float:
    """No row waits for longer than this, with a schedule that is spelt so; twice what any rule asks."""
    match parse_schedule(poll):
        case Adaptive(ceiling_s=longest):
            pass
        case Steps(steps=steps):
            longest = max(steps)
        case _:
            longest = CEILING_S
    return 2 * max(LONGEST_RETRY_AFTER_S, longest)


DEFAULT = Steps((VENDOR_INTERVAL_S,))
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_ALLOWED = "allowed are adaptive, fixed:5s or steps:2s,5s,10s"


def parse_schedule(text: str) -> Schedule:
    """`adaptive`, `adaptive:FLOOR,CEILING`, `fixed:5s` or `steps:2s,5s,10s`; SettingsError otherwise.

    Units are ms, s (also when left out) and m.
    """
    kind, _, rest = text.partition(":")
    if text == "adaptive":
        return Adaptive()
    if kind not in {"fixed", "steps", "adaptive"}:
        raise SettingsError(f"--poll: found {text!r}; {_ALLOWED}")
    delays = tuple(_seconds(part.strip(), text) for part in rest.split(","))
    if kind == "adaptive":
        return _bounded(delays, text)
    if kind == "fixed" and len(delays) != 1:
        raise SettingsError(f"--poll: found {text!r}; fixed takes exactly one delay, such as fixed:5s")
    return Steps(delays)


def _bounded(bounds: tuple[float, ...], text: str) -> Adaptive:
    match bounds:
        case (floor, ceiling) if floor < ceiling:
            return Adaptive(floor, ceiling)
    raise SettingsError(f"--poll: found {text!r}; adaptive takes a floor and a ceiling, such as adaptive:250ms,60s")


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
