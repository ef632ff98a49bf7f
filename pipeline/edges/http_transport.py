"""httpx's requests over aiohttp's connections: what a row needs of both, and nothing that is made anew for each.

For `http`, which decides what an error proves; docs/transport.md says why there is a transport of our own.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
import httpx

from pipeline.core.account import Secret
from pipeline.edges.payload import Payload

JSON = "application/json"

PIECE = 256 * 1024
"""A larger body goes out in pieces, so that one write can't hold up the event loop."""

LARGE = 256 * 1024
"""An answer is some kB; one that is larger than this is read piece by piece."""


class Headers(dict[str, str]):
    """Request headers, prepared once and used for every request of one kind; they show their names only."""

    def __repr__(self) -> str:
        return f"Headers({', '.join(self)})"

    __str__ = __repr__


def headers_with(key: Secret, accept: str, content_type: str = "") -> Headers:
    """What every request to an API says: with which key, and what may come back; a body is of `content_type`."""
    asked = {
        "authorization": f"Bearer {key.reveal()}",
        "accept": accept,
        "accept-encoding": "identity",
        "user-agent": "vidbatch",
    }
    return Headers({**asked, "content-type": content_type} if content_type else asked)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Bounds of every exchange: times in seconds, `max_body` in bytes after decompression."""

    connect_timeout_s: float = 10  # a free connection, the name, TCP and TLS together; far above any healthy network
    reach_timeout_s: float = 5  # TCP and TLS alone: three tries of TCP; a host that is cut off holds its rows so long
    read_timeout_s: float = 60  # silence; a POST that is given up is ambiguous, so patience is cheaper
    total_timeout_s: float = 90  # bounds a server that drips
    max_body: int = 32 * 1024 * 1024  # a ChatCompletion is some kB; this only stops a flood
    connections: int = 320  # a poll shift's rows in hand, and late ids beside them
    idle_s: float = 4.0  # below uvicorn's 5 s, the shortest common default: a POST must not meet a closing connection


PATIENT = HttpSettings(read_timeout_s=600, total_timeout_s=720)
"""For answers that come on the request's own connection when a generation ends: nobody knows how long that takes."""

FOLLOWING = HttpSettings(read_timeout_s=90, total_timeout_s=720, connections=2_400)
"""For streams of generations, a connection each: one that is silent for so long is opened anew, which costs nothing."""


class Pieces(httpx.AsyncByteStream):
    """A large body, in pieces."""

    def __init__(self, body: bytes | Payload) -> None:
        self._body = body if isinstance(body, Payload) else memoryview(body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, Payload):
            async for piece in self._body:
                yield piece
            return
        for start in range(0, len(self._body), PIECE):
            yield bytes(self._body[start : start + PIECE])


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries httpx's requests over aiohttp's connections; aiohttp's own exceptions come out: they are the proof."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(
            total=None,  # the door has one for the whole exchange
            connect=settings.connect_timeout_s,
            sock_connect=settings.reach_timeout_s,
            sock_read=settings.read_timeout_s,
        )
        self._ssl = httpx.create_ssl_context(trust_env=True)  # here: SSL_CERT_FILE and SSL_CERT_DIR only

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the head of the answer, and its body as a stream."""
        if self._session is None:
            self._session = self._opened()
        in_pieces = isinstance(request.stream, Pieces)
        body = request.stream if in_pieces else request.content or None
        answer = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=body,
            allow_redirects=False,
            timeout=self._timeout,
        )
        return Answered(answer, keep=not in_pieces)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._settings.connections, keepalive_timeout=self._settings.idle_s, ssl=self._ssl
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # no proxy and no .netrc from the environment
            auto_decompress=False,
        )


class Body(httpx.AsyncByteStream):
    """The body of aiohttp's answer, as it comes. `keep` its connection: not one on which an upload may still go on."""

    def __init__(self, answer: aiohttp.ClientResponse, *, keep: bool) -> None:
        self._answer = answer
        self._keep = keep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = self._answer.content_length
        if length is not None and length <= LARGE:
            yield await self._answer.content.read()  # no more comes than was announced
            return
        async for piece in self._answer.content.iter_chunked(PIECE):
            yield piece

    async def aclose(self) -> None:
        """Give the connection back; one whose answer was not read to its end is closed."""
        if self._keep:
            self._answer.release()
        else:
            self._answer.close()


class Answered(httpx.Response):
    """What the door asks of an answer, as aiohttp has it: httpx's constructor would copy and encode all headers."""

    def __init__(self, answer: aiohttp.ClientResponse, *, keep: bool) -> None:
        self.status_code = answer.status
        self.headers = cast("httpx.Headers", answer.headers)  # a mapping by names in any case, too
        self.stream = Body(answer, keep=keep)


class Prepared(httpx.Request):
    """A request whose parts are ready: nothing is parsed, copied or encoded anew for each row.

    httpx's own constructor parses the URL and copies the headers, as long as half an exchange takes.
    """

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Payload | None) -> None:
        self.method = method
        self.url = cast("httpx.URL", url)  # the transport asks for its text only
        self.headers = cast("httpx.Headers", headers)
        self._whole = b"" if body is None or isinstance(body, Payload) else body
        self.stream = httpx.ByteStream(b"")
        length = body.length if isinstance(body, Payload) else len(self._whole)
        if body is not None and (isinstance(body, Payload) or length > PIECE):
            self.headers = cast("httpx.Headers", Headers(headers, **{"content-length": str(length)}))
            self.stream = Pieces(body)

    @property
    def content(self) -> bytes:
        """The body, if it goes out as a whole; a larger one is streamed."""
        if isinstance(self.stream, Pieces):
            raise httpx.RequestNotRead
        return self._whole
