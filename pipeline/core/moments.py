"""Stretches of time in an answer: where a video shows what, for formats that have a place for it.

An answer names them in lists of objects with a beginning and an end, under one of a few names that models use. Without
a schema, lines of text of the form "0:05 - 0:12 a dog barks" say the same.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

BOUNDS = (("start", "end"), ("start_s", "end_s"), ("start_time", "end_time"), ("from", "to"))
"""Pairs of names under which a beginning and an end are told."""

LABELS = ("label", "name", "event", "action", "title")
"""Names under which it is told what happens, the first that is there; else it is the first text."""

DEEPEST = 16
"""Lists are looked for down to here; deeper nesting is no answer of a person's schema."""

LONGEST_S = 1e9
"""Times beyond thirty years are no times of a video."""

_BOUND_NAMES = frozenset(name for pair in BOUNDS for name in pair)
_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:[.,]\d{1,9})?)")
_SECONDS = re.compile(r"\d{1,10}(?:\.\d{1,9})?\s?s?")
_TIME = r"\[?((?:\d{1,6}:)?\d{1,6}:\d{1,2}(?:[.,]\d{1,9})?)\]?"
_DASH = "-\u2013\u2014"
_LINE = re.compile(rf"\s*(?:[-*•]\s*)?{_TIME}\s*(?:[{_DASH}]|to|-->)\s*{_TIME}\s*[{_DASH}:]?\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Moment:
    """From `start` to `end`, in seconds, the video shows `label`; what else the answer says of it is in `more`."""

    start: float
    end: float
    label: str
    more: Mapping[str, str | int | float | bool]


def moments_of(answer: object) -> list[Moment]:
    """All moments of a typed answer, in the answer's order."""
    return list(_within(answer, 0))


def moments_of_text(content: str) -> list[Moment]:
    """Moments of an answer without a schema, one a line."""
    found = []
    for line in content.splitlines():
        if match := _LINE.fullmatch(line):
            start, end = seconds_of(match[1]), seconds_of(match[2])
            if start is not None and end is not None and start <= end:
                found.append(Moment(start, end, match[3].strip(), {}))
    return found


def moments_in(answer: object, content: str | None) -> list[Moment]:
    """Moments of a row: of its typed answer, or of its text where it has none."""
    if isinstance(answer, str):  # what has no fixed shape is kept as the text of its JSON
        try:
            answer = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return moments_of_text(content or "")
    return moments_of_text(content or "") if answer is None else moments_of(answer)


def seconds_of(told: object) -> float | None:
    """A time as seconds: a number, "12.5", "01:30" or "1:02:03.5"; nothing where it is none."""
    match told:
        case bool():
            return None
        case int() | float():
            seconds = float(told) if abs(told) <= LONGEST_S else math.inf
        case str():
            seconds = _read(told.strip())
        case _:
            return None
    return seconds if 0 <= seconds <= LONGEST_S else None


def _read(told: str) -> float:
    """Seconds of a text; not a number where it tells none."""
    if match := _CLOCK.fullmatch(told):
        hours, minutes, seconds = match[1], match[2], match[3]
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    if _SECONDS.fullmatch(told) and told.isascii():
        return float(told.removesuffix("s"))
    return math.nan


def _within(value: object, depth: int) -> Iterator[Moment]:
    if depth > DEEPEST:
        return
    match value:
        case list():
            for one in value:
                moment = _moment(one) if isinstance(one, dict) else None
                if moment is not None:
                    yield moment
                else:
                    yield from _within(one, depth + 1)
        case dict():
            for one in value.values():
                yield from _within(one, depth + 1)
        case _:
            return


def _moment(told: Mapping[str, object]) -> Moment | None:
    for first, last in BOUNDS:
        start, end = seconds_of(told.get(first)), seconds_of(told.get(last))
        if start is not None and end is not None and start <= end:
            break
    else:
        return None
    rest = {name: value for name, value in told.items() if name not in _BOUND_NAMES}
    texts = [name for name in (*LABELS, *rest) if isinstance(rest.get(name), str) and rest[name]]
    label = str(rest.pop(texts[0])) if texts else ""
    more = {name: value for name, value in rest.items() if isinstance(value, str | int | float | bool)}
    return Moment(start, end, label, more)
