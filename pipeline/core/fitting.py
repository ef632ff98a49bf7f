"""A value from JSON brought into a shape, and places and values of an answer in words.

A value may fit its schema and yet no column: a whole number beyond 64 bits, or an object where only the properties of
one were described. Nothing here may raise anything else than `UnheldError`, whatever the value is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline.core.shapes import Shape

_INT64 = range(-(2**63), 2**63)
_SHOWN_CHARACTERS = 80
_PLAIN_NAME = re.compile(r"[^\W\d]\w*")


class UnheldError(Exception):
    """Carries a place of an answer that its column can't hold, and why, out of a fit; never leaves the core."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str | int] = []


Fit = Callable[[Any], Any]
"""Takes a value from JSON and returns it as its column holds it; raises UnheldError."""


def fit_of(shape: Shape) -> Fit:
    """What brings values into a shape: made once, called for each answer."""
    if isinstance(shape, str):
        return _FITS[shape]
    if "list" in shape:
        return _listed(fit_of(shape["list"]))
    return _struct_of([(name, fit_of(held)) for name, held in shape["struct"].items()])


def _listed(fit: Fit) -> Fit:
    def listed(value: Any) -> list[Any] | None:  # noqa: ANN401 - what JSON holds
        if value is None:
            return None
        if type(value) is not list:
            raise _unheld("a list", value)
        held: list[Any] = []
        try:
            for one in value:
                held.append(fit(one))  # noqa: PERF401 - its length tells which one did not fit
        except UnheldError as error:
            error.steps.append(len(held))
            raise
        return held

    return listed


def _struct_of(fits: Sequence[tuple[str, Fit]]) -> Fit:
    def struct(value: Any) -> dict[str, Any] | None:  # noqa: ANN401 - what JSON holds
        if value is None:
            return None
        if type(value) is not dict:
            raise _unheld("an object", value)
        held, get, name = {}, value.get, ""
        try:
            for name, fit in fits:
                held[name] = fit(get(name))
        except UnheldError as error:
            error.steps.append(name)
            raise
        return held

    return struct


def _text(value: Any) -> str | None:  # noqa: ANN401 - what JSON holds
    if value is None:
        return None
    if type(value) is not str:
        raise _unheld("text", value)
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError:
        raise UnheldError("found half of a character (a lone surrogate), which no column holds") from None
    return value


def _int(value: Any) -> int | None:  # noqa: ANN401
    if value is None:
        return None
    whole = value
    if type(value) is float and value.is_integer():
        whole = int(value)
    if type(whole) is not int:
        raise _unheld("a whole number", value)
    if whole not in _INT64:
        raise _unheld("a whole number of 64 bits", value)
    return whole


def _float(value: Any) -> float | None:  # noqa: ANN401
    if value is None or type(value) is float:
        return value
    if type(value) is not int:
        raise _unheld("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _unheld("a number of 64 bits", value) from None


def _bool(value: Any) -> bool | None:  # noqa: ANN401
    if value is None or type(value) is bool:
        return value
    raise _unheld("true or false", value)


def _json(value: Any) -> str | None:  # noqa: ANN401
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        raise UnheldError("found a value that can't be written as JSON text") from None


_FITS: Mapping[str, Fit] = {"text": _text, "word": _text, "int": _int, "float": _float, "bool": _bool, "json": _json}


def _unheld(wanted: str, value: object) -> UnheldError:
    return UnheldError(f"found {shown(value)}; its column holds {wanted}")


def shown(value: object) -> str:
    """A value for people, cut where it is long."""
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError):
        text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def json_path(steps: Sequence[str | int]) -> str:
    """A place in a JSON value, such as `$.events[2].start`, cut where names make it long."""
    path = "$" + "".join(map(_step, steps))
    return path if len(path) <= 2 * _SHOWN_CHARACTERS else f"{path[: 2 * _SHOWN_CHARACTERS]}…"


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_NAME.fullmatch(step) else f"[{orjson.dumps(step).decode()}]"
