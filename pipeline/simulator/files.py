"""Answers that are files: whole or a range of their bytes, read from the disk at the client's pace."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from pipeline.simulator.messages import Answer, Response, Sink, Streamed

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_PIECE = 1 << 18
_UNREAD_S = 0.01
_RANGES = ("Accept-Ranges", "bytes")
_PARTIAL, _UNSATISFIABLE = 206, 416


def ranged(asked: str, size: int) -> tuple[int, int] | None:
    """Return (first, end) of the range that is asked of so many bytes; all of them where it is no range of ours.

    None where there is no such byte.
    """
    match = _RANGE.fullmatch(asked)
    if match is None or not (match[1] or match[2]):
        return 0, size
    if not match[1]:
        return (size - min(int(match[2]), size), size) if int(match[2]) and size else None
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return 0, size
    return (first, min(last + 1, size)) if first < size else None


def _head(asked: str, size: int, content_type: str) -> tuple[Response, int, int]:
    found = ranged(asked, size)
    if found is None:
        return Response(_UNSATISFIABLE, b"", content_type, (_RANGES, ("Content-Range", f"bytes */{size}"))), 0, 0
    first, end = found
    if (first, end) == (0, size):
        return Response(200, b"", content_type, (_RANGES,)), first, end
    shown = ("Content-Range", f"bytes {first}-{end - 1}/{size}")
    return Response(_PARTIAL, b"", content_type, (_RANGES, shown)), first, end


def bytes_answer(data: bytes, asked: str, content_type: str) -> Response:
    """Return the answer that holds these bytes, or the range of them that is asked for."""
    head, first, end = _head(asked, len(data), content_type)
    return replace(head, body=data[first:end])


def file_answer(path: Path, asked: str, content_type: str) -> Answer:
    """Return the answer that reads this file, or the range of it that is asked for."""
    head, first, end = _head(asked, path.stat().st_size, content_type)
    if end == first:
        return head
    return Streamed(head, FileSource(path, first, end), length=end - first)


class FileSource:
    """Writes a part of a file, never more than one piece ahead of what the client reads."""

    def __init__(self, path: Path, first: int, end: int) -> None:
        self._path = path
        self._at = first
        self._end = end

    def begin(self, sink: Sink) -> None:
        """Write from now on."""
        self._sink = sink
        self._file = self._path.open("rb")
        self._file.seek(self._at)
        asyncio.get_running_loop().call_soon(self._go_on)

    def drop(self) -> None:
        """Close the file."""
        self._file.close()

    def _go_on(self) -> None:
        if self._file.closed:
            return
        if not self._sink.is_open:
            asyncio.get_running_loop().call_later(_UNREAD_S, self._go_on)
            return
        piece = self._file.read(min(_PIECE, self._end - self._at))
        self._at += len(piece)
        if piece:
            self._sink.write((piece,))
        if piece and self._at < self._end:
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        self._file.close()
        if self._at < self._end:  # somebody made the file shorter
            self._sink.reset()
        else:
            self._sink.end(receipted=True)
