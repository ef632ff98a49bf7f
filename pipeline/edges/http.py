"""The door to the API: one request, one whole reply, or one of two exceptions that say whether anything was sent.

It speaks httpx; aiohttp carries the requests, through a transport of our own (`http_transport`; docs/transport.md says
why). The transport is called directly, since httpx's client layer costs more than the exchange.
It must never follow a redirect, send a POST twice, keep a cookie, obey an environment proxy, or hold more of a body
than it was told to.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import aiohttp
import httpx

from pipeline.core.answers import UNREACHABLE, Problem
from pipeline.edges.http_stream import (
    EVENTS,
    DoorError,
    HttpStream,
    NoAnswerError,
    NotSentError,
    described,
    too_large,
)
from pipeline.edges.http_transport import LARGE, AiohttpTransport, HttpSettings, Prepared
from pipeline.edges.payload import Payload

__all__ = ["DoorError", "HttpDoor", "HttpReply", "HttpStream", "NoAnswerError", "NotSentError"]

_Came = TypeVar("_Came")
_LARGE_AT_ONCE = 2  # a flood of floods may not cost more memory than this many of them
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


class HttpDoor:
    """One per process and event loop, made after the fork; its connections open with the first request."""

    def __init__(self, settings: HttpSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._transport = AiohttpTransport(settings) if transport is None else transport
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._closed = False

    async def post(self, url: str, headers: Mapping[str, str], body: bytes | Payload) -> HttpReply:
        """Send one POST, at most once; raises `NotSentError` or `NoAnswerError`."""
        return await self._exchange("POST", url, headers, body, self._whole)

    async def get(self, url: str, headers: Mapping[str, str]) -> HttpReply:
        """Send one GET; raises as `post` does.

        The transport may repeat a GET once on a new connection; then `NotSentError` speaks of the second try alone.
        """
        return await self._exchange("GET", url, headers, None, self._whole)

    async def stream(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Payload | None = None
    ) -> HttpReply | HttpStream:
        """Send one GET or POST that is answered with a stream of events, to be closed by the caller.

        Raises as `get` and `post` do. Whatever else is answered comes as a whole reply.
        """
        return await self._exchange(method, url, headers, body, self._stream_or_whole)

    async def status_of_post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send one POST, as `post` does, of whose answer the status alone counts: the rest is not read."""
        return await self._exchange("POST", url, headers, body, _status)

    async def close(self) -> None:
        """Close every connection; later requests are not sent."""
        self._closed = True
        await self._transport.aclose()

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Payload | None,
        take: Callable[[httpx.Response, float], Awaitable[_Came]],
    ) -> _Came:
        if self._closed:
            raise NotSentError(Problem(UNREACHABLE, "The door to the API is closed."))
        try:
            request = Prepared(method, url, headers, body)
            async with asyncio.timeout(self._settings.total_timeout_s) as limit:
                if isinstance(body, Payload):  # a large one may take long: the time begins anew with each piece
                    body.went_on = partial(self._goes_on, limit)
                response = await self._transport.handle_async_request(request)
                return await take(response, limit.when() or 0.0)
        except Exception as error:  # noqa: BLE001 - what isn't known to be unsent may have been billed
            failure = _failure(error)
        # Raised outside the handler: a chained exception of the libraries can show the Authorization header.
        raise failure

    def _goes_on(self, limit: asyncio.Timeout) -> None:
        limit.reschedule(asyncio.get_running_loop().time() + self._settings.total_timeout_s)

    async def _whole(self, response: httpx.Response, _until: float) -> HttpReply:
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

    async def _stream_or_whole(self, response: httpx.Response, until: float) -> HttpReply | HttpStream:
        """A stream has until then what is left of the exchange's time: whoever waits for it counts on that bound."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not 200 <= response.status_code < 300 or kind != EVENTS:  # noqa: PLR2004 - the HTTP classes
            return await self._whole(response, until)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport answers with one
        inflate = _inflating(response.headers.get("content-encoding"))
        return HttpStream(stream, inflate, until=until, most=self._settings.max_body)

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
        inflate = _inflating(encoding)
        if inflate is None:
            return raw
        body = inflate.decompress(raw, self._settings.max_body + 1)
        if len(body) > self._settings.max_body:
            raise _BodyTooLargeError
        return body


async def _status(response: httpx.Response, _until: float) -> int:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport answers with one
    await _discard(stream)
    return response.status_code


def _inflating(encoding: str | None) -> "zlib._Decompress | None":
    bits = _WINDOW_BITS.get(encoding.strip().lower()) if encoding else None
    return None if bits is None else zlib.decompressobj(wbits=bits)


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
        return too_large()
    if _nothing_was_sent(error):
        return NotSentError(Problem(UNREACHABLE, described(error)))
    return NoAnswerError(Problem("no_answer", described(error)))


def _nothing_was_sent(error: Exception) -> bool:
    """Whether the error proves that no byte of the request left."""
    return isinstance(error, _BEFORE_THE_REQUEST)
