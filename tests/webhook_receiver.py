"""A receiver of webhooks over real HTTP, which fails as it is told to."""

import threading
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook:
    """A receiver that does what it is told with each request in turn, and 204 when nothing is left to do."""

    def __init__(self, port: int = 0) -> None:
        self.to_do: deque[str] = deque()
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        self.met = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook.answer(self)

            def do_GET(self) -> None:
                hook.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/night?token=t0ken"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((request.path, headers, body))
        self.met.set()
        what = self.to_do.popleft() if self.to_do else "204"
        if what == "hang":
            self.released.wait(30)
            request.close_connection = True
            return
        request.send_response(int(what.partition(" ")[0]))
        if what.startswith("307"):
            request.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        flood = what.endswith("flood")
        request.send_header("Content-Length", str(1 << 40) if flood else "0")
        request.end_headers()
        if flood:
            with suppress(OSError):
                while True:
                    request.wfile.write(b"x" * (1 << 16))

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
