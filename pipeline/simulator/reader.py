"""Requests out of bytes: what httptools calls, in the order of a request.

A body is collected in one buffer, or handed on as it comes to whoever takes it. It must never keep or log a header.
"""

from collections.abc import Callable

import httptools

from pipeline.simulator.messages import HTML, Intake, Request, Response

# Bytes of an unfinished request head. One read may also hold the body before it, hence generous.
_LONGEST_HEAD = 1 << 20

_TOO_LARGE = Response(
    413,
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n"
    b"<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n</body>\r\n</html>\r\n",
    HTML,
)
_MALFORMED = Response(400, b'{"error":{"message":"Malformed HTTP request.","type":"invalid_request_error"}}')
# Bodies below this are joined from their pieces; longer ones are collected in one buffer, so that they are held once.
_LONG_BODY = 1 << 16

Accept = Callable[[Request], Intake | None]


class Reader:
    """The requests of one connection. `take` gets each whole one, `reject` the refusal of what is none."""

    def __init__(
        self,
        max_body_bytes: int,
        accept: Accept,
        take: Callable[[Request, bool], None],
        reject: Callable[[Response], None],
        carry_on: Callable[[], None],
    ) -> None:
        """`accept` may have a body taken as it comes, `carry_on` tells a client that waits to send it."""
        self._max_body_bytes = max_body_bytes
        self._accept = accept
        self._take = take
        self._reject = reject
        self._carry_on = carry_on
        self._parser = httptools.HttpRequestParser(self)
        self.from_loopback = False
        self.deaf = False
        """Whether no further request is taken."""
        self.body_ended = False
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._long_body: bytearray | None = None
        self._intake: Intake | None = None
        self._request: Request | None = None
        self._begin()

    def feed(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here: the request is answered, and the connection ends with it.
            self.deaf = True
        except httptools.HttpParserError:
            self._in_head = False
            self.body_ended = True
            self._refuse(_MALFORMED)
        if self._in_head or self._head_bytes:
            self._guard_head(len(data))

    def _guard_head(self, received: int) -> None:
        self._head_bytes = self._head_bytes + received if self._in_head else 0
        if self._head_bytes > _LONGEST_HEAD:
            self.body_ended = True
            self._refuse(_MALFORMED)

    def _refuse(self, response: Response) -> None:
        self.drop()
        if not self.deaf:
            self.deaf = True
            self._reject(response)

    def drop(self) -> None:
        """Forget a body that will never be whole."""
        if self._intake is not None:
            self._intake.drop()
            self._intake = None
        self._body = []
        self._long_body = None

    def _begin(self) -> None:
        self._in_head = False
        self._url = b""
        self._authorization: str | None = None
        self._host = ""
        self._content_type = ""
        self._range = ""
        self._announced = 0
        self._expects_continue = False
        self._request = self._intake = self._long_body = None
        self._body = []
        self._body_bytes = 0
        self._most_bytes = self._max_body_bytes
        self.body_ended = False

    def on_message_begin(self) -> None:
        """Start a request."""
        self._begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take the request target; it may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look at the few headers that matter here."""
        known = name.lower()
        if known == b"authorization":
            self._authorization = value.decode("latin-1")
        elif known == b"host":
            self._host = value.decode("latin-1")
        elif known == b"content-length":
            self._announced = int(value) if value.isdigit() else 0
        elif known == b"content-type":
            self._content_type = value.decode("latin-1")
        elif known == b"range":
            self._range = value.decode("latin-1")
        elif known == b"expect":
            self._expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced too large before it is sent."""
        self._in_head = False
        path, _, query = self._url.decode("latin-1").partition("?")
        self._request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            authorization=self._authorization,
            body=b"",
            from_loopback=self.from_loopback,
            host=self._host,
            content_type=self._content_type,
            range=self._range,
        )
        if not self.deaf:
            self._intake = self._accept(self._request)
            if self._intake is not None:
                self._most_bytes = self._intake.most_bytes
        if self._announced > self._most_bytes:
            self._refuse(_TOO_LARGE)
        elif self._expects_continue and not self.deaf:
            self._carry_on()

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the bound."""
        self._body_bytes += len(body)
        if self._body_bytes > self._most_bytes:
            self._refuse(_TOO_LARGE)
        elif self.deaf:
            return
        elif self._intake is not None:
            self._intake.take(body)
        elif self._long_body is not None:
            self._long_body += body
        else:
            self._body.append(body)
            if self._body_bytes > _LONG_BODY:
                self._long_body = bytearray().join(self._body)
                self._body.clear()

    def on_message_complete(self) -> None:
        """Hand on the whole request."""
        self.body_ended = True
        request = self._request
        if self.deaf or request is None:
            return
        if self._long_body is not None:
            request.body, self._long_body = self._long_body, None
        else:
            request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
        request.intake, self._intake, self._request = self._intake, None, None
        self._take(request, self._parser.should_keep_alive() and not self._parser.should_upgrade())
