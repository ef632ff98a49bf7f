"""A small OpenAI-compatible server in a thread: answers as it is told to, whole or as streams, and keeps what came.

What it answers by itself names what it was asked, so that no row can have another's answer unnoticed.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Reply:
    """What goes out: `pieces` one after the other, as a chunked body; `cut` breaks off before its end."""

    status: int
    pieces: tuple[bytes, ...]
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def content_of(asked: dict[str, Any]) -> str:
    """What the model says: a fingerprint of its messages."""
    return "seen " + sha256(json.dumps(asked["messages"], sort_keys=True).encode()).hexdigest()[:16]


def completion(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An answer as OpenAI's API gives it."""
    message = {"role": "assistant", "content": content_of(asked), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1776874570, "model": asked["model"]}
    return {**told, "choices": [choice], "usage": USAGE, **changes}


def whole(document: object, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    return Reply(status, (json.dumps(document).encode(),), headers=headers)


def chunks(asked: dict[str, Any], *deltas: dict[str, Any], usage: dict[str, Any] = USAGE) -> list[dict[str, Any]]:
    """The chunks of an answer as OpenAI's API gives them: the role first, the usage last, without choices."""
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1776874570, "model": asked["model"]}
    words = [{"content": piece} for piece in content_of(asked)]
    said: list[tuple[dict[str, Any], str | None]] = [(delta, None) for delta in deltas or words]
    said = [({"role": "assistant", "content": ""}, None), *said, ({}, "stop")]
    made = [{**told, "choices": [{"index": 0, "delta": d, "finish_reason": end}], "usage": None} for d, end in said]
    return [*made, {**told, "choices": [], "usage": usage}]


def streamed(*documents: object, done: bool = True, cut: bool = False) -> Reply:
    """A stream of these chunks."""
    events = [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]
    return Reply(200, (*events, *([b"data: [DONE]\n\n"] if done else [])), EVENTS, cut=cut)


def answered(asked: dict[str, Any], _nth: int) -> Reply:
    """As it is asked, well."""
    return streamed(*chunks(asked)) if asked.get("stream") else whole(completion(asked))


class ChatServer:
    """The server. `answer` is called with what a POST asks, and how many times the very same came before."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any], int], Reply] = answered
        self.models = ["qwen3-vl"]
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def take(self, asked: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Note a POST, and say what it is answered with."""
        with self._lock:
            nth = self.asked.count(asked)
            self.asked.append(asked)
            self.headers.append(headers)
        return self.answer(asked, nth)

    @contextmanager
    def serving(self) -> Iterator["ChatServer"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/chat/completions":
                self._send(whole({"detail": "Not Found"}, 404))
                return
            self._send(server.take(json.loads(body), {name.lower(): value for name, value in self.headers.items()}))

        def do_GET(self) -> None:
            if self.path != "/v1/models":
                self._send(whole({"detail": "Not Found"}, 404))
                return
            listed = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in server.models]
            self._send(whole({"object": "list", "data": listed}))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            told = {"content-type": reply.content_type, "transfer-encoding": "chunked", **reply.headers}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            if reply.cut:
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

    return Handler
