"""What one cell of a row may hold: the limits of the FoxAPI contract (docs/foxapi.md, section 1), field by field.

Each reader takes a cell as it came, text or an already typed value, and returns the value to ask with, None for an
empty cell, or raises `UnfitError`. A reader judges its cell alone and never looks at the rest of the row.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

import orjson

LONGEST_PROMPT = 100_000
LONGEST_SYSTEM_PROMPT = 10_000
HIGHEST_TEMPERATURE = 2.0
MOST_TOKENS = 2**63 - 1  # the API sets no upper limit; the requests file holds 64 bits

_EXACT_WHOLE = 2**53  # whole floats above are rounded numbers, not what somebody wrote
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_SWITCHES: Mapping[str, bool] = MappingProxyType(
    {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row can't become a request: which field, what stands there, and what may stand there."""

    field: str
    found: object
    allowed: str


class UnfitError(Exception):
    """Carries a `Fault` out of a check; never leaves the core."""

    def __init__(self, field: str, found: object, allowed: str) -> None:
        super().__init__(field, allowed)
        self.fault = Fault(field, found, allowed)


def row_id(cell: object) -> str | None:
    """Read `id`: text or a whole number."""
    if isinstance(cell, str):
        return cell if cell and not cell.isspace() else None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT_WHOLE:
        return str(int(cell))
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if cell is None:
        return None
    raise UnfitError("id", cell, "text or a whole number")


def model(cell: object) -> str | None:
    """Read `model`: any name, for the API's list is open."""
    if cell is None or cell == "":
        return None
    if not isinstance(cell, str) or not cell.isprintable():
        raise UnfitError("model", cell, "the name of a model")
    return cell.strip() or None


def prompt(cell: object) -> str | None:
    """Read `prompt`: 1 to 100,000 characters, not all of them blank."""
    if cell is None or cell == "":
        return None
    if not isinstance(cell, str):
        raise UnfitError("prompt", cell, f"text of 1 to {LONGEST_PROMPT:,} characters")
    if len(cell) > LONGEST_PROMPT:
        raise UnfitError("prompt", f"{len(cell):,} characters", f"text of at most {LONGEST_PROMPT:,} characters")
    if cell.isspace():
        raise UnfitError("prompt", cell, "text that is not blank")
    return cell


def system_prompt(cell: object) -> str | None:
    """Read `system_prompt`: at most 10,000 characters."""
    if cell is None or cell == "":
        return None
    allowed = f"text of at most {LONGEST_SYSTEM_PROMPT:,} characters"
    if not isinstance(cell, str):
        raise UnfitError("system_prompt", cell, allowed)
    if len(cell) > LONGEST_SYSTEM_PROMPT:
        raise UnfitError("system_prompt", f"{len(cell):,} characters", allowed)
    return cell


def temperature(cell: object) -> float | None:
    """Read `temperature`: a finite number from 0 to 2."""
    if cell is None or cell == "" or _is_blank(cell):
        return None
    number = _number(cell)
    if number is None or not 0 <= number <= HIGHEST_TEMPERATURE:
        raise UnfitError("temperature", cell, "a number from 0 to 2")
    return float(number) + 0.0  # -0.0 would ask the same under another hash


def max_tokens(cell: object) -> int | None:
    """Read `max_tokens`: a whole number of at least 1."""
    if cell is None or cell == "" or _is_blank(cell):
        return None
    number = _number(cell)
    if number is None or not 1 <= number <= MOST_TOKENS or number != int(number):
        raise UnfitError("max_tokens", cell, "a whole number of at least 1")
    return int(number)


def reasoning(cell: object) -> bool | None:
    """Read `reasoning`: true or false, or 1, 0, yes, no."""
    if cell is None or cell == "" or _is_blank(cell):
        return None
    word = str(cell).strip().lower() if isinstance(cell, str | int) else ""
    if word not in _SWITCHES:
        raise UnfitError("reasoning", cell, "true or false (also 1, 0, yes, no)")
    return _SWITCHES[word]


def as_text(value: object) -> str:
    """Return a carried value that isn't text as JSON text; bytes as base64, a date or a decimal as it prints."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = as_json(value)
    return str(json.loads(text)) if text.startswith('"') else text


def as_json(value: object) -> str:
    """Return any value as JSON, with text for what JSON has no form of."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError:  # bytes that are no UTF-8, a number beyond 64 bits: escaped or spelled out
        return json.dumps(value, default=_plain)


def _plain(value: object) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_blank(cell: object) -> bool:
    return isinstance(cell, str) and not cell.strip()


def _number(cell: object) -> float | Decimal | None:
    """Return the finite number that a cell holds, as a number or as text; None when it holds none."""
    if isinstance(cell, str):
        text = cell.strip()
        # Decimal and not float: 9007199254740993 must not become its even neighbour.
        return Decimal(text) if _NUMBER.fullmatch(text) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return None
    return cell if isinstance(cell, int) or math.isfinite(cell) else None
