"""Server-sent events without I/O: pieces of bytes in, whole events out, wherever the pieces were cut.

Time grows with the bytes and not with the pieces, so a stream that comes byte by byte costs no more than its bytes.
What can't be an event of an API in its senses becomes a value, too, instead of memory.
"""

import re
from dataclasses import dataclass
from typing import Final

LARGEST_EVENT: Final = 4 * 1024 * 1024
"""A chunk of an answer is some hundred bytes, a whole answer some kB."""

_LINE_END = re.compile(rb"\r\n?|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event; `name` is empty where the stream gave none, `data` its lines, joined by line feeds."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SseTooLarge:
    """An event beyond the bound: nothing after it is read."""


class SseParser:
    """Reads one stream. An event that the stream leaves unfinished is none, as the standard has it."""

    __slots__ = ("_after_cr", "_began", "_data", "_line", "_most", "_name", "_over")

    def __init__(self, most: int = LARGEST_EVENT) -> None:
        """`most` bounds an event, and a line, in bytes."""
        self._most = most
        self._line = bytearray()
        self._data = bytearray()
        self._name = ""
        self._began = False
        self._after_cr = False
        self._over = False

    def feed(self, piece: bytes) -> list[SseEvent | SseTooLarge]:
        """Take the next bytes; the events that they end."""
        events: list[SseEvent | SseTooLarge] = []
        start = 1 if self._after_cr and piece[:1] == b"\n" else 0
        self._after_cr = self._after_cr and not piece
        while not self._over:
            end = _LINE_END.search(piece, start)
            self._line += piece[start : end.start() if end else len(piece)]
            if len(self._line) + len(self._data) > self._most:
                self._over = True
                self._line, self._data = bytearray(), bytearray()
                events.append(SseTooLarge())
            elif end is None:
                break
            else:
                self._after_cr = end[0] == b"\r" and end.end() == len(piece)
                start = end.end()
                self._ended_line(events)
        return events

    def _ended_line(self, events: list[SseEvent | SseTooLarge]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not self._began:
            self._began = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(SseEvent(self._name, bytes(self._data[:-1])))
                self._data.clear()
            self._name = ""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data += value
            self._data += b"\n"
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
