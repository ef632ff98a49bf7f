"""`{date}` and the like in a schedule's arguments, by the planned time on the clock of the schedule's zone.

Only the names below are filled, and only in single braces: prompts keep their `{{ column }}`, and JSON its braces.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pipeline.core.schedules import Schedule

DAY = timedelta(days=1)

FILLED: Mapping[str, Callable[[datetime], str]] = {
    "date": lambda at: at.date().isoformat(),
    "yesterday": lambda at: (at.date() - DAY).isoformat(),
    "tomorrow": lambda at: (at.date() + DAY).isoformat(),
    "year": lambda at: f"{at.year:04}",
    "month": lambda at: f"{at.month:02}",
    "day": lambda at: f"{at.day:02}",
    "hour": lambda at: f"{at.hour:02}",
    "minute": lambda at: f"{at.minute:02}",
    "time": lambda at: f"{at.hour:02}{at.minute:02}",
    "weekday": lambda at: str(at.isoweekday()),
    "week": lambda at: "{:04}-W{:02}".format(*at.isocalendar()),
}
"""What each name stands for, but `schedule`, which is the schedule's own."""

NAMES = (*FILLED, "schedule")

_NAMED = re.compile(r"(?<!\{)\{(" + "|".join(NAMES) + r")\}(?!\})")
_LIKE_A_NAME = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)(?:[:!][^{}]*)?\}(?!\})")


def filled(schedule: Schedule, at_ms: int) -> tuple[str, ...]:
    """A schedule's arguments for one planned time. `at_ms` is ms since 1970."""
    at = local(at_ms, schedule.tz)
    return tuple(filled_argument(argument, at, schedule.name) for argument in schedule.command)


def local(at_ms: int, tz: str) -> datetime:
    """A time on the clock of a zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(tz))


def filled_argument(argument: str, at: datetime, schedule: str) -> str:
    """One argument; `at` is on the clock that counts."""

    def value(match: re.Match[str]) -> str:
        return schedule if match[1] == "schedule" else FILLED[match[1]](at)

    return _NAMED.sub(value, argument)


def is_filled(argument: str) -> bool:
    """Whether an argument differs from one planned time to another, or by the schedule's name."""
    return _NAMED.search(argument) is not None


def doubtful(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What stays in braces and was perhaps meant to be filled, each with the nearest name, or none.

    In a text with blanks only what is close to a name is doubted: prompts may have braces of their own.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - workers fill, and doubt nothing

    for argument in arguments:
        for match in _LIKE_A_NAME.finditer(argument):
            if _NAMED.fullmatch(match[0]):
                continue
            near = get_close_matches(match[1].lower(), NAMES, n=1)
            if near or not any(character.isspace() for character in argument):
                yield match[0], near[0] if near else ""
