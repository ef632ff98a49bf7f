"""How a switch's value is read: text from a command line or JSON from the admin endpoint, to what the settings hold.

Pure; whatever does not fit is a SettingsError that quotes it. It must never guess.
"""

import math
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.simulator.latency import Latency, parse_latency, seconds

Parse = Callable[[object], object]

_PRICES = 4


def a_text(value: object) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise SettingsError(f"expected text, not {value!r}.")
    return value


def a_header(value: object) -> str:
    """Read text that can stand in a header as it is."""
    text = a_text(value)
    if not (text.isascii() and text.isprintable()):
        raise SettingsError(f"expected printable ASCII, not {value!r}.")
    return text


def a_choice(*choices: str) -> Parse:
    """Return a parser that takes one of these words."""

    def parse(value: object) -> str:
        if value not in choices:
            raise SettingsError(f"expected one of {', '.join(choices)}, not {value!r}.")
        return str(value)

    return parse


def a_flag(value: object) -> bool:
    """Read true or false, on or off."""
    words = {True: True, False: False, "true": True, "false": False, "on": True, "off": False}
    if not isinstance(value, bool | str) or value not in words:
        raise SettingsError(f"expected true or false, not {value!r}.")
    return words[value]


def _real(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    return math.nan if isinstance(value, bool) else number


def a_number(value: object) -> float:
    """Read a number of 0 or more."""
    number = _real(value)
    if math.isnan(number) or number < 0:
        raise SettingsError(f"expected a number of 0 or more, not {value!r}.")
    return number


def a_whole_number(value: object) -> int:
    """Read a whole number of 0 or more."""
    number = a_number(value)
    if not number.is_integer():
        raise SettingsError(f"expected a whole number, not {value!r}.")
    return int(number)


def a_base(value: object) -> int:
    """Read what counting begins with."""
    number = a_whole_number(value)
    if number > 1:
        raise SettingsError(f"expected 0 or 1, not {value!r}.")
    return number


def an_offset(value: object) -> int:
    """Read whole seconds, forward or back."""
    number = _real(value)
    if not number.is_integer():
        raise SettingsError(f"expected a whole number of seconds, perhaps negative, not {value!r}.")
    return int(number)


def a_rate(value: object) -> float:
    """Read a share."""
    number = a_number(value)
    if number > 1:
        raise SettingsError(f"expected a share between 0 and 1, not {value!r}.")
    return number


def a_duration(value: object) -> float:
    """Read seconds."""
    return seconds(value) if isinstance(value, str) else a_number(value)


def a_latency(value: object) -> Latency:
    """Read a distribution of seconds."""
    return parse_latency(value if isinstance(value, str) else f"{a_number(value)}s")


def a_status(value: object) -> int:
    """Read an HTTP status that has a name."""
    number = a_whole_number(value)
    if number not in HTTPStatus.__members__.values():
        raise SettingsError(f"expected an HTTP status, not {value!r}.")
    return number


def names(value: object) -> tuple[str, ...]:
    """Read names, as a list or separated by commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise SettingsError(f"expected names separated by commas, not {value!r}.")
    return tuple(part.strip() for part in parts if part.strip())


def prices(value: object) -> tuple[float, ...]:
    """Read the four prices."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != _PRICES:
        raise SettingsError(f"expected {_PRICES} numbers separated by commas, not {value!r}.")
    return tuple(a_number(part) for part in parts)


def a_folder(value: object) -> Path:
    """Read a folder's path."""
    return value if isinstance(value, Path) else Path(a_text(value))


def optional(parse: Parse) -> Parse:
    """Return a parser that also takes nothing: null, `none` or empty text."""
    return lambda value: None if value is None or value in ("", "none") else parse(value)
