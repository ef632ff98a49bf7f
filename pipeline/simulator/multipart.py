"""One file out of a multipart/form-data body, piece by piece: what came is written on, and never held.

It reads what HTTP clients write (RFC 7578), one part named `file`, and passes over all others.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import BinaryIO

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'(?:^|;)\s*name="?([^";]*)"?', re.IGNORECASE)
_FILENAME = re.compile(rb'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_LONGEST_HEAD = 16_384
_FIELD = b"file"


class NotMultipart(Exception):
    """A body that holds no such file; the message is for the one who sent it."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type names; raises NotMultipart."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise NotMultipart("The body must be multipart/form-data with a boundary.")
    return (match[1] or match[2]).encode("latin-1")


class FileReader:
    """Takes a body's bytes and gives those of its file to whatever `open_file` returns."""

    def __init__(self, boundary: bytes, open_file: Callable[[], BinaryIO]) -> None:
        self._mark = b"\r\n--" + boundary
        self._open_file = open_file
        # The first boundary stands at the beginning, without an end of line before it.
        self._held = b"\r\n"
        self._state = self._between
        self._file: BinaryIO | None = None
        self._done = False
        self._hash = sha256()
        self.filename = ""
        self.size = 0
        self.found = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raises NotMultipart."""
        self._held += data
        while self._state():
            pass

    def end(self) -> str:
        """Return the file's SHA-256 in hex; raises NotMultipart where the body holds no whole file."""
        if not (self._done and self.found):
            raise NotMultipart("The body must hold a file in the field `file`, and end with its boundary.")
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _between(self) -> bool:
        """Look for the next boundary, and pass over what stands before it."""
        at = self._held.find(self._mark)
        if at < 0:
            self._give(self._held[: -len(self._mark)])
            self._held = self._held[-len(self._mark) :]
            return False
        self._give(self._held[:at])
        self.close()
        self._held = self._held[at + len(self._mark) :]
        self._state = self._after_boundary
        return True

    def _after_boundary(self) -> bool:
        if len(self._held) < 2:  # noqa: PLR2004 - two dashes, or the end of the line
            return False
        if self._held.startswith(b"--"):
            self._done, self._state = True, self._after_all
            return True
        line, found, rest = self._held.partition(b"\r\n")
        if not found:
            return self._too_long()
        if line.strip():
            raise NotMultipart("A boundary of the body is followed by something else.")
        # What comes next is a head, perhaps an empty one.
        self._held, self._state = b"\r\n" + rest, self._in_head
        return True

    def _in_head(self) -> bool:
        head, found, rest = self._held.partition(b"\r\n\r\n")
        if not found:
            return self._too_long()
        self._held, self._state = rest, self._between
        self._begin_part(head)
        # An empty part has its boundary at once.
        self._held = b"\r\n" + rest if rest.startswith(self._mark[2:]) else rest
        return True

    def _too_long(self) -> bool:
        if len(self._held) > _LONGEST_HEAD:
            raise NotMultipart("The head of a part is too long.")
        return False

    def _begin_part(self, head: bytes) -> None:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition" and (field := _NAME.search(value)):
                self._begin_field(field[1], _FILENAME.search(value))

    def _begin_field(self, name: bytes, filename: "re.Match[bytes] | None") -> None:
        if name != _FIELD:
            return
        if self.found or filename is None:
            raise NotMultipart("The field `file` must be one file, with its name.")
        self.found = True
        self.filename = filename[1].decode("utf-8", "replace")
        self._file = self._open_file()

    def _give(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            self._hash.update(data)
            self.size += len(data)

    def _after_all(self) -> bool:
        self._held = b""
        return False
