"""Requests and answers as values: what crosses between the framing and the routes, and an answer's bytes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Protocol

JSON = "application/json"
HTML = "text/html"
EVENTS = "text/event-stream"


class Intake(Protocol):
    """Whoever takes a request's body as it comes."""

    @property
    def most_bytes(self) -> int:
        """The longest body that is taken."""
        ...

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        ...

    def drop(self) -> None:
        """Forget all of it: there will be no whole body."""
        ...


@dataclass(slots=True)
class Request:
    """One whole request; `authorization` lives as long as its handling.

    `intake` has taken the body, where somebody takes it as it comes.
    """

    method: str
    path: str
    query: str
    authorization: str | None
    body: bytes | bytearray
    from_loopback: bool
    host: str = "localhost"
    content_type: str = ""
    range: str = ""
    intake: Intake | None = None


@dataclass(slots=True)
class Response:
    """One whole answer; `headers` are sent besides Content-Type and Content-Length.

    `receipt` is called with True when the answer has gone out, and with False if it turns out that nobody read it.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    receipt: Callable[[bool], None] | None = None


class NoAnswer(Enum):
    """Instead of an answer not a byte: the connection is closed, or it stays open for as long as the client likes."""

    HANGUP = "hangup"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Cut:
    """The head and half the body of an answer, then a reset."""

    response: Response


@dataclass(frozen=True, slots=True)
class Flood:
    """An answer after so many bytes of white space, chunked, so that its length is not told beforehand."""

    response: Response
    padding: int


class Sink(Protocol):
    """The receiving end of a streamed answer."""

    @property
    def is_open(self) -> bool:
        """Whether the client reads what was written; else one had better wait."""
        ...

    def write(self, pieces: Iterable[bytes]) -> None:
        """Send these pieces of the body, as one chunk each."""
        ...

    def end(self, *, receipted: bool) -> None:
        """End the body; the receipt is called only where the answer deserves it."""
        ...

    def reset(self) -> None:
        """Break the connection off after what was written."""
        ...


class Source(Protocol):
    """Whoever writes a streamed answer."""

    def begin(self, sink: Sink) -> None:
        """Write from now on, and never within this call."""
        ...

    def drop(self) -> None:
        """Learn that nobody reads any more."""
        ...


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose body is written piece by piece; `response` is its head, and has no body.

    It goes out in chunks unless its length is known.
    """

    response: Response
    source: Source
    length: int | None = None


Answer = Response | NoAnswer | Cut | Flood | Streamed


def kind(answer: Answer) -> str:
    """Return the word under which an answer is counted: the status where a whole one was meant to go out."""
    if isinstance(answer, Response):
        return str(answer.status)
    if isinstance(answer, Streamed):
        return str(answer.response.status)
    return answer.value if isinstance(answer, NoAnswer) else type(answer).__name__.lower()


_preludes: dict[tuple[int, str], bytes] = {}


def _prelude(response: Response) -> bytes:
    key = (response.status, response.content_type)
    if key not in _preludes:
        line = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"
        _preludes[key] = f"{line}\r\nContent-Type: {response.content_type}\r\n".encode()
    return _preludes[key]


def _head_end(response: Response, *, keep_alive: bool) -> bytes:
    end = b"\r\n\r\n" if keep_alive else b"\r\nConnection: close\r\n\r\n"
    if not response.headers:
        return end
    return "".join(f"\r\n{name}: {value}" for name, value in response.headers).encode("latin-1") + end


def encode(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return the answer as it goes on the wire."""
    head = encode_head(response, len(response.body), keep_alive=keep_alive)
    return head + response.body if with_body else head


def encode_head(response: Response, length: int, *, keep_alive: bool) -> bytes:
    """Return the head of an answer whose body has this length."""
    end = _head_end(response, keep_alive=keep_alive)
    return b"%bContent-Length: %d%b" % (_prelude(response), length, end)


def encode_cut(response: Response) -> bytes:
    """Return the answer up to the middle of its body."""
    head = encode(response, keep_alive=True, with_body=False)
    return head + response.body[: len(response.body) // 2]


def encode_chunked_head(response: Response, *, keep_alive: bool) -> bytes:
    """Return the head of an answer whose body follows in chunks."""
    return _prelude(response) + b"Transfer-Encoding: chunked" + _head_end(response, keep_alive=keep_alive)


def chunk(body: bytes) -> bytes:
    """Return one chunk; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(body), body)
