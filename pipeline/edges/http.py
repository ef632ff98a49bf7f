"""The door to the API: one request, one whole reply, or one of two exceptions that say whether anything was sent.

It speaks httpx; aiohttp carries the requests, through a transport of our own (`http_transport`; docs/transport.md says
why). The transport is called directly, since httpx's client layer costs more than the exchange.
It must never follow a redirect, send a POST twice, keep a cookie, obey an environment proxy, or hold more of a body
than it was told to.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
import httpx

from pipeline.core.answers import Problem
from pipeline.edges.http_transport import LARGE, AiohttpTransport, HttpSettings, Prepared

_LARGE_AT_ONCE = 2  # a flood of floods may not cost more memory than this many of them
_MESSAGE_LENGTH = 500
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

_BEFORE_THE_REQUEST = (aiohttp.InvalidURL, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What aiohttp raises only for a URL that is none, or while it gets a connection: name look-up, connect, TLS handshake,
or the wait for a slot.
"""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class DoorError(Exception):
    """No whole reply; `problem` says why, without the request's headers."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class NotSentError(DoorError):
    """Proven: not a byte of this request left."""


class NoAnswerError(DoorError):
    """The request may have been received and carried out."""


class HttpDoor:
    """One per process and event loop, made after the fork; its connections open with the first request."""

    def __init__(self, settings: HttpSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._transport = AiohttpTransport(settings) if transport is None else transport
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._closed = False

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpReply:
        """Send one POST, at most once; raises `NotSentError` or `NoAnswerError`."""
        return await self._exchange("POST", url, headers, body)

    async def get(self, url: str, headers: Mapping[str, str]) -> HttpReply:
        """Send one GET; raises as `post` does.

        The transport may repeat a GET once on a new connection; then `NotSentError` speaks of the second try alone.
        """
        return await self._exchange("GET", url, headers, None)

    async def close(self) -> None:
        """Close every connection; later requests are not sent."""
        self._closed = True
        await self._transport.aclose()

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> HttpReply:
        if self._closed:
            raise NotSentError(Problem("connect_failed", "The door to the API is closed."))
        try:
            request = Prepared(method, url, headers, body)
            async with asyncio.timeout(self._settings.total_timeout_s):
                return await self._send(request)
        except Exception as error:  # noqa: BLE001 - what isn't known to be unsent may have been billed
            failure = _failure(error)
        # Raised outside the handler: a chained exception of the libraries can show the Authorization header.
        raise failure

    async def _send(self, request: httpx.Request) -> HttpReply:
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport answers with one
        try:
            raw = await self._read(stream)
        except BaseException:
            await _discard(stream)
            raise
        await _discard(stream)
        # bytes that are not UTF-8 come as half characters, which nothing could write down
        told = ((name.lower(), value) for name, value in response.headers.items())
        headers = {name: value if value.isascii() else _legible(value) for name, value in told}
        return HttpReply(response.status_code, headers, self._decompressed(raw, headers.get("content-encoding")))

    async def _read(self, stream: httpx.AsyncByteStream) -> bytes:
        """A whole body. What is not read yet waits at the API, so few large ones are held at a time."""
        chunks: list[bytes] = []
        pieces = aiter(stream)
        if not await _gathered(pieces, chunks, min(LARGE, self._settings.max_body)):
            async with self._large:
                if not await _gathered(pieces, chunks, self._settings.max_body):
                    raise _BodyTooLargeError
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _decompressed(self, raw: bytes, encoding: str | None) -> bytes:
        """Undo what some proxies do although nobody asked for it, within `max_body`."""
        bits = _WINDOW_BITS.get(encoding.strip().lower()) if encoding else None
        if bits is None:
            return raw
        body = zlib.decompressobj(wbits=bits).decompress(raw, self._settings.max_body + 1)
        if len(body) > self._settings.max_body:
            raise _BodyTooLargeError
        return body


async def _gathered(pieces: AsyncIterator[bytes], chunks: list[bytes], most: int) -> bool:
    """Take pieces of a body into `chunks`; whether that was its end, as against more than `most` bytes."""
    size = sum(map(len, chunks))
    while size <= most:
        piece = await anext(pieces, None)
        if piece is None:
            return True
        chunks.append(piece)
        size += len(piece)
    return False


class _BodyTooLargeError(Exception):
    """More than `max_body`."""


def _legible(value: str) -> str:
    """A header's bytes, one character each."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


async def _discard(stream: httpx.AsyncByteStream) -> None:
    """Give the connection back, or close it where the body was not read to its end."""
    with contextlib.suppress(Exception):  # a whole reply that was paid for must not be lost to a late close
        await stream.aclose()


def _failure(error: Exception) -> DoorError:
    if isinstance(error, _BodyTooLargeError):
        return NoAnswerError(Problem("body_too_large", "The answer is larger than any that the API should give."))
    if _nothing_was_sent(error):
        return NotSentError(Problem("connect_failed", _described(error)))
    return NoAnswerError(Problem("no_answer", _described(error)))


def _nothing_was_sent(error: Exception) -> bool:
    """Whether the error proves that no byte of the request left."""
    return isinstance(error, _BEFORE_THE_REQUEST)


def _described(error: Exception) -> str:
    if type(error) is TimeoutError:  # aiohttp's own are of its kind, and say more
        return "The whole answer did not come in time."
    return f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
