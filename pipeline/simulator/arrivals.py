"""When requests came, and what each was told: what a client's pace is judged by.

Kept apart from the books, which know only what was accepted: a pace shows in the refused ones too. Packed records, 14
bytes a request, so that a million of them take some 15 MB. It must never cost a request more than it takes to append.
"""

import math
import struct

from pipeline.simulator.messages import Answer, Flood, Response, Streamed

NO_STATUS = 0
"""Stands for an answer that was not meant to arrive whole: a hangup, a silence, a cut."""


def told(answer: Answer) -> int:
    """Return the status that the client gets to see, or `NO_STATUS`."""
    if type(answer) is Response:  # nearly always, and cheaper than isinstance
        return answer.status
    return answer.response.status if isinstance(answer, Flood | Streamed) else NO_STATUS


# Unix seconds, status, seconds of Retry-After; a number that is none stands for a Retry-After that was not given.
_ARRIVAL = struct.Struct("<dHf")
_pack = _ARRIVAL.pack


class Arrivals:
    """Append-only records, in the order of arrival."""

    def __init__(self) -> None:
        self._records = bytearray()

    def __len__(self) -> int:
        return len(self._records) // _ARRIVAL.size

    def note(self, at: float, status: int, wait_s: float | None) -> None:
        """Keep one request: when its last byte was read, and what it was told."""
        self._records += _pack(at, status, math.nan if wait_s is None else wait_s)

    def rows(self, offset: int, limit: int) -> list[tuple[float, int, float | None]]:
        """Return so many from there on: unix seconds, status, and the `Retry-After` that came with it or None."""
        first, last = (place * _ARRIVAL.size for place in (offset, min(offset + limit, len(self))))
        found = _ARRIVAL.iter_unpack(self._records[first:last])
        return [(at, status, None if math.isnan(wait) else wait) for at, status, wait in found]
