"""The door to the API: one request, one whole reply, or one of two exceptions that say whether anything was sent.

The only module that imports httpx, and aiohttp with it, which carries httpx's requests through the httpx-aiohttp
transport (docs/transport.md says why). The transport is called directly, since httpx's client layer costs as much
again. It must never follow a redirect, send a POST twice, keep a cookie, obey an environment proxy, or hold more of
a body than it was told to.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.core.answers import Problem

Headers = httpx.Headers
"""Request headers, prepared once and used for every request of one kind."""

_PIECE = 256 * 1024  # a larger body goes out in pieces, so that one write can't hold up the event loop
_LARGE = 256 * 1024  # an answer is some kB; one that is larger than this waits for its turn
_LARGE_AT_ONCE = 2  # a flood of floods may not cost more memory than this many of them
_MESSAGE_LENGTH = 500
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

_BEFORE_THE_REQUEST = (aiohttp.InvalidURL, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What aiohttp raises only for a URL that is none, or while it gets a connection: name look-up, connect, TLS handshake,
or the wait for a slot.

httpx-aiohttp hides the difference (a server that closes after the whole POST is `ConnectTimeout` too), but keeps
aiohttp's own exception as `__cause__`.
"""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Bounds of every exchange: times in seconds, `max_body` in bytes after decompression."""

    connect_timeout_s: float = 10  # a free connection, the name, TCP and TLS together; far above any healthy network
    read_timeout_s: float = 60  # silence; a POST that is given up is ambiguous, so patience is cheaper
    total_timeout_s: float = 90  # bounds a server that drips
    max_body: int = 32 * 1024 * 1024  # a ChatCompletion is some kB; this only stops a flood
    connections: int = 256
    idle_s: float = 4.0  # below uvicorn's 5 s, the shortest common default: a POST must not meet a closing connection


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
        self._transport = _pooled_transport(settings) if transport is None else transport
        waits = {"connect": settings.connect_timeout_s, "pool": settings.connect_timeout_s}
        self._extensions: dict[str, Any] = {
            "timeout": {**waits, "read": settings.read_timeout_s, "write": settings.read_timeout_s}
        }
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
            request = _Prepared(method, url, headers, body, self._extensions)
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
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
        return HttpReply(response.status_code, headers, self._decompressed(raw, headers.get("content-encoding")))

    async def _read(self, stream: httpx.AsyncByteStream) -> bytes:
        """A whole body. What is not read yet waits at the API, so few large ones are held at a time."""
        chunks: list[bytes] = []
        pieces = aiter(stream)
        if not await _gathered(pieces, chunks, min(_LARGE, self._settings.max_body)):
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


class _Pieces(httpx.AsyncByteStream):
    """A large body, in pieces."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), _PIECE):
            yield bytes(self._body[start : start + _PIECE])


def _pooled_transport(settings: HttpSettings) -> AiohttpTransport:
    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections, keepalive_timeout=settings.idle_s, ssl=transport.ssl_context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # no proxy and no .netrc from the environment
            auto_decompress=False,
        )

    transport = AiohttpTransport(client=session, trust_env=True)  # here: SSL_CERT_FILE and SSL_CERT_DIR only
    return transport


class _Prepared(httpx.Request):
    """A request whose parts are ready: nothing is parsed, copied or encoded anew for each row.

    httpx's own constructor parses the URL and copies the headers, as long as half an exchange takes.
    """

    def __init__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, extensions: dict[str, Any]
    ) -> None:
        self.method = method
        self.url = cast("httpx.URL", url)  # the transport asks for its text only
        self.headers = cast("httpx.Headers", headers)
        self.extensions = extensions
        self._whole = body or b""
        if len(self._whole) > _PIECE:
            self.headers = httpx.Headers(headers)
            self.headers["content-length"] = str(len(self._whole))
            self.stream = _Pieces(self._whole)

    @property
    def content(self) -> bytes:
        """The body, if it goes out as a whole; a larger one is streamed."""
        if len(self._whole) > _PIECE:
            raise httpx.RequestNotRead
        return self._whole


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
    return isinstance(error.__cause__, _BEFORE_THE_REQUEST)


def _described(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "The whole answer did not come in time."
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"[:_MESSAGE_LENGTH]
