"""A request's body with its videos in it, made while it is sent: its length is known, its bytes are not held.

A body names a video that is no plain URL by its reference, as one string of its JSON; that string gives way to a URL,
or to the video itself.
"""

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import orjson

PIECE = 192 * 1024
"""Bytes of a file that are read, encoded and sent at a time."""

Pieces = Callable[[], AsyncIterator[bytes]]


class BrokenBodyError(Exception):
    """A file gave other bytes while it was sent than it was announced with: what was sent is not whole."""


@dataclass(frozen=True, slots=True)
class RawVideo:
    """A file's bytes, as they are."""

    size: int
    pieces: Pieces

    @property
    def length(self) -> int:
        """How many bytes it takes."""
        return self.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in _whole(self.size, self.pieces):
            yield piece


@dataclass(frozen=True, slots=True)
class InlineVideo:
    """A file as a `data:` URI; `pieces` begins to read it anew."""

    media_type: str
    size: int
    pieces: Pieces

    @property
    def head(self) -> bytes:
        """What stands before the base64."""
        return f"data:{self.media_type};base64,".encode()

    @property
    def length(self) -> int:
        """How many bytes it takes."""
        return len(self.head) + (self.size + 2) // 3 * 4

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.head
        left = b""
        async for piece in _whole(self.size, self.pieces):
            held = left + piece
            whole = len(held) // 3 * 3
            left = held[whole:]
            if whole:
                yield b64encode(held[:whole])
        if left:
            yield b64encode(left)


NO_VIDEOS: Final[Mapping[str, str | InlineVideo]] = MappingProxyType({})


async def _whole(size: int, pieces: Pieces) -> AsyncIterator[bytes]:
    """All of a file's bytes; BrokenBodyError where they are more or fewer than announced."""
    left = size
    async for piece in pieces():
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise BrokenBodyError("a file changed its length while it was sent")


class Payload:
    """A body in parts. `went_on` is called with each piece that is taken, for whoever watches that it goes on."""

    def __init__(self, parts: Sequence[bytes | RawVideo | InlineVideo]) -> None:
        self._parts = parts
        self.length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
        self.went_on: Callable[[], None] = _nothing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            async for piece in part:
                self.went_on()
                yield piece
        self.went_on()

    def __repr__(self) -> str:
        return f"Payload({self.length} bytes)"


def _nothing() -> None:
    """Nobody watches."""


def spliced(body: bytes, videos: Mapping[str, str | InlineVideo]) -> bytes | Payload:
    """A body of JSON in which each video's reference is what is sent instead.

    Only strings that stand in a list, or are a `url`, are looked at: a prompt may read just like a reference.
    """
    if not videos:
        return body
    tokens = {orjson.dumps(reference): sent for reference, sent in videos.items()}
    pattern = re.compile(rb'(?:(?<=[\[,])|(?<="url":))(?:' + b"|".join(map(re.escape, tokens)) + rb")(?=[\],}])")
    parts: list[bytes | RawVideo | InlineVideo] = []
    at = 0
    for found in pattern.finditer(body):
        parts.append(body[at : found.start()])
        sent = tokens[found[0]]
        parts += [orjson.dumps(sent)] if isinstance(sent, str) else [b'"', sent, b'"']
        at = found.end()
    parts.append(body[at:])
    if all(isinstance(part, bytes) for part in parts):
        return b"".join(part for part in parts if isinstance(part, bytes))
    return Payload(parts)
