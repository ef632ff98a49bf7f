"""The body of an answer that is a stream of events, taken piece by piece. For `http`, which opens it."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from pipeline.core.answers import Problem

EVENTS = "text/event-stream"


class DoorError(Exception):
    """No whole reply; `problem` says why, without the request's headers."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class NotSentError(DoorError):
    """Proven: not a byte of this request left."""


class NoAnswerError(DoorError):
    """The request may have been received and carried out."""


class Body(Protocol):
    """What carries the pieces: httpx's stream of an answer."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""


class HttpStream:
    """One answer's events as bytes, in whatever pieces they come; to be closed by whoever opened it.

    The transport bounds silence, `until` (the loop's clock) a server that drips, and `most` one that floods.
    """

    __slots__ = ("_body", "_inflate", "_most", "_pieces", "_until")

    def __init__(self, body: Body, inflate: "zlib._Decompress | None", *, until: float, most: int) -> None:
        self._body = body
        self._pieces = aiter(body)
        self._inflate = inflate
        self._until = until
        self._most = most

    async def next(self) -> bytes | None:
        """The next bytes, None after the last; raises `NoAnswerError` where the answer breaks off."""
        try:
            if asyncio.get_running_loop().time() > self._until:
                raise TimeoutError  # noqa: TRY301 - told like one of the transport's own
            piece = await anext(self._pieces, None)
            if piece is not None and self._inflate is not None:
                piece = self._inflate.decompress(piece, self._most + 1)
        except Exception as error:  # noqa: BLE001 - whatever broke, the answer is not whole
            failure = NoAnswerError(Problem("no_answer", described(error)))
        else:
            if piece is None or len(piece) <= self._most:
                self._most -= len(piece or b"")
                return piece
            failure = too_large()
        # Raised outside the handler: a chained exception of the libraries can show the Authorization header.
        raise failure

    async def finish(self, seconds: float) -> None:
        """Read what is left of an answer that is known already, so that its connection can serve again."""
        with contextlib.suppress(TimeoutError, NoAnswerError):
            async with asyncio.timeout(seconds):
                while await self.next() is not None:
                    pass

    async def close(self) -> None:
        """Give the connection back, or close it where the stream was not read to its end."""
        with contextlib.suppress(Exception):  # a stream that was read must not be lost to a late close
            await self._body.aclose()


def too_large() -> NoAnswerError:
    """The answer is a flood."""
    return NoAnswerError(Problem("body_too_large", "The answer is larger than any that the API should give."))


_MESSAGE_LENGTH = 500


def described(error: Exception) -> str:
    """What failed, in a line."""
    if type(error) is TimeoutError:  # aiohttp's own are of its kind, and say more
        return "The whole answer did not come in time."
    return f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
