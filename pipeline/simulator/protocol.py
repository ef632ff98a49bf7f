"""HTTP/1.1 framing on an asyncio transport, and nothing of what the requests mean.

It is written by hand over httptools because a simulator that costs more than the client under test measures itself.
Keep-alive, pipelining, Content-Length and chunked bodies; a body beyond the bound is a proxy's 413 with HTML, bytes
that are no HTTP are a 400.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

from pipeline.simulator.delivery import Outlet, Tap, was_reset, write_and_reset
from pipeline.simulator.messages import (
    Answer,
    Cut,
    Flood,
    NoAnswer,
    Request,
    Response,
    Source,
    Streamed,
    encode,
    encode_chunked_head,
    encode_cut,
    encode_head,
)
from pipeline.simulator.reader import Accept, Reader

# How long a client that is sending a refused body may go on, so that it reads the answer and not a reset.
_LINGER_S = 2.0

Handle = Callable[[Request], Answer | Awaitable[Answer]]


class Connection(asyncio.Protocol):
    """One client connection; requests are answered in the order in which they came."""

    def __init__(
        self,
        handle: Handle,
        max_body_bytes: int,
        connections: set["Connection"],
        accept: Accept = lambda _request: None,
    ) -> None:
        """`connections` is the server's set of the living: this one enters and leaves it by itself."""
        self._handle = handle
        self._connections = connections
        # What is to be answered, in order: requests, and last perhaps the refusal of what was none.
        self._waiting: deque[tuple[Request, bool] | Response] = deque()
        self._task: asyncio.Future[Answer] | asyncio.Future[None] | None = None
        self._source: Source | None = None  # of the streamed answer that is under way
        self._receipt: Callable[[bool], None] | None = None  # of the last answer, while it may still prove lost
        self._retiring = False
        self._refusal_sent = False
        self._tap = Tap()
        self._reading_paused = False
        self._reader = Reader(max_body_bytes, accept, self._take, self._waiting.append, self._carry_on)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport and whether the peer sits on this machine."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) else ""
        self._reader.from_loopback = host.startswith(("127.", "::ffff:127.")) or host == "::1"
        self._connections.add(self)

    def eof_received(self) -> None:
        """Close too; an answer that came when the client had closed already was reset and never read."""
        if self._receipt is not None and was_reset(self._transport):
            self._lose_answer()

    def _lose_answer(self) -> None:
        if self._receipt is not None:
            self._receipt(False)
        self._receipt = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what nobody will read; a request that was handled stays handled.

        A client that closes, or is killed, with an answer unread has the connection reset by its system.
        """
        if exc is not None:
            self._lose_answer()
        self._connections.discard(self)
        self._reader.deaf = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        if self._source is not None:
            self._source.drop()
            self._source = None
        self._reader.drop()

    def close(self) -> None:
        """Close at once, as a server that stops does."""
        self._transport.abort()

    def retire(self) -> None:
        """Close after the next answer, and tell the client so with it."""
        self._retiring = True

    def data_received(self, data: bytes) -> None:
        """Parse, then answer outside the parser, so that a bug is not mistaken for a malformed request."""
        self._reader.feed(data)
        if self._reader.body_ended:
            self._close_after_refusal()
        if self._waiting:
            self._answer_waiting()

    def _take(self, request: Request, keep_alive: bool) -> None:
        self._waiting.append((request, keep_alive))

    def _carry_on(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

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
        if isinstance(answer, Awaitable):
            self._task = asyncio.ensure_future(answer)
            self._task.add_done_callback(lambda task: self._finish(task, request, keep_alive))
        else:
            self._send(answer, request, keep_alive)

    def _finish(self, task: "asyncio.Future[Answer]", request: Request, keep_alive: bool) -> None:
        if self._ended(task):
            self._send(task.result(), request, keep_alive)
            self._answer_waiting()

    def _ended(self, task: "asyncio.Future[Answer] | asyncio.Future[None]") -> bool:
        self._task = None
        if task.cancelled() or self._transport.is_closing():
            return False
        if task.exception() is not None:
            self._transport.abort()
        return True

    def _send(self, answer: Answer, request: Request, keep_alive: bool) -> None:
        self._receipt = None
        keep_alive = keep_alive and not self._retiring
        match answer:
            case Response():
                with_body = request.method != "HEAD"
                self._transport.write(encode(answer, keep_alive=keep_alive, with_body=with_body))
                self._sent(answer, keep_alive)
            case Flood():
                self._task = asyncio.ensure_future(self._tap.pour(answer, self._transport, keep_alive=keep_alive))
                self._task.add_done_callback(lambda task: self._poured(task, answer.response, keep_alive))
            case Streamed():
                self._stream(answer, request, keep_alive)
            case Cut(response):
                self._stop_listening()
                write_and_reset(self._transport, encode_cut(response))
            case NoAnswer.SILENCE:
                # Answers keep their order: behind one that never comes, nothing comes.
                self._task = asyncio.get_running_loop().create_future()
            case NoAnswer.HANGUP:
                self._stop_listening()
                self._transport.close()

    def _sent(self, response: Response, keep_alive: bool) -> None:
        if response.receipt is not None:
            self._receipt = response.receipt
            self._receipt(True)
        if not keep_alive:
            self._stop_listening()
            self._transport.close()

    def _stop_listening(self) -> None:
        self._reader.deaf = True
        self._waiting.clear()

    def _poured(self, task: "asyncio.Future[None]", response: Response, keep_alive: bool) -> None:
        if self._ended(task):
            task.result()
            self._sent(response, keep_alive)
            self._answer_waiting()

    def _stream(self, answer: Streamed, request: Request, keep_alive: bool) -> None:
        response, length = answer.response, answer.length
        if length is None:
            self._transport.write(encode_chunked_head(response, keep_alive=keep_alive))
        else:
            self._transport.write(encode_head(response, length, keep_alive=keep_alive))
        if request.method == "HEAD":
            self._sent(response, keep_alive)
            return
        # Answers keep their order: what comes behind waits for the end of this one.
        self._task, self._source = asyncio.get_running_loop().create_future(), answer.source

        def ended(receipted: bool) -> None:
            self._ran_out(response, receipted, keep_alive)

        answer.source.begin(Outlet(self._transport, self._tap, ended, chunked=length is None))

    def _ran_out(self, response: Response, receipted: bool, keep_alive: bool) -> None:
        self._task = self._source = None
        if not self._transport.is_closing():
            self._sent(response if receipted else replace(response, receipt=None), keep_alive)
            self._answer_waiting()

    def _refuse(self, response: Response) -> None:
        self._transport.write(encode(response, keep_alive=False))
        self._refusal_sent = True
        self._close_after_refusal()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)

    def _close_after_refusal(self) -> None:
        if self._refusal_sent and self._reader.body_ended:
            self._transport.close()

    # Backpressure: a client that sends faster than it reads waits.

    def pause_writing(self) -> None:
        """Stop taking requests while the client does not read its answers."""
        self._tap.turn(is_open=False)
        self._steer_reading()

    def resume_writing(self) -> None:
        """Take requests again."""
        self._tap.turn(is_open=True)
        self._steer_reading()

    def _steer_reading(self) -> None:
        pause = not self._tap.open or bool(self._waiting)
        if pause == self._reading_paused or self._transport.is_closing():
            return
        self._reading_paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
