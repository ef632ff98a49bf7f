"""HTTP/1.1 framing on an asyncio transport, and nothing of what the requests mean.

It is written by hand over httptools because a simulator that costs more than the client under test measures itself.
Keep-alive, pipelining, Content-Length and chunked bodies; a body beyond the bound is a proxy's 413 with HTML, bytes
that are no HTTP are a 400. It must never keep or log a header.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import cast

import httptools

JSON = "application/json"
HTML = "text/html"

# Bytes of an unfinished request head. One read may also hold the body before it, hence generous.
_LONGEST_HEAD = 1 << 20
# How long a client that is sending a refused body may go on, so that it reads the answer and not a reset.
_LINGER_S = 2.0


@dataclass(slots=True)
class Request:
    """One whole request; `authorization` lives as long as its handling."""

    method: str
    path: str
    query: str
    authorization: str | None
    body: bytes
    from_loopback: bool


@dataclass(slots=True)
class Response:
    """One whole answer; `headers` are sent besides Content-Type and Content-Length."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Hangup(Enum):
    """Instead of an answer: close the connection without a byte."""

    NOW = "now"


Answer = Response | Hangup
Handle = Callable[[Request], Answer | Awaitable[Answer]]

_TOO_LARGE = Response(
    413,
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n"
    b"<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n</body>\r\n</html>\r\n",
    HTML,
)
_MALFORMED = Response(400, b'{"error":{"message":"Malformed HTTP request.","type":"invalid_request_error"}}')
_preludes: dict[tuple[int, str], bytes] = {}


def _prelude(status: int, content_type: str) -> bytes:
    key = (status, content_type)
    if key not in _preludes:
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
        _preludes[key] = f"{line}\r\nContent-Type: {content_type}\r\nContent-Length: ".encode()
    return _preludes[key]


def encode(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return the answer as it goes on the wire."""
    head = b"%b%d" % (_prelude(response.status, response.content_type), len(response.body))
    for name, value in response.headers:
        head += f"\r\n{name}: {value}".encode("latin-1")
    end = b"\r\n\r\n" if keep_alive else b"\r\nConnection: close\r\n\r\n"
    return head + end + response.body if with_body else head + end


class Connection(asyncio.Protocol):
    """One client connection; requests are answered in the order in which they came."""

    def __init__(self, handle: Handle, max_body_bytes: int, connections: set["Connection"]) -> None:
        """`connections` is the server's set of the living: this one enters and leaves it by itself."""
        self._handle = handle
        self._max_body_bytes = max_body_bytes
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        # What is to be answered, in order: requests, and last perhaps the refusal of what was none.
        self._waiting: deque[tuple[Request, bool] | Response] = deque()
        self._task: asyncio.Future[Answer] | None = None
        self._deaf = False  # no further request is taken from this connection
        self._refusal_sent = False
        self._writing_paused = False
        self._reading_paused = False
        self._head_bytes = 0
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport and whether the peer sits on this machine."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) else ""
        self._from_loopback = host.startswith(("127.", "::ffff:127.")) or host == "::1"
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Drop what nobody will read; a request that was handled stays handled."""
        self._connections.discard(self)
        self._deaf = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Close at once, as a server that stops does."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse, then answer outside the parser, so that a bug is not mistaken for a malformed request."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here: the request is answered, and the connection ends with it.
            self._deaf = True
        except httptools.HttpParserError:
            self._in_head = False
            self._body_ended = True
            self._reject(_MALFORMED)
        if self._in_head or self._head_bytes:
            self._guard_head(len(data))
        if self._waiting:
            self._answer_waiting()

    def _guard_head(self, received: int) -> None:
        self._head_bytes = self._head_bytes + received if self._in_head else 0
        if self._head_bytes > _LONGEST_HEAD:
            self._body_ended = True
            self._reject(_MALFORMED)

    # What httptools calls, in the order of a request.

    def _begin(self) -> None:
        self._in_head = False
        self._url = b""
        self._authorization: str | None = None
        self._announced = 0
        self._expects_continue = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_ended = False

    def on_message_begin(self) -> None:
        """Start a request."""
        self._begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take the request target; it may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look at the three headers that matter here."""
        known = name.lower()
        if known == b"authorization":
            self._authorization = value.decode("latin-1")
        elif known == b"content-length":
            self._announced = int(value) if value.isdigit() else 0
        elif known == b"expect":
            self._expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced too large before it is sent."""
        self._in_head = False
        if self._announced > self._max_body_bytes:
            self._reject(_TOO_LARGE)
        elif self._expects_continue and not self._deaf:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the bound."""
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:
            self._body.clear()
            self._reject(_TOO_LARGE)
        elif not self._deaf:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the whole request."""
        self._body_ended = True
        if self._deaf:
            self._close_after_refusal()
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            authorization=self._authorization,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            from_loopback=self._from_loopback,
        )
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._waiting.append((request, keep_alive))

    def _reject(self, response: Response) -> None:
        if not self._deaf:
            self._deaf = True
            self._waiting.append(response)

    # Answers, in order.

    def _answer_waiting(self) -> None:
        while self._waiting and self._task is None:
            item = self._waiting.popleft()
            if isinstance(item, Response):
                self._refuse(item)
            else:
                self._answer(*item)
        self._steer_reading()

    def _answer(self, request: Request, keep_alive: bool) -> None:
        answer = self._handle(request)
        if isinstance(answer, Response | Hangup):
            self._send(answer, request, keep_alive)
            return
        self._task = asyncio.ensure_future(answer)
        self._task.add_done_callback(lambda task: self._finish(task, request, keep_alive))

    def _finish(self, task: "asyncio.Future[Answer]", request: Request, keep_alive: bool) -> None:
        self._task = None
        if task.cancelled() or self._transport.is_closing():
            return
        if task.exception() is not None:
            self._transport.abort()
        self._send(task.result(), request, keep_alive)
        self._answer_waiting()

    def _send(self, answer: Answer, request: Request, keep_alive: bool) -> None:
        if isinstance(answer, Response):
            with_body = request.method != "HEAD"
            self._transport.write(encode(answer, keep_alive=keep_alive, with_body=with_body))
        if isinstance(answer, Hangup) or not keep_alive:
            self._deaf = True
            self._waiting.clear()
            self._transport.close()

    def _refuse(self, response: Response) -> None:
        self._transport.write(encode(response, keep_alive=False))
        self._refusal_sent = True
        self._close_after_refusal()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)

    def _close_after_refusal(self) -> None:
        if self._refusal_sent and self._body_ended:
            self._transport.close()

    # Backpressure: a client that sends faster than it reads waits.

    def pause_writing(self) -> None:
        """Stop taking requests while the client does not read its answers."""
        self._writing_paused = True
        self._steer_reading()

    def resume_writing(self) -> None:
        """Take requests again."""
        self._writing_paused = False
        self._steer_reading()

    def _steer_reading(self) -> None:
        pause = self._writing_paused or bool(self._waiting)
        if pause == self._reading_paused or self._transport.is_closing():
            return
        self._reading_paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
