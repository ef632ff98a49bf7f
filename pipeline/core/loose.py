"""JSON from the outside, taken loosely: each function returns a usable value or None, whatever it is given.

The API's field types are a promise of its documentation, not of its bytes. Nothing here may raise on any value, or
turn a wrong value into a plausible one: a count that is not a non-negative integer is no count.
"""

import json
import math
from typing import Any

import orjson

LONGEST_MESSAGE = 2_000
LONGEST_WORD = 200
_LARGEST_COUNT = 2**63 - 1  # the dataset's columns are int64


def document(body: bytes) -> object:
    """Return the JSON value of a body, or None where there is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _document_with_flaws(body) if body else None


def _document_with_flaws(body: bytes) -> object:
    """Read what strict JSON refuses: half an emoji as an escape, bytes that aren't UTF-8, a byte order mark, NaN.

    An answer that was paid for is worth the slow way; what can't be written as UTF-8 becomes a question mark.
    """
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def encoded(value: object) -> str | None:
    """Return the compact JSON text of a value; None for None, and for nesting deeper than the encoder goes."""
    try:
        return None if value is None else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return None


def mapping(value: object) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def string(value: object) -> str | None:
    """Return the value if it is a string."""
    return value if isinstance(value, str) else None


def word(value: object) -> str | None:
    """Return a machine word; an integer as its digits, since some services number their codes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value[:LONGEST_WORD] if isinstance(value, str) and value else None


def text(value: object) -> str | None:
    """Return a non-empty string, cut to `LONGEST_MESSAGE` characters."""
    return value[:LONGEST_MESSAGE] if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """Return the value if it is a non-negative integer that fits the dataset."""
    return value if type(value) is int and 0 <= value <= _LARGEST_COUNT else None


def amount(value: object) -> float | None:
    """Return the value if it is a finite, non-negative number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return None
    return float(value) if math.isfinite(value) else None
