"""Generation ids that look random, never repeat, and tell this simulator (and nobody else) their sequence number.

A dictionary of a million ids would cost more memory than everything else that is kept about them; a permutation costs
nothing.
"""

import random
import re
import string

_ALPHABET = string.digits + string.ascii_lowercase
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_LENGTH = 8
_SUFFIX = re.compile("[0-9a-z]{8}")
_SPACE = len(_ALPHABET) ** _LENGTH
_PREFIX = "task-llmrouter-"


class Identifiers:
    """An affine permutation of all eight-character suffixes, drawn once."""

    def __init__(self, rng: random.Random) -> None:
        # A multiplier that shares no factor with 36 makes the map one to one.
        self._multiplier = rng.randrange(_SPACE // 36) * 36 + rng.choice((1, 5, 7, 11, 13, 17, 19, 23, 25, 29, 31, 35))
        self._offset = rng.randrange(_SPACE)
        self._inverse = pow(self._multiplier, -1, _SPACE)

    def encode(self, sequence: int, created: int) -> str:
        """Return the id of the generation with this sequence number, created at this unix second."""
        return f"{_PREFIX}{created}-{_base36((sequence * self._multiplier + self._offset) % _SPACE)}"

    def decode(self, generation_id: str) -> tuple[int, int] | None:
        """Return (sequence, created) as an id says them; None for what can't be an id of ours.

        Any well-formed id gives some number: whoever asks compares `created` with what was recorded.
        """
        created, dash, suffix = generation_id.removeprefix(_PREFIX).partition("-")
        if not (dash and created.isdecimal() and _SUFFIX.fullmatch(suffix) and generation_id.startswith(_PREFIX)):
            return None
        return (int(suffix, 36) - self._offset) * self._inverse % _SPACE, int(created)


def _base36(number: int) -> str:
    number, fourth = divmod(number, 1296)
    number, third = divmod(number, 1296)
    first, second = divmod(number, 1296)
    return _PAIRS[first] + _PAIRS[second] + _PAIRS[third] + _PAIRS[fourth]
